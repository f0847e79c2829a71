package fakeaws

import (
	"slices"
	"strings"
)

// Names of processes that can be suspended and that the emulator knows to respect.
const (
	ProcessLaunch      = "Launch"      // no new instances
	ProcessTerminate   = "Terminate"   // no scale-in (an explicit TerminateInstance still works)
	ProcessHealthCheck = "HealthCheck" // lost and stopped instances go unnoticed

	ProcessReplaceUnhealthy = "ReplaceUnhealthy" // instances set unhealthy stay
	ProcessInstanceRefresh  = "InstanceRefresh"  // a refresh stands still
)

// reconcile makes the group act on what it sees: notice lost instances, launch what
// is missing, terminate what is too much. It is level-triggered: called after every change,
// it does nothing when there is nothing to do.
func (c *Cloud) reconcile(g *group) {
	if !g.isSuspended(ProcessHealthCheck) {
		for _, m := range slices.Clone(g.members) {
			if m.missed && !m.noticed {
				c.noticeLost(g, m)
			}
		}
	}
	if !g.isSuspended(ProcessReplaceUnhealthy) {
		for _, m := range slices.Clone(g.members) {
			if !m.Healthy && m.State == Running && (m.live() || m.warm()) {
				c.tellToGo(m, "health check: set unhealthy", true, true)
			}
		}
	}
	c.refresh(g)
	if !g.isSuspended(ProcessTerminate) {
		for live := g.live(); units(live) > g.Desired+g.surge(); live = g.live() {
			m := c.pickScaleIn(g, live)
			if units(live)-m.units() < g.Desired+g.surge() {
				break // with weights there may be more than is desired, and never less
			}
			c.scaleIn(g, m)
		}
	}
	if !g.isSuspended(ProcessLaunch) && !g.holdOff {
		c.scaleOut(g)
	}
	c.keepPool(g)
}

// scaleIn takes an instance out of service, into the warm pool if it may be used again.
func (c *Cloud) scaleIn(g *group, m *machine) {
	if g.reuses() && m.Lifecycle == LifecycleInService && m.State == Running {
		c.returnToPool(g, m)
		return
	}
	c.tellToGo(m, "scale-in", false, true)
}

// scaleOut brings up what is missing, from the warm pool as far as that goes.
func (c *Cloud) scaleOut(g *group) {
	for g.planned < g.missing() {
		n := max(g.next().Weight, 1)
		g.planned += n
		c.after(c.cfg.Timing.Launch, func() {
			g.planned -= n
			// Much can have happened since the decision.
			if g.missing() <= 0 || g.isSuspended(ProcessLaunch) || g.holdOff {
				return
			}
			if i := slices.IndexFunc(g.members, func(m *machine) bool { return m.warm() && !m.noticed }); i >= 0 {
				c.leavePool(g.members[i])
				return
			}
			c.launch(g, false)
		})
	}
}

func (c *Cloud) pickScaleIn(g *group, live []*machine) *machine {
	if g.ScaleIn != nil {
		candidates := make([]Instance, len(live))
		for i, m := range live {
			candidates[i] = m.snapshot()
		}
		id := g.ScaleIn(candidates)
		for _, m := range live {
			if m.ID == id {
				return m
			}
		}
	}
	return live[0]
}

// launch makes one instance, for the warm pool or for service.
func (c *Cloud) launch(g *group, pool bool) {
	id := c.ids.instance()
	ip, err := c.cfg.IPs.Allocate(id)
	if err != nil {
		c.emit(Event{Kind: LaunchFailed, Group: g.Name, Note: err.Error()})
		c.holdOffLaunches(g)
		return
	}
	kind := g.next()
	m := &machine{Instance: Instance{
		ID: id, Group: g.Name, PrivateIP: ip, Zone: c.pickZone(g),
		Type: kind.Type, Weight: kind.Weight, ImageID: g.ImageID, LaunchTime: c.now(),
		Tags:  map[string]string{groupTag: g.Name},
		State: Pending, Lifecycle: LifecyclePending, Healthy: true, TemplateVersion: g.version,
	}}
	target := TargetInService
	if pool {
		m.Lifecycle, target = Warmed+LifecyclePending, Warmed+g.WarmPool.State
	}
	for _, t := range g.Tags {
		if t.PropagateAtLaunch {
			m.Tags[t.Key] = t.Value
		}
	}
	m.meta = newMetadata()
	c.instances = append(c.instances, m)
	g.members = append(g.members, m)
	c.dirty = true
	c.emit(Event{Kind: Launched, Group: g.Name, Instance: id, Note: ip.String() + " " + m.Zone})
	c.begin(m, launchWords(pool), "an instance was started in response to a difference between desired and actual capacity")

	c.after(c.cfg.Timing.TargetFilled, func() {
		if m.Target == "" {
			m.Target = target
			c.dirty = true
		}
	})
	c.boot(m)
	c.startMachine(m)
}

// boot lets Timing.Boot pass.
func (c *Cloud) boot(m *machine) {
	c.after(c.cfg.Timing.Boot, func() {
		m.booted = true
		c.tryRunning(m)
	})
}

// holdOffLaunches keeps a group whose launch failed from trying again at once.
func (c *Cloud) holdOffLaunches(g *group) {
	if g.holdOff {
		return
	}
	g.holdOff = true
	c.after(c.cfg.Timing.Retry, func() { g.holdOff = false })
}

// pickZone spreads the live instances over the zones.
func (c *Cloud) pickZone(g *group) string {
	best, fewest := "", 0
	for _, z := range c.cfg.Zones {
		n := 0
		for _, m := range g.live() {
			if m.Zone == z {
				n++
			}
		}
		if best == "" || n < fewest {
			best, fewest = z, n
		}
	}
	return best
}

// dropDeleted forgets groups that were deleted and are empty.
func (c *Cloud) dropDeleted() {
	c.groups = slices.DeleteFunc(c.groups, func(g *group) bool {
		gone := g.deleting && len(g.members) == 0
		if gone {
			c.dirty = true
			c.emit(Event{Kind: GroupDeleted, Group: g.Name})
		}
		return gone
	})
}

func (c *Cloud) newARN(name string) string {
	return strings.Join([]string{"arn:aws:autoscaling", c.cfg.Region, c.cfg.AccountID,
		"autoScalingGroup", uuid(c.ids.groups), "autoScalingGroupName/" + name}, ":")
}
