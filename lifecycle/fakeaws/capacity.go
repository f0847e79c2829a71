package fakeaws

import (
	"slices"
	"strings"
)

// Names of processes that can be suspended and that the emulator knows to respect.
const (
	ProcessLaunch      = "Launch"      // no new instances
	ProcessTerminate   = "Terminate"   // no scale-in (an explicit TerminateInstance still works)
	ProcessHealthCheck = "HealthCheck" // lost instances go unnoticed
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
	if !g.isSuspended(ProcessTerminate) {
		for live := g.live(); len(live) > g.Desired; live = g.live() {
			c.tellToGo(c.pickScaleIn(g, live), "scale-in", false, true)
		}
	}
	if g.isSuspended(ProcessLaunch) || g.holdOff {
		return
	}
	for g.planned < g.missing() {
		g.planned++
		c.after(c.cfg.Timing.Launch, func() {
			g.planned--
			// Much can have happened since the decision.
			if g.missing() > 0 && !g.isSuspended(ProcessLaunch) && !g.holdOff {
				c.launch(g)
			}
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

// launch makes one instance.
func (c *Cloud) launch(g *group) {
	id := c.ids.instance()
	ip, err := c.cfg.IPs.Allocate(id)
	if err != nil {
		c.emit(Event{Kind: LaunchFailed, Group: g.Name, Note: err.Error()})
		c.holdOffLaunches(g)
		return
	}
	m := &machine{Instance: Instance{
		ID: id, Group: g.Name, PrivateIP: ip, Zone: c.pickZone(g),
		Type: g.InstanceType, ImageID: g.ImageID, LaunchTime: c.now(),
		Tags:  map[string]string{"aws:autoscaling:groupName": g.Name},
		State: Pending, Lifecycle: LifecyclePending, Healthy: true,
	}}
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

	c.after(c.cfg.Timing.TargetFilled, func() {
		if m.Target == "" {
			m.Target = TargetInService
			c.dirty = true
		}
	})
	c.after(c.cfg.Timing.Boot, func() {
		m.booted = true
		c.tryRunning(m)
	})
	c.startMachine(m)
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
