package fakeaws

import (
	"net/http"
	"slices"
)

// StopInstance is EC2's StopInstances for one instance: the machine goes off and keeps
// its disks. Its group takes that for ill health, unless it is in standby.
func (c *Cloud) StopInstance(id string) error { return c.stopInstances([]string{id}) }

// StartInstance is EC2's StartInstances for one instance.
func (c *Cloud) StartInstance(id string) error { return c.startInstances([]string{id}) }

// errNoPower: the Driver's machines cannot be turned off and on.
var errNoPower error = &Error{http.StatusBadRequest, "UnsupportedOperation",
	"the machines of this cloud cannot be stopped: its Driver is no PowerDriver"}

func (c *Cloud) stopInstances(ids []string) error {
	return c.changeInstances(ids, []InstanceState{Running, Stopping, Stopped}, "stopped", func(m *machine) {
		if m.State == Running {
			c.stopMachine(m, "stopped in EC2")
			c.after(c.cfg.Timing.HealthCheck, func() {
				m.missed = m.missed || (m.live() && m.State != Running && m.State != Pending)
			})
		}
	})
}

func (c *Cloud) startInstances(ids []string) error {
	return c.changeInstances(ids, []InstanceState{Stopped, Pending, Running}, "started", func(m *machine) {
		if m.State == Stopped {
			c.powerOn(m)
		}
	})
}

// changeInstances runs f for all the instances, or for none if one of them is unknown or
// in no state for it.
func (c *Cloud) changeInstances(ids []string, states []InstanceState, what string, f func(*machine)) error {
	if !c.canStop() {
		return errNoPower
	}
	return c.try(func() error {
		ms, err := c.findInstances(ids)
		if err != nil {
			return err
		}
		for _, m := range ms {
			if !slices.Contains(states, m.State) {
				return &Error{http.StatusBadRequest, "IncorrectInstanceState",
					"The instance '" + m.ID + "' is not in a state from which it can be " + what + "."}
			}
		}
		for _, m := range ms {
			f(m)
		}
		return nil
	})
}

// stopMachine turns a running machine off. c.mu is held, as in all that follows.
func (c *Cloud) stopMachine(m *machine, why string) {
	m.State = Stopping
	m.booted, m.started, m.idle, m.halted = false, false, false, false
	c.dirty = true
	c.emit(Event{Kind: BecameStopping, Group: m.Group, Instance: m.ID, Note: why})
	if m.power != nil {
		m.power <- false // there is room: an order is given only when the one before is done
	} else {
		m.halted = true
	}
	c.after(c.cfg.Timing.ShutDown, func() {
		m.idle = true
		c.tryStopped(m)
	})
}

// powerOn starts a stopped machine.
func (c *Cloud) powerOn(m *machine) {
	m.State, m.LaunchTime = Pending, c.now() // EC2 counts from the last start
	c.dirty = true
	if m.power != nil {
		m.power <- true
	} else {
		m.started = true
	}
	c.boot(m)
}

// powered is a machine's word that an order was carried out.
func (c *Cloud) powered(m *machine, on bool, err error) {
	if err != nil && on {
		c.emit(Event{Kind: LaunchFailed, Group: m.Group, Instance: m.ID, Note: err.Error()})
		c.shutDown(m, "start failed: "+err.Error())
		return
	}
	if err != nil {
		c.emit(Event{Kind: StopFailed, Group: m.Group, Instance: m.ID, Note: err.Error()})
	}
	if on {
		m.started = true
		c.tryRunning(m)
		return
	}
	m.halted = true
	c.tryStopped(m)
}

// tryStopped takes an instance from stopping to stopped once its machine is off.
func (c *Cloud) tryStopped(m *machine) {
	if m.State != Stopping || !m.idle || !m.halted {
		return
	}
	m.State = Stopped
	c.dirty = true
	c.emit(Event{Kind: BecameStopped, Group: m.Group, Instance: m.ID})
	if m.Lifecycle == Warmed+LifecyclePendingProceed {
		c.enterPool(m)
	}
}
