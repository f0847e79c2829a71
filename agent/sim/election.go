package sim

import (
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// How often the loop looks at its own etcd while it does not serve, and at other
// agents (package agent).
const (
	pulseClosely = time.Second
	peersRest    = 2 * time.Second
	peersPlan    = 250 * time.Millisecond
)

// observePulse looks at the machine's own etcd, as it is.
func (a *agent) observePulse(began time.Time) func() bool {
	m := a.m
	p := policy.Pulse{Version: "3.6.16"}
	port := func(answers bool) policy.Port {
		if answers {
			return policy.Port{Answer: policy.PortAnswers}
		}
		return policy.Port{Answer: policy.PortSilent}
	}
	talks := m.etcd.running && !m.etcd.paused
	p.Metrics, p.PeerPort, p.Client = port(talks), port(talks), port(talks)
	if talks {
		a.met = m.etcd.gen
		c := m.cluster()
		p.Leader, p.Term, p.NoSpace, p.Serves = policy.LeaderNone, c.term, c.noSpace, c.serves(m)
		if m.etcd.linked >= 0 && c.leader != 0 {
			p.Leader, p.LeaderID = policy.LeaderSome, c.named(m)
		}
		if me := c.find(m.disk.data.member); me != nil {
			p.Learner, p.Applied = me.learner, c.applied(m, me)
			p.Committed = p.Applied
		}
		if m.blind {
			p = policy.Pulse{Client: policy.Port{Answer: policy.PortCannotTell}, PeerPort: port(true), Metrics: port(false)}
		}
	}
	p.Met = a.met == m.etcd.gen && m.etcd.running
	return func() bool {
		old := a.view.Pulse
		changed := !old.Known() || sameIndex(old.Value) != sameIndex(p)
		a.view.Pulse = policy.Observed(p, began)
		if changed {
			a.w.touch(policy.SourcePeers)
		}
		return changed
	}
}

// sameIndex is a pulse without what alone is no news.
func sameIndex(p policy.Pulse) policy.Pulse {
	p.Applied, p.Committed = 0, 0
	return p
}

// pulsePace is how often the pulse is looked at after what was seen last.
func (a *agent) pulsePace() time.Duration {
	if a.view.Pulse.Known() && a.view.Pulse.Value.Serves {
		return rest
	}
	return pulseClosely
}

// word is what an agent says of its etcd, as it believes it to be.
func (a *agent) word() policy.EtcdWord {
	a.advanceOne(policy.SourcePulse)
	a.advanceOne(policy.SourceUnit)
	v := &a.view
	w := policy.EtcdWord{Known: v.Pulse.Known() && v.Unit.Known(), Pulse: v.Pulse.Value, Disk: !a.m.disk.data.empty() && a.m.disk.data.member == a.m.disk.record.Member}
	if w.Known {
		w.Age = a.m.clock().Sub(v.Pulse.At)
		w.Active, w.Running = v.Unit.Value.Active == "active", !v.Unit.Value.Down()
	}
	return w
}

// samePeer reports whether a status is no news.
func samePeer(a, b policy.Peer) bool {
	a.Etcd.Age, b.Etcd.Age = 0, 0
	a.Etcd.Pulse, b.Etcd.Pulse = sameIndex(a.Etcd.Pulse), sameIndex(b.Etcd.Pulse)
	return a == b
}

// electionFaults are those of which only a restart helps, or nothing.
var electionFaults = []fault{
	{"freeze one", 4, false, func(w *world, m *machine) { w.freezeEtcd(m) }},
	{"freeze a majority", 5, false, func(w *world, _ *machine) { w.freezeVoters(0) }},
	{"freeze all", 2, false, func(w *world, _ *machine) { w.freezeVoters(9) }},
	{"elections fail until all were stopped", 3, false, func(w *world, _ *machine) { w.wedge(false) }},
	{"elections fail", 2, false, func(w *world, _ *machine) { w.wedge(true) }},
	{"certificates expire", 2, false, func(w *world, m *machine) {
		m.blind = true
		m.touchPulse()
		w.after(w.span(), func() { m.blind, m.bad = false, w.now; m.touchPulse() })
	}},
	{"all agents restart", 3, false, func(w *world, _ *machine) {
		for _, m := range w.alive() {
			m.restartAgent(w.between(time.Second, 10*time.Second))
		}
	}},
	{"deaf", 3, false, (*world).deafen},
	{"asked to force an election", 3, false, func(w *world, m *machine) {
		if m.agent != nil {
			m.agent.submit(policy.Request{Kind: policy.ForceElection}, requestTimeout, nil)
		}
	}},
}

func (m *machine) touchPulse() {
	if m.agent != nil {
		m.agent.touch(policy.SourcePulse)
	}
}

// freezeEtcd stops a process so that only a restart brings it back.
func (w *world) freezeEtcd(m *machine) {
	if !m.etcd.running || m.etcd.paused {
		return
	}
	w.say(m.id, "etcd is frozen")
	m.etcd.paused, m.bad = true, w.now
	m.touchPulse()
	m.cluster().settle()
	w.touchEtcd()
}

// freezeVoters freezes as many voters as stops elections, and some more.
func (w *world) freezeVoters(more int) {
	c := w.current()
	if c == nil {
		return
	}
	n := c.voters() - policy.Quorum(c.voters()) + 1 + more
	for _, i := range w.rng.Perm(len(c.members)) {
		if m := c.members[i]; !m.learner && n > 0 {
			if h := c.host(m.id); h != nil {
				w.freezeEtcd(h)
				n--
			}
		}
	}
}

// wedge keeps a cluster from electing, until all its voters were down at once or, where
// nothing helps, for a while.
func (w *world) wedge(hopeless bool) {
	c := w.current()
	if c == nil || c.wedged {
		return
	}
	c.wedged, c.hopeless = true, hopeless
	c.settle()
	if hopeless {
		w.after(w.between(time.Minute, 3*time.Hour), func() { c.unwedge() })
	}
}

func (c *cluster) unwedge() {
	if c.wedged {
		c.w.say("", "elections succeed again")
		c.wedged, c.hopeless = false, false
		c.settle()
	}
}

// unwedged looks whether all voters are down.
func (c *cluster) unwedged() {
	if !c.wedged || c.hopeless {
		return
	}
	for _, m := range c.members {
		if !m.learner && c.host(m.id) != nil {
			return
		}
	}
	c.wedged = false
}

// deafen cuts one direction between two agents, and a few polls: A no longer hears B.
func (w *world) deafen(m *machine) {
	o := w.any()
	if o == nil || o == m {
		return
	}
	if m.deaf == nil {
		m.deaf = map[policy.InstanceID]bool{}
	}
	m.deaf[o.id] = true
	w.touch(policy.SourcePeers)
	w.after(w.span(), func() { delete(m.deaf, o.id); w.touch(policy.SourcePeers) })
}

// thaw lets whatever only a restart would bring back go on: at the end of all faults.
func (w *world) thaw() {
	for _, c := range w.clusters {
		c.unwedge()
	}
	for _, m := range w.machines {
		m.blind, m.deaf = false, nil
		m.touchPulse()
	}
}

// effectElection changes the world for actions of an election.
func (a *agent) effectElection(act policy.Action, applied func()) error {
	m, w := a.m, a.w
	switch act.(type) {
	case policy.SaveSnapshot:
		if w.chance(w.trouble(0.2)) {
			return errRefused
		}
	case policy.RestartEtcd:
		applied()
		m.disk.allowed = true
		m.restartUnit()
	case policy.StopEtcd:
		if e := m.disk.record.Election; e.Open() {
			applied()
			boot, gen := m.boot, m.etcd.gen // of this very stop
			w.after(leftAfter, func() {
				if m.on && m.boot == boot && m.agent != nil && w.now-m.since > 10*time.Minute && m.etcd.unit.Stopped() && m.etcd.gen == gen {
					w.tell(LeftStopped{Instance: m.id})
				}
			})
		}
	}
	return nil
}

// leftAfter is long after every plan's end, and an agent's longest absence.
const leftAfter = 40 * time.Minute
