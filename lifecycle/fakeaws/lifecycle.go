package fakeaws

import (
	"slices"
	"time"
)

// The functions of this file are the arrows of the diagram in the package's
// documentation. c.mu is held in all of them.

// tryRunning takes an instance from pending to running once it has booted, and on
// into its launching hooks.
func (c *Cloud) tryRunning(m *machine) {
	if m.State != Pending || !m.booted || !m.started {
		return
	}
	m.State = Running
	c.dirty = true
	c.emit(Event{Kind: BecameRunning, Group: m.Group, Instance: m.ID})
	if m.Lifecycle == m.phase(LifecyclePending) {
		c.startIn(m)
	}
	// Else it was told to go before it ran, or somebody started it by hand.
}

// startIn takes a running instance through the launching hooks, into service or
// into the warm pool.
func (c *Cloud) startIn(m *machine) {
	if c.openHooks(m, Launching) {
		m.Lifecycle = m.phase(LifecyclePendingWait)
		return
	}
	c.proceedIn(m)
}

// proceedIn is the last step into service or into the warm pool.
func (c *Cloud) proceedIn(m *machine) {
	if m.InPool() {
		c.settleInPool(m)
		return
	}
	c.enterService(m)
}

func (c *Cloud) enterService(m *machine) {
	m.Lifecycle, m.inServiceAt = LifecycleInService, c.now()
	c.dirty = true
	c.emit(Event{Kind: InService, Group: m.Group, Instance: m.ID})
	c.finish(m, activitySuccessful, "")
	if r := c.groupOf(m).activeRefresh(); r != nil {
		c.after(r.Warmup, func() {}) // then it counts, and the group looks again
	}
}

// tellToGo starts an instance's way out of its group. due: it is to be replaced.
func (c *Cloud) tellToGo(m *machine, why string, due, hooks bool) {
	if m.noticed {
		return
	}
	c.notice(m, why, due)
	if m.State == ShuttingDown || m.State == Terminated {
		hooks = hooks && c.groupOf(m).HookDeadInstance // it died before it was told
	}
	if hooks && c.openHooks(m, Terminating) {
		m.Lifecycle = m.phase(LifecycleTerminatingWait)
		return
	}
	c.shutDown(m, why)
	c.tryLeave(m)
}

// notice marks an instance as leaving; metadata shows it from here on.
func (c *Cloud) notice(m *machine, why string, due bool) {
	c.cancelHooks(m, why)
	m.due = due && m.live()
	m.noticed = true
	m.Lifecycle, m.Target, m.NoticeAt = m.phase(LifecycleTerminating), m.phase(TargetTerminated), c.now()
	c.dirty = true
	c.emit(Event{Kind: Notice, Group: m.Group, Instance: m.ID, Note: why})
	c.finish(m, activityCancelled, why)
	c.begin(m, "Terminating EC2 instance: ", "instance "+m.ID+" was taken out of service: "+why)
}

// noticeLost is the group finding out that an instance was terminated or stopped behind
// its back. One that is only stopped goes through the terminating hooks, as if it still
// ran: nobody completes them.
func (c *Cloud) noticeLost(g *group, m *machine) {
	m.Healthy = false
	why := "health check: instance is " + string(m.State)
	if m.State != ShuttingDown && m.State != Terminated {
		c.tellToGo(m, why, true, true)
		return
	}
	c.notice(m, why, true)
	if g.HookDeadInstance && c.openHooks(m, Terminating) {
		m.Lifecycle = m.phase(LifecycleTerminatingWait)
	}
	c.tryLeave(m)
}

// shutDown pulls the plug. No hook survives it.
func (c *Cloud) shutDown(m *machine, why string) {
	if m.State == ShuttingDown || m.State == Terminated {
		return
	}
	c.cancelHooks(m, why)
	m.State = ShuttingDown
	c.dirty = true
	c.emit(Event{Kind: BecameShuttingDown, Group: m.Group, Instance: m.ID, Note: why})
	if m.powerOff != nil {
		m.powerOff()
	} else {
		m.stopped = true
	}
	c.after(c.cfg.Timing.ShutDown, func() {
		m.down = true
		c.tryTerminated(m)
	})
	if !m.noticed {
		c.after(c.cfg.Timing.HealthCheck, func() { m.missed = true })
	}
}

// tryTerminated takes an instance from shutting-down to terminated once its machine is
// gone. EC2 forgets it an hour later.
func (c *Cloud) tryTerminated(m *machine) {
	if m.State != ShuttingDown || !m.down || !m.stopped {
		return
	}
	m.State, m.TerminatedAt = Terminated, c.now()
	c.dirty = true
	c.emit(Event{Kind: BecameTerminated, Group: m.Group, Instance: m.ID})
	c.cfg.IPs.Release(m.PrivateIP)
	c.after(Visible, func() {
		c.instances = slices.DeleteFunc(c.instances, func(o *machine) bool { return o == m })
		c.dirty = true
	})
	c.tryLeave(m)
}

