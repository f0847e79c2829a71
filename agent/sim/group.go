package sim

import (
	"slices"
	"sort"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// group is the auto scaling group: what AWS knows, and what it shows.
type group struct {
	w       *world
	desired int
	tag     string
	items   []*item
	// shown is what DescribeAutoScalingGroups answers: some time behind.
	shown     policy.Group
	shownAs   int // its version
	version   int
	reconcile bool // is due
	suspended bool
	hooks     []policy.Hook
}

// item is one instance in the group.
type item struct {
	m     *machine
	state policy.LifecycleState
	// The hook that waits, if one does: since when, and until when.
	opened, until time.Duration
	gen           int
}

const groupARN = "arn:aws:autoscaling:eu-central-1:1:autoScalingGroup:1:autoScalingGroupName/sim"

func newGroup(w *world) *group {
	g := &group{w: w, desired: w.plan.desired}
	hook := func(name string, t policy.Transition, timeout time.Duration) {
		if timeout > 0 {
			g.hooks = append(g.hooks, policy.Hook{Name: name, Transition: t, Timeout: timeout, Global: min(48*time.Hour, 100*timeout)})
		}
	}
	hook("quorumd-launch", policy.Launching, w.plan.launchHook)
	hook("quorumd-terminate", policy.Terminating, w.plan.terminateHook)
	w.after(0, g.tick)
	return g
}

// changed shows the group's state a little later.
func (g *group) changed() {
	s := policy.Group{
		Name: "sim", ARN: groupARN, Desired: g.desired, ClusterTag: g.tag, Hooks: g.hooks, LaunchSuspended: g.suspended,
		Instances: make([]policy.GroupInstance, 0, len(g.items)),
	}
	for _, i := range g.items {
		s.Instances = append(s.Instances, policy.GroupInstance{ID: i.m.id, State: i.state})
	}
	sort.Slice(s.Instances, func(a, b int) bool { return s.Instances[a].ID < s.Instances[b].ID })
	g.version++
	v := g.version
	lag := g.w.between(0, time.Second)
	if g.w.chance(g.w.trouble(g.w.plan.staleAWS)) {
		lag = g.w.between(0, 40*time.Second)
	}
	g.w.after(lag, func() {
		if v <= g.shownAs {
			return
		}
		g.shown, g.shownAs = s, v
		is := GroupIs{Desired: s.Desired}
		for _, i := range s.Instances {
			if i.State.Leaving() {
				is.Leaving = append(is.Leaving, i.ID)
			}
		}
		g.w.tell(is)
		g.w.touch(policy.SourceGroup)
	})
	if !g.reconcile {
		g.reconcile = true
		g.w.after(g.w.between(time.Second, 15*time.Second), g.tick)
	}
}

func (g *group) find(id policy.InstanceID) *item {
	for _, i := range g.items {
		if i.m.id == id {
			return i
		}
	}
	return nil
}

func (g *group) hook(t policy.Transition) (policy.Hook, bool) {
	for _, h := range g.hooks {
		if h.Transition == t {
			return h, true
		}
	}
	return policy.Hook{}, false
}

// tick launches and terminates until the group is as desired.
func (g *group) tick() {
	g.reconcile = false
	staying, leaving := 0, 0
	var in []*item
	for _, i := range g.items {
		switch {
		case i.state.Leaving():
			if !g.w.plan.launchBefore {
				leaving++
			}
		case i.state == policy.StateInService:
			in = append(in, i)
			staying++
		default:
			staying++
		}
	}
	switch {
	case staying+leaving < g.desired && !g.suspended:
		g.launch()
	case staying > g.desired && len(in) > 0:
		g.terminate(in[g.w.rng.IntN(len(in))])
	default:
		return
	}
	g.changed()
}

func (g *group) launch() {
	d := &disk{}
	if g.w.chance(g.w.trouble(g.w.plan.cloned)) && len(g.items) > 0 {
		from := g.items[g.w.rng.IntN(len(g.items))].m
		c := *from.disk
		// That etcd's unit does not start by itself on a copied disk is the drop-in's
		// to ensure: its condition must name the instance (ConditionFirmware= with the
		// SMBIOS asset tag does), for the agent comes up too late to prevent it.
		c.allowed = false
		d = &c
		g.w.say("", "the next one is a clone of %s", from.id)
	}
	m := g.w.launch(d)
	i := &item{m: m, state: policy.StatePending}
	g.items = append(g.items, i)
	m.setTarget(policy.TargetInService)
	g.w.after(g.w.between(time.Second, 10*time.Second), func() {
		if i.state != policy.StatePending {
			return
		}
		if h, ok := g.hook(policy.Launching); ok {
			g.open(i, policy.StatePendingWait, h)
		} else {
			i.state = policy.StateInService
		}
		g.changed()
	})
}

// open lets a hook wait.
func (g *group) open(i *item, s policy.LifecycleState, h policy.Hook) {
	i.state, i.opened, i.until = s, g.w.now, g.w.now+h.Timeout
	i.gen++
	g.w.tell(HookOpened{Instance: i.m.id, Transition: h.Transition})
	g.w.say(i.m.id, "%s, for %s", s, h.Timeout)
	g.await(i, h)
}

// await expires a hook in time.
func (g *group) await(i *item, h policy.Hook) {
	gen := i.gen
	until := i.until
	g.w.at(until, func() {
		if i.gen != gen || i.until != until {
			return
		}
		m := i.m
		last := m.w.lastVoter(m)
		able := m.w.able(m, i.opened, h.Timeout)
		g.w.say(m.id, "hook %s expires (able %t, last voter %t)", h.Name, able, last)
		g.w.tell(HookEnded{Instance: m.id, Transition: h.Transition, Expired: true, Able: able, Last: last})
		g.ended(i, g.w.plan.expiresTo)
		g.changed()
	})
}

// heartbeat is RecordLifecycleActionHeartbeat.
func (g *group) heartbeat(m *machine) error {
	i := g.find(m.id)
	if i == nil || i.until == 0 {
		return errNoAction
	}
	h, _ := g.hook(transition(i.state))
	i.until = min(g.w.now+h.Timeout, i.opened+h.Global)
	g.await(i, h)
	return nil
}

func transition(s policy.LifecycleState) policy.Transition {
	if s == policy.StatePendingWait {
		return policy.Launching
	}
	return policy.Terminating
}

// opened reports whether a hook waits for an instance now.
func (g *group) opened(m *machine, a policy.CompleteHook) bool {
	i := g.find(m.id)
	if i == nil || i.until == 0 {
		return false
	}
	h, ok := g.hook(transition(i.state))
	return ok && h.Name == a.Hook
}

// complete is CompleteLifecycleAction.
func (g *group) complete(m *machine, a policy.CompleteHook) {
	i := g.find(m.id)
	g.w.tell(HookEnded{Instance: m.id, Transition: transition(i.state)})
	g.ended(i, a.Result)
	g.changed()
}

// ended goes on after a hook.
func (g *group) ended(i *item, result policy.HookResult) {
	was := i.state
	i.until = 0
	i.gen++
	if was == policy.StatePendingWait && result == policy.Continue {
		i.state = policy.StateInService
		g.w.say(i.m.id, "in service")
		return
	}
	i.state = policy.StateTerminatingProceed
	i.m.setTarget(policy.TargetTerminated)
	i.m.terminate()
	if i.m.state == policy.InstanceTerminated || i.m.state == policy.InstanceNotFound {
		g.instanceGone(i.m)
	}
}

// terminate begins the end of an instance, in the group's own way.
func (g *group) terminate(i *item) {
	if i.state.Leaving() {
		return
	}
	i.m.setTarget(policy.TargetTerminated)
	if h, ok := g.hook(policy.Terminating); ok && i.state != policy.StatePending {
		g.open(i, policy.StateTerminatingWait, h)
	} else {
		i.until = 0
		i.gen++
		i.state = policy.StateTerminating
		i.m.terminate()
	}
	g.w.say(i.m.id, "the group terminates it")
	g.changed()
}

// instanceGone: EC2 terminated an instance. The group drops one that it sent
// away, and finds out about any other by its health checks.
func (g *group) instanceGone(m *machine) {
	i := g.find(m.id)
	if i == nil {
		return
	}
	switch {
	case i.state == policy.StateTerminatingProceed || i.state == policy.StateTerminating:
		g.w.after(g.w.between(0, 20*time.Second), func() {
			g.items = slices.DeleteFunc(g.items, func(o *item) bool { return o == i })
			g.changed()
		})
	case !i.state.Leaving():
		g.w.after(g.w.between(20*time.Second, 3*time.Minute), func() {
			g.terminate(i)
			if i.state == policy.StateTerminating {
				g.instanceGone(m)
			}
		})
	}
}

// resize is SetDesiredCapacity.
func (g *group) resize(n int) {
	g.w.say("", "desired %d -> %d", g.desired, n)
	g.desired = n
	g.changed()
}
