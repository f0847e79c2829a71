package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// system is what the machine's system knows of reboots: what wants one, who is
// logged in, what logind was told, and the FleetLock client where there is one.
type system struct {
	update   bool // an update waits for a reboot
	sentinel bool // a command says so, also after one
	served   bool // and there was one for it
	event    string
	due      time.Duration // when EC2 reboots it
	user     bool
	blocked  bool // an inhibitor
	down     bool // a unit beside etcd's does not come up
	going    bool // logind takes the machine down
	stuck    bool // what logind accepts does not happen
	silent   bool // logind does not answer
	dead     bool // it does not come back from its next reboot
	script   bool // scripts fail
	client   *client
}

var (
	errInhibited = errors.New("the reboot is blocked by an inhibitor")
	errLogind    = errors.New("logind does not answer")
	errScript    = errors.New("a script failed: exit code 1")
)

func (m *machine) bootID() string { return fmt.Sprintf("boot-%d", m.boot) }

// want is what a source of this machine says. Where a FleetLock client does the
// updates, the agent has no source for them.
func (m *machine) wants() map[policy.WantSource]policy.Want {
	s := &m.sys
	out := map[policy.WantSource]policy.Want{
		policy.WantSentinel:  {Wanted: s.sentinel},
		policy.WantScheduled: {Wanted: s.event != "", ID: s.event, Due: epoch.Add(s.due)},
	}
	if s.event == "" {
		out[policy.WantScheduled] = policy.Want{}
	}
	if !m.w.plan.fleetlock {
		out[policy.WantUpdateEngine] = policy.Want{Wanted: s.update}
	}
	return out
}

// logind is what it says now.
func (m *machine) logind() (policy.Login, error) {
	s := &m.sys
	if s.silent {
		return policy.Login{}, errLogind
	}
	l := policy.Login{GoingDown: s.going}
	if s.user {
		l.Users = []string{"core on tty1"}
	}
	if s.blocked {
		l.Blocks = []string{"apt: it installs"}
	}
	return l, nil
}

func (m *machine) sysChanged() {
	if m.agent != nil {
		m.agent.touch(policy.SourceWants)
		m.agent.touch(policy.SourceLogin)
		m.agent.touch(policy.SourceDown)
	}
}

// askReboot is logind's Reboot: accepted, it happens a while later.
func (m *machine) askReboot() error {
	s := &m.sys
	switch {
	case s.silent:
		return errLogind
	case s.blocked:
		return errInhibited
	case s.going:
		return nil
	}
	if s.stuck {
		m.w.say(m.id, "logind accepts the reboot, and nothing happens")
		return nil
	}
	if s.served && s.sentinel && !s.update && s.event == "" && m.disk.record.Reboot == nil {
		m.w.check.fail(m.w.now, FewActions, "%s is rebooted again for a source that is never content", m.id)
	}
	s.served = s.sentinel
	m.goDown(m.w.between(time.Second, 30*time.Second))
	return nil
}

// goDown takes the machine down in a while, and lets it come back: an orderly
// reboot, by its agent or its FleetLock client.
func (m *machine) goDown(in time.Duration) {
	boot := m.boot
	m.sys.going = true
	m.w.tell(GoesDown{Instance: m.id, Boot: m.bootID(), In: true})
	m.sysChanged()
	m.w.after(in, func() {
		if !m.on || m.boot != boot || !m.sys.going {
			return
		}
		m.w.say(m.id, "goes down for its reboot")
		m.w.tell(GoesDown{Instance: m.id, Boot: m.bootID()})
		m.w.reboots++
		m.powerOff()
		if m.sys.dead && !m.w.calm {
			m.w.say(m.id, "and does not come back")
			m.w.after(m.w.between(5*time.Minute, 40*time.Minute), func() {
				if !m.on && !m.w.calm {
					m.terminate() // its status checks fail, or somebody sees it
				}
			})
			return
		}
		m.w.after(m.w.between(10*time.Second, 2*time.Minute), m.start)
	})
}