// tryLeave takes a terminated instance off its group's list, once the group knows of
// its end and waits for no hook.
func (c *Cloud) tryLeave(m *machine) {
	if m.State != Terminated || !m.noticed || len(m.open) > 0 || m.Lifecycle == m.phase(LifecycleTerminated) || m.Lifecycle == "" {
		return
	}
	m.Lifecycle = m.phase(LifecycleTerminated)
	c.dirty = true
	c.finish(m, activitySuccessful, "")
	c.after(c.cfg.Timing.Leave, func() {
		g := c.groupOf(m)
		g.members = slices.DeleteFunc(g.members, func(o *machine) bool { return o == m })
		m.Lifecycle = ""
		c.dirty = true
		c.emit(Event{Kind: LeftGroup, Group: m.Group, Instance: m.ID})
	})
}

// openHooks starts all hooks of a transition; it reports whether there are any.
func (c *Cloud) openHooks(m *machine, t Transition) bool {
	for _, spec := range c.groupOf(m).Hooks {
		if spec.Transition != t {
			continue
		}
		now := c.now()
		h := &openHook{spec: spec, OpenHook: OpenHook{
			Name: spec.Name, Transition: t, Token: c.ids.token(),
			OpenedAt: now, GlobalDeadline: now.Add(spec.GlobalTimeout),
		}}
		m.open = append(m.open, h)
		c.extend(m, h)
		c.emit(Event{Kind: HookOpened, Group: m.Group, Instance: m.ID, Hook: h.Name,
			Transition: t, Deadline: h.Deadline})
	}
	if len(m.open) > 0 {
		c.progress(m, activityMidHook, 40)
	}
	c.dirty = true
	return len(m.open) > 0
}

// extend sets a hook's deadline anew, as its opening and every heartbeat do.
func (c *Cloud) extend(m *machine, h *openHook) {
	now := c.now()
	c.cancel(h.alarm)
	h.Deadline = now.Add(h.spec.HeartbeatTimeout)
	by := "expired"
	if !h.Deadline.Before(h.GlobalDeadline) {
		h.Deadline = h.GlobalDeadline
		by = "expired at the global limit"
	}
	// At least a nanosecond: a hook never runs out in the very call that extends it.
	h.alarm = c.after(max(h.Deadline.Sub(now), time.Nanosecond), func() {
		c.finishHook(m, h, h.spec.DefaultResult, by)
	})
}

func (c *Cloud) heartbeat(m *machine, h *openHook, by string) {
	c.extend(m, h)
	c.dirty = true
	c.emit(Event{Kind: Heartbeat, Group: m.Group, Instance: m.ID, Hook: h.Name,
		Transition: h.Transition, By: by, Deadline: h.Deadline})
}

// finishHook ends one hook with a result. The instance moves on when it was the last,
// or at once if the result is ABANDON.
func (c *Cloud) finishHook(m *machine, h *openHook, result, by string) {
	c.cancel(h.alarm)
	m.open = slices.DeleteFunc(m.open, func(o *openHook) bool { return o == h })
	c.dirty = true
	c.emit(Event{Kind: HookCompleted, Group: m.Group, Instance: m.ID, Hook: h.Name,
		Transition: h.Transition, Result: result, By: by})
	if result == Abandon {
		c.cancelHooks(m, h.Name+" was abandoned")
	}
	if len(m.open) > 0 {
		return
	}
	c.progress(m, activityInProgress, 60)
	wait := m.phase(LifecyclePendingWait)
	switch {
	case m.Lifecycle == wait && result == Abandon && h.Transition == Launching:
		c.tellToGo(m, "launch abandoned", true, c.groupOf(m).HookAbandonedLaunch)
	case m.Lifecycle == wait && result == Abandon:
		c.tellToGo(m, "return to the warm pool abandoned", false, false)
	case m.Lifecycle == wait:
		proceed := m.phase(LifecyclePendingProceed)
		m.Lifecycle = proceed
		c.after(c.cfg.Timing.Proceed, func() {
			if m.Lifecycle == proceed && m.State == Running {
				c.proceedIn(m)
			}
		})
	default:
		m.Lifecycle = m.phase(LifecycleTerminatingProceed)
		c.after(c.cfg.Timing.Proceed, func() {
			c.shutDown(m, "lifecycle action completed")
			c.tryLeave(m)
		})
	}
}

// cancelHooks ends all open hooks of an instance without a result.
func (c *Cloud) cancelHooks(m *machine, why string) {
	for _, h := range m.open {
		c.cancel(h.alarm)
		c.emit(Event{Kind: HookCancelled, Group: m.Group, Instance: m.ID, Hook: h.Name,
			Transition: h.Transition, Note: why})
	}
	if len(m.open) > 0 {
		c.dirty = true
	}
	m.open = nil
}
