package fakeaws

import (
	"fmt"
	"net/http"
)

// States that a warm pool keeps its instances in; the values are AWS's.
const (
	PoolStopped    = "Stopped"
	PoolRunning    = "Running"
	PoolHibernated = "Hibernated" // here the same as stopped, but for its name
)

// NoPreparedCapacity is a WarmPool.MaxPrepared that follows the group's maximum.
const NoPreparedCapacity = -1

// WarmPool describes a group's warm pool: instances that were started once and wait to be
// needed. Its size is MaxPrepared less the desired capacity, and at least MinSize.
type WarmPool struct {
	MinSize     int
	MaxPrepared int    // MaxGroupPreparedCapacity; NoPreparedCapacity: the group's maximum
	State       string // PoolStopped (default), PoolRunning or PoolHibernated
	Reuse       bool   // ReuseOnScaleIn: a scale-in brings instances back
}

func (p WarmPool) withDefaults() (WarmPool, error) {
	if p.State == "" {
		p.State = PoolStopped
	}
	switch {
	case p.State != PoolStopped && p.State != PoolRunning && p.State != PoolHibernated:
		return p, fmt.Errorf("unknown warm pool state %q", p.State)
	case p.MinSize < 0 || p.MaxPrepared < NoPreparedCapacity:
		return p, fmt.Errorf("warm pool of at least %d, %d prepared", p.MinSize, p.MaxPrepared)
	}
	return p, nil
}

// PutWarmPool gives a group a warm pool, or changes it. Another State is for instances that
// enter the pool from now on.
func (c *Cloud) PutWarmPool(name string, p WarmPool) error {
	p, err := p.withDefaults()
	if err != nil {
		return invalid("%v", err)
	}
	if !c.canKeep(p) {
		return errNoPower
	}
	return c.changeGroup(name, func(g *group) error {
		if g.poolEnds {
			return &Error{http.StatusBadRequest, "ResourceInUse", "The warm pool of AutoScalingGroup " + g.Name + " is being deleted."}
		}
		g.WarmPool = &p
		c.emit(Event{Kind: PoolPut, Group: g.Name, Note: p.State})
		return nil
	})
}

// DeleteWarmPool lets all instances of the pool go and forgets the pool when it is empty. With
// force no hook is opened.
func (c *Cloud) DeleteWarmPool(name string, force bool) error {
	return c.changeGroup(name, func(g *group) error {
		if g.WarmPool == nil {
			return noPool(g.Name)
		}
		g.poolEnds = true
		for _, m := range g.pool() {
			c.tellToGo(m, "warm pool is being deleted", false, !force)
			if force {
				c.shutDown(m, "warm pool is being deleted by force")
				c.tryLeave(m)
			}
		}
		return nil
	})
}

// canKeep reports whether machines can be brought to the pool's state.
func (c *Cloud) canKeep(p WarmPool) bool { return p.State == PoolRunning || c.canStop() }

func noPool(group string) error {
	return invalid("No warm pool found for AutoScalingGroup %s.", group)
}

// pool gives the instances of the warm pool, those on their way in and out included.
func (g *group) pool() []*machine {
	var ms []*machine
	for _, m := range g.members {
		if m.InPool() {
			ms = append(ms, m)
		}
	}
	return ms
}

// reuses reports whether an instance goes back to the pool on scale-in: where there is
// room for it.
func (g *group) reuses() bool {
	return g.WarmPool != nil && g.WarmPool.Reuse && g.inPool() < g.poolSize()
}

// poolSize is how many instances the warm pool should have.
func (g *group) poolSize() int {
	if g.WarmPool == nil || g.poolEnds || g.deleting {
		return 0
	}
	prepared := g.WarmPool.MaxPrepared
	if prepared == NoPreparedCapacity {
		prepared = g.Max
	}
	return max(prepared-g.Desired, g.WarmPool.MinSize)
}

// keepPool brings the warm pool to its size, and forgets one that was deleted. c.mu is
// held, as in all that follows.
func (c *Cloud) keepPool(g *group) {
	if g.WarmPool == nil {
		return
	}
	var staying []*machine
	pool := g.pool()
	for _, m := range pool {
		if !m.noticed {
			staying = append(staying, m)
		}
	}
	size := g.poolSize()
	// What is planned to come into service may come from here.
	for len(staying) > size+g.planned && !g.isSuspended(ProcessTerminate) {
		c.tellToGo(staying[0], "the warm pool is larger than it should be", false, true)
		staying = staying[1:]
	}
	for len(staying)+g.warming < size && !g.isSuspended(ProcessLaunch) && !g.holdOff {
		g.warming++
		c.after(c.cfg.Timing.Launch, func() {
			g.warming--
			if n := g.inPool(); n < g.poolSize() && !g.isSuspended(ProcessLaunch) && !g.holdOff {
				c.launch(g, true)
			}
		})
	}
	if g.poolEnds && len(pool) == 0 {
		g.WarmPool, g.poolEnds = nil, false
		c.dirty = true
		c.emit(Event{Kind: PoolDeleted, Group: g.Name})
	}
}

// inPool is the number of instances of the pool that are not on their way out.
func (g *group) inPool() int {
	n := 0
	for _, m := range g.pool() {
		if !m.noticed {
			n++
		}
	}
	return n
}

// settleInPool brings a running instance to the state that the pool keeps.
func (c *Cloud) settleInPool(m *machine) {
	if g := c.groupOf(m); g.WarmPool.State == PoolRunning {
		c.enterPool(m)
		return
	}
	m.Lifecycle = Warmed + LifecyclePendingProceed
	c.stopMachine(m, "warm pool")
}

// enterPool ends an instance's way into the pool.
func (c *Cloud) enterPool(m *machine) {
	m.Lifecycle = Warmed + c.groupOf(m).WarmPool.State
	c.dirty = true
	c.emit(Event{Kind: EnteredPool, Group: m.Group, Instance: m.ID, Note: m.Lifecycle})
	c.finish(m, activitySuccessful, "")
}

// leavePool starts a warm instance's way into service, through the launching hooks.
func (c *Cloud) leavePool(m *machine) {
	m.Lifecycle, m.Target = LifecyclePending, TargetInService
	c.dirty = true
	c.emit(Event{Kind: LeftPool, Group: m.Group, Instance: m.ID})
	c.begin(m, "Launching a new EC2 instance from warm pool: ",
		"an instance was started in response to a difference between desired and actual capacity")
	if m.State == Running {
		c.startIn(m)
		return
	}
	c.powerOn(m)
}

// returnToPool starts an instance's way from service back to the pool: through the terminating
// hooks, at Warmed:Pending:Wait.
func (c *Cloud) returnToPool(g *group, m *machine) {
	c.cancelHooks(m, "scale-in")
	m.Lifecycle, m.Target, m.NoticeAt = Warmed+LifecyclePending, Warmed+g.WarmPool.State, c.now()
	c.dirty = true
	c.emit(Event{Kind: ReturnsToPool, Group: m.Group, Instance: m.ID, Note: "scale-in"})
	c.begin(m, "Returning EC2 instance to warm pool: ", "instance "+m.ID+" was taken out of service: scale-in")
	if c.openHooks(m, Terminating) {
		m.Lifecycle = Warmed + LifecyclePendingWait
		return
	}
	c.settleInPool(m)
}
