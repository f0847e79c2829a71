package sim

import (
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// agent is the model of one agent's loop (package agent): a board of facts,
// observers, one action in flight, receipts, duties.
type agent struct {
	w     *world
	m     *machine
	alive bool
	state policy.State
	view  policy.View // the board
	polls [policy.NumSources]poller

	said    [6]policy.Reason
	due     bool // a pass is scheduled
	timer   int  // generation of the timer for the next look at the same facts
	seen    seen
	action  int // generation of the action in flight
	beats   map[string]*beat
	queued  map[bool]*keep // by whether it is the leaving queue
	watched string         // the ids asked of EC2
	calm    map[string]int // how often it did what, and why, long after the faults stopped
	asked   int            // requests so far
	answers map[string]func(policy.AnswerRequest, bool)
	scripts map[policy.ScriptsWhen]*run
	met     int // the generation of etcd's process that answered
	// ask asks the real loop that stands in for this model; nil: there is none.
	ask  func(r policy.Request, then func(policy.AnswerRequest, bool))
	halt func() // ends the real loop that stands in for this model
}

// startAgent starts the agent's process: everything but the disk is new.
func (m *machine) startAgent() {
	if m.agent != nil || !m.on {
		return
	}
	a := &agent{w: m.w, m: m, alive: true, beats: map[string]*beat{}, calm: map[string]int{}, queued: map[bool]*keep{},
		answers: map[string]func(policy.AnswerRequest, bool){}, scripts: map[policy.ScriptsWhen]*run{}}
	m.agent, m.since = a, m.w.now
	boot := m.bootID()
	a.view = policy.View{
		Started: m.clock(),
		Self: policy.Self{
			Instance: m.id, Machine: "machine-" + string(m.id), Boot: boot,
			PeerURL: m.peerURL(), ClientURL: m.clientURL(),
		},
		Record:   m.disk.record,
		Health:   map[policy.MemberID]policy.Fact[policy.Health]{},
		Peers:    map[policy.InstanceID]policy.Fact[policy.Peer]{},
		Wants:    map[policy.WantSource]policy.Fact[policy.Want]{},
		Receipts: map[string]policy.Receipt{},
	}
	for s := range m.wants() {
		a.view.Wants[s] = policy.Fact[policy.Want]{}
	}
	a.say("the agent starts")
	if m.w.drive != nil {
		a.halt = m.w.drive(a)
		return
	}
	a.setPace(policy.SourceTarget, time.Second)
	a.setPace(policy.SourceUnit, 100*time.Millisecond)
	a.setPace(policy.SourceSpot, 5*time.Second)
	for _, s := range [...]policy.Source{policy.SourceWants, policy.SourceLogin, policy.SourceDown} {
		a.setPace(s, rest)
	}
	a.setPace(policy.SourcePulse, pulseClosely)
	for _, s := range [...]policy.Source{policy.SourceData, policy.SourceMembers, policy.SourceHealth, policy.SourceLock, policy.SourcePeers} {
		a.setPace(s, closely)
	}
	a.w.touch(policy.SourcePeers)
	a.poke()
}

// crashAgent ends the agent's process. What it sent to others may still land.
func (m *machine) crashAgent() {
	if m.agent == nil {
		return
	}
	m.agent.say("the agent dies")
	m.agent.alive = false
	m.agent.action++
	m.w.tell(Ended{Instance: m.id})
	if m.agent.halt != nil {
		m.agent.halt()
	}
	m.bad = m.w.now
	m.agent.stopDuties()
	m.agent = nil
	m.w.touch(policy.SourcePeers)
}

// restartAgent is systemd's Restart=always.
func (m *machine) restartAgent(pause time.Duration) {
	m.crashAgent()
	boot := m.boot
	m.w.after(pause, func() {
		if m.boot == boot {
			m.startAgent()
		}
	})
}

func (a *agent) say(what string, args ...any) { a.w.say(a.m.id, what, args...) }

// poke schedules a pass.
func (a *agent) poke() {
	if a.due {
		return
	}
	a.due = true
	a.w.after(time.Millisecond, func() {
		if a.alive {
			a.pass()
		}
	})
}

// pass decides once, and does what was decided.
func (a *agent) pass() {
	a.due = false
	a.advance()
	v := a.view
	v.Now = a.m.clock()
	if a.w.opt.Variant != nil && a.w.opt.Variant.View != nil {
		a.w.opt.Variant.View(a.w.cfg, &v)
	}
	state, d := a.w.decide(a, v)
	a.state = state
	for i, c := range policy.Concerns() {
		r := d.Verdicts[c].Reason
		a.w.reasons[r] = true
		if a.said[i] != r {
			a.said[i] = r
			if r != policy.Settling && r != policy.Busy && r != policy.Idle {
				a.say("%s: %s (%s)", c, r, d.Verdicts[c].Detail)
			}
		}
	}
	a.apply(d.Duties)
	if d.Action != nil && a.view.InFlight == nil {
		a.begin(d)
	} else if d.Action != nil {
		a.w.check.fail(a.w.now, FewActions, "%s: %s while another action is in flight", a.m.id, d.Action.Kind())
	}
	a.keepEndpoints()
	a.lookAgain(d)
}

// decide runs the policy, intact or broken.
func (w *world) decide(a *agent, v policy.View) (policy.State, policy.Decision) {
	w.passes++
	if w.opt.Variant == nil && w.passes%w.opt.Audit == 0 {
		return w.audit(a, v)
	}
	state, d := policy.Next(w.cfg, a.state, v)
	if w.opt.Variant != nil && w.opt.Variant.Decide != nil {
		w.opt.Variant.Decide(w.cfg, v, &d)
	}
	return state, d
}

// lookAgain sets the timers of the same facts: the instant that the decision
// names, and the one at which a fact grows too old that nobody renews in time.
func (a *agent) lookAgain(d policy.Decision) {
	a.timer++
	var next time.Time
	soonest := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	if !d.Recheck.IsZero() {
		if now := a.m.clock(); !d.Recheck.After(now) {
			a.w.check.fail(a.w.now, RecheckHonest, "%s: a pass at %s asks for one at %s: %s", a.m.id, now, d.Recheck, describe(d))
			return
		}
		soonest(d.Recheck)
	}
	for s := range policy.NumSources {
		if e := d.Expires[s]; !e.IsZero() && !a.renews(s, e) {
			soonest(e)
		}
		if d.Wants[s] {
			a.want(s)
		}
	}
	if next.IsZero() {
		return
	}
	timer := a.timer
	a.w.at(next.Sub(epoch)-a.m.skew, func() {
		if a.alive && a.timer == timer {
			a.reread()
			a.pass()
		}
	})
}

// reread brings the indices up to date that resting observers do not carry.
func (a *agent) reread() {
	if a.polls[policy.SourceHealth].every > 0 && !a.polls[policy.SourceHealth].busy {
		for id, f := range a.view.Health {
			if f.Known() {
				if h, err := a.probe(id); err == nil {
					f.Value.Applied, f.Value.Committed = h.Applied, h.Committed
					a.view.Health[id] = f
				}
			}
		}
	}
}

// keepEndpoints writes the members' client URLs down, as the loop does.
func (a *agent) keepEndpoints() {
	v := &a.view
	if !v.Members.Known() || v.InFlight != nil || v.Record.Instance != v.Self.Instance {
		return
	}
	voters := policy.VotersOf(v.Members.Value)
	n := 0
	same := slices.Equal(voters, v.Record.Voters)
	for _, m := range v.Members.Value.Members {
		for _, u := range m.ClientURLs {
			same = same && n < len(v.Record.Endpoints) && v.Record.Endpoints[n] == u
			n++
		}
	}
	if n == 0 || (same && n == len(v.Record.Endpoints)) {
		return
	}
	var urls []string
	for _, m := range v.Members.Value.Members {
		urls = append(urls, m.ClientURLs...)
	}
	v.Record.Endpoints, v.Record.Voters = urls, voters
	a.m.disk.record = v.Record
}