// booted: a new boot leaves behind what concerned the last one.
func (m *machine) booted() {
	s := &m.sys
	s.update, s.user, s.blocked, s.going, s.stuck = false, false, false, false, false
	s.event = ""
	if !m.w.calm && m.w.chance(m.w.trouble(0.1)) {
		s.down = true
		m.w.after(m.w.between(time.Minute, 20*time.Minute), func() { s.down = false; m.sysChanged() })
	}
	if m.w.plan.fleetlock {
		m.startClient()
	}
}

// client is a FleetLock client as Zincati is one: at its start it says
// steady-state until that is accepted; when an update is staged it asks for the lock
// until that is granted, and reboots.
type client struct {
	m    *machine
	on   bool
	wait int // generation of the next step
}

func (m *machine) startClient() {
	if m.sys.client != nil {
		m.sys.client.on = false
	}
	c := &client{m: m, on: true}
	m.sys.client = c
	first := c.steady
	if !m.w.calm && m.w.chance(m.w.trouble(0.1)) {
		// No client that is in order: it finds the next update, and asks under the hold of
		// the boot before.
		m.sys.update = true
		m.sysChanged()
		first = c.look
	}
	c.in(m.w.between(5*time.Second, time.Minute), first)
}

// in does the next step a while from now, if the client still runs in this boot.
func (c *client) in(d time.Duration, f func()) {
	boot := c.m.boot
	c.wait++
	wait := c.wait
	c.m.w.after(d, func() {
		if c.on && c.m.on && c.m.boot == boot && c.wait == wait {
			f()
		}
	})
}

func (c *client) steady() {
	c.ask(policy.SteadyState, func(ok bool) {
		if ok {
			c.in(c.m.w.between(10*time.Second, 2*time.Minute), c.look)
		} else {
			c.in(c.m.w.between(20*time.Second, 3*time.Minute), c.steady)
		}
	})
}

func (c *client) look() {
	if !c.m.sys.update {
		c.in(c.m.w.between(time.Minute, 10*time.Minute), c.look)
		return
	}
	c.ask(policy.PreReboot, func(ok bool) {
		if !ok {
			c.in(c.m.w.between(time.Minute, 6*time.Minute), c.look)
			return
		}
		c.m.say("its FleetLock client is granted the lock")
		c.m.w.tell(Granted{Instance: c.m.id, Boot: c.m.bootID()})
		c.in(c.m.w.between(0, 20*time.Second), func() { c.m.goDown(c.m.w.between(time.Second, 20*time.Second)) })
	})
}

// ask asks the agent; no agent is no answer.
func (c *client) ask(kind policy.RequestKind, then func(ok bool)) {
	if c.m.agent == nil {
		then(false)
		return
	}
	c.m.agent.submit(policy.Request{Kind: kind, Client: "zincati-" + string(c.m.id), Group: "default",
		Scripts: kind == policy.PreReboot && c.m.w.plan.scripts}, 30*time.Second, func(a policy.AnswerRequest, ok bool) {
		if c.on {
			then(ok && a.OK)
		}
	})
}

func (m *machine) say(what string, args ...any) { m.w.say(m.id, what, args...) }

// Faults and wishes.

// updateAll: the fleet learns of an update within a moment.
func (w *world) updateAll(_ *machine) {
	for _, m := range w.alive() {
		w.updated(m)
	}
}

func (w *world) updated(m *machine) {
	if m.on {
		m.sys.update = true
		m.sysChanged()
	}
}

// event: EC2 will reboot the machine, and does if the machine has not itself.
func (w *world) scheduled(m *machine) {
	if m.sys.event != "" {
		return
	}
	id := fmt.Sprintf("event-%d", w.now)
	m.sys.event, m.sys.due = id, w.now+w.between(10*time.Minute, 8*time.Hour)
	m.sysChanged()
	w.at(m.sys.due, func() {
		if m.sys.event == id {
			m.sys.event = ""
			m.sysChanged()
			if m.on && !w.calm {
				m.reboot(w.between(15*time.Second, 2*time.Minute))
			}
		}
	})
}

// sysFault makes something of the system wrong for a while.
func (w *world) sysFault(m *machine, set func(s *system, on bool)) {
	set(&m.sys, true)
	m.sysChanged()
	boot := m.boot
	w.after(w.between(time.Minute, 40*time.Minute), func() {
		if m.boot == boot {
			set(&m.sys, false)
			m.sysChanged()
		}
	})
}

// vanish: the FleetLock client is away for a while, perhaps right after its grant.
func (w *world) vanish(m *machine) {
	c := m.sys.client
	if c == nil {
		return
	}
	c.on = false
	boot := m.boot
	w.after(w.between(time.Minute, time.Hour), func() {
		if m.on && m.boot == boot && m.sys.client == c {
			m.startClient()
		}
	})
}

// ownHolds are the holds of the current cluster.
func (w *world) holds() []policy.Hold {
	if c := w.current(); c != nil {
		return slices.Clone(c.lock.holders)
	}
	return nil
}

// operatorReleases: an operator who thinks that a hold is stuck has it given back,
// through the agent of any node. People read what they are shown before they say yes.
func (w *world) operatorReleases(m *machine) {
	for _, h := range w.holds() {
		if h.Reason == policy.HoldLeaving {
			continue
		}
		w.after(w.between(0, 2*time.Minute), func() {
			if m.agent != nil {
				m.agent.submit(policy.Request{Kind: policy.LockRelease, Instance: h.Instance, Revision: h.Revision}, time.Minute, nil)
			}
		})
		return
	}
}

// operatorHolds: an operator takes the lock at a node, and gives it back later.
func (w *world) operatorHolds(m *machine) {
	if m.agent == nil {
		return
	}
	m.agent.submit(policy.Request{Kind: policy.LockAcquire, Why: "maintenance"}, time.Minute, nil)
	w.after(w.between(5*time.Minute, time.Hour), func() { w.letGo(m) })
}

// letGo has what an operator holds at a node given back, until it is.
func (w *world) letGo(m *machine) {
	held := slices.ContainsFunc(w.holds(), func(h policy.Hold) bool { return h.Instance == m.id && h.Reason == policy.HoldOperator })
	if held && m.agent != nil {
		m.agent.submit(policy.Request{Kind: policy.LockRelease}, time.Minute, nil)
	}
	if held || !w.calm && w.chance(0.1) {
		w.after(2*time.Minute, func() { w.letGo(m) })
	}
}

// ordered: an operator orders a reboot, sometimes thinks better of it.
func (w *world) ordered(m *machine) {
	if m.agent == nil {
		return
	}
	m.agent.submit(policy.Request{Kind: policy.OrderReboot, Why: "a new kernel"}, time.Minute, nil)
	if w.chance(0.3) {
		w.after(w.between(0, 2*time.Minute), func() {
			if m.agent != nil {
				m.agent.submit(policy.Request{Kind: policy.CancelReboot}, time.Minute, nil)
			}
		})
	}
}

// healSystem ends what is wrong with a machine's system.
func (w *world) healSystem(m *machine) {
	s := &m.sys
	s.user, s.blocked, s.down, s.stuck, s.silent, s.dead, s.script, s.event = false, false, false, false, false, false, false, ""
	m.sysChanged()
	if c := s.client; c != nil && !c.on && m.on {
		m.startClient()
	}
	w.after(w.between(0, 5*time.Minute), func() { w.letGo(m) })
}

// unrebooted lists the machines whose update still waits, where nothing forbids it.
func (w *world) unrebooted() []string {
	var out []string
	c := w.current()
	if c.voters() <= 2 && !w.cfg.Reboot.SmallClusters {
		return nil
	}
	for _, m := range w.alive() {
		in := w.group.find(m.id) != nil
		if off := w.cfg.Reboot.Strategy == policy.StrategyOff && !w.plan.fleetlock; m.sys.update && in && !off {
			out = append(out, fmt.Sprintf("%s still waits for its reboot", m.id))
		}
		if o := m.disk.record.Reboot; o != nil {
			out = append(out, fmt.Sprintf("%s is still ordered to reboot", m.id))
		}
	}
	return out
}
