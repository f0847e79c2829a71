package peer

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// Pulse is the node's etcd as its agent sees it without a quorum. What was not
// asked or not answered is left out.
type Pulse struct {
	// AgeSeconds is how long before the pass its agent looked.
	AgeSeconds float64 `json:"age_seconds"`
	// Knows is "some" or "none" for whether the member knows a leader.
	Knows     string `json:"knows_leader,omitempty"`
	Leader    ID     `json:"leader,omitempty"`
	Leads     bool   `json:"leads,omitempty"` // by its metrics
	Term      uint64 `json:"term,omitempty"`
	Committed uint64 `json:"committed,omitempty"`
	Applied   uint64 `json:"applied,omitempty"`
	Learner   bool   `json:"learner,omitempty"`
	// Serves: a linearizable read succeeded.
	Serves bool     `json:"serves,omitempty"`
	Alarms []string `json:"alarms,omitempty"`
	// Met: this very process answered on some port once.
	Met     bool   `json:"met,omitempty"`
	Client  *Port  `json:"client_port,omitempty"`
	Peer    *Port  `json:"peer_port,omitempty"`
	Metrics *Port  `json:"metrics_port,omitempty"`
	Version string `json:"version,omitempty"`
}

// Port is how one of etcd's ports behaves: "answers", "silent" or "cannot-tell",
// and for how long it has.
type Port struct {
	Answer  string  `json:"answer"`
	Seconds float64 `json:"seconds"`
}

// Election is the newest plan to restart a stuck etcd that the node takes part in,
// and how far the node is with it.
type Election struct {
	// Plan names the plan by its content, which must fit.
	Plan    string `json:"plan"`
	Cluster ID     `json:"cluster"`
	Attempt int    `json:"attempt"`
	// Round is 1 (one after another) or 2 (all at once).
	Round    int       `json:"round"`
	Forced   bool      `json:"forced,omitempty"`
	Proposer ID        `json:"proposer"`
	At       time.Time `json:"at"`
	Order    []ID      `json:"order"`
	Step     string    `json:"step"`
}

func fromPulse(v policy.View) *Pulse {
	f := v.Pulse
	if !f.Known() {
		return nil
	}
	p := f.Value
	out := &Pulse{
		AgeSeconds: max(0, v.Now.Sub(f.At).Seconds()), Knows: string(p.Leader), Leader: ID(p.LeaderID), Leads: p.Leads, Term: p.Term,
		Committed: p.Committed, Applied: p.Applied, Learner: p.Learner, Serves: p.Serves,
		Alarms: alarms(p.NoSpace, p.Corrupt), Met: p.Met, Version: p.Version,
		Client: fromPort(p.Client), Peer: fromPort(p.PeerPort), Metrics: fromPort(p.Metrics),
	}
	return out
}

func alarms(noSpace, corrupt bool) (out []string) {
	if noSpace {
		out = append(out, AlarmNoSpace)
	}
	if corrupt {
		out = append(out, AlarmCorrupt)
	}
	return out
}

func fromPort(p policy.Port) *Port {
	if p.Answer == policy.PortUnknown {
		return nil
	}
	return &Port{Answer: string(p.Answer), Seconds: p.For.Seconds()}
}

func fromElection(e *policy.Election) *Election {
	if e == nil {
		return nil
	}
	p := e.Plan
	out := &Election{Plan: p.ID(), Cluster: ID(p.Cluster), Attempt: p.Attempt, Round: int(p.Round), Forced: p.Forced,
		Proposer: ID(p.Proposer), At: p.At, Step: string(e.Step)}
	for _, id := range p.Order {
		out.Order = append(out.Order, ID(id))
	}
	return out
}

// word is the node's etcd as decisions know it; the age counts from when the status
// was served.
func (s Status) word() policy.EtcdWord {
	w := policy.EtcdWord{
		Disk: s.HasData != nil && *s.HasData && s.Etcd.DataMember != 0 && s.Etcd.DataMember == s.Record.Member && s.Record.Instance == s.Instance,
	}
	if u := s.Etcd.Unit; u != nil {
		w.Active = u.Active == "active"
		w.Running = !policy.Unit{Load: u.Load, Active: u.Active, Sub: u.Sub}.Down()
	}
	p := s.Etcd.Pulse
	if p == nil || s.Etcd.Unit == nil {
		return w
	}
	w.Known = true
	w.Age = span(s.AgeSeconds + p.AgeSeconds)
	w.Pulse = policy.Pulse{
		Leader: known(policy.LeaderWord(p.Knows), policy.LeaderNone, policy.LeaderSome), LeaderID: policy.MemberID(p.Leader), Leads: p.Leads, Term: p.Term,
		Committed: p.Committed, Applied: p.Applied, Learner: p.Learner, Serves: p.Serves,
		NoSpace: slices.Contains(p.Alarms, AlarmNoSpace), Corrupt: slices.Contains(p.Alarms, AlarmCorrupt),
		Client: p.Client.policy(), PeerPort: p.Peer.policy(), Metrics: p.Metrics.policy(), Met: p.Met, Version: p.Version,
	}
	return w
}

func span(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func (p *Port) policy() policy.Port {
	if p == nil {
		return policy.Port{}
	}
	return policy.Port{Answer: known(policy.PortAnswer(p.Answer), policy.PortAnswers, policy.PortSilent, policy.PortCannotTell), For: span(p.Seconds)}
}

func (e *Election) policy() *policy.Election {
	if e == nil {
		return nil
	}
	out := &policy.Election{Step: known(policy.Step(e.Step), policy.StepAgreed, policy.StepActing, policy.StepStopped, policy.StepDone, policy.StepClosed), Plan: e.plan()}
	if out.Step == "" {
		return nil
	}
	return out
}

func (e *Election) plan() policy.Plan {
	p := policy.Plan{Cluster: policy.ClusterID(e.Cluster), Attempt: e.Attempt, Round: policy.Round(e.Round),
		Forced: e.Forced, Proposer: policy.MemberID(e.Proposer), At: e.At}
	for _, id := range e.Order {
		p.Order = append(p.Order, policy.MemberID(id))
	}
	return p
}

// known gives a word that this version knows, else nothing.
func known[T ~string](word T, words ...T) T {
	if slices.Contains(words, word) {
		return word
	}
	return ""
}

// checkElection refuses what no agent says of its etcd and of a plan. A word that
// this version does not know is no lie: it counts as nothing said.
func (s Status) checkElection() error {
	if p := s.Etcd.Pulse; p != nil {
		if !sane(p.AgeSeconds) {
			return fmt.Errorf("its pulse's age is %g s", p.AgeSeconds)
		}
		for _, port := range []*Port{p.Client, p.Peer, p.Metrics} {
			if port != nil && !sane(port.Seconds) {
				return fmt.Errorf("a port is %.20q for %g s", port.Answer, port.Seconds)
			}
		}
	}
	if e := s.Election; e != nil {
		plan := e.plan()
		if plan.ID() != e.Plan {
			return errors.New("its plan's id is not its content's")
		}
	}
	return nil
}

// sane reports whether a span is one: not negative, no NaN, and below 30 years.
func sane(seconds float64) bool { return seconds >= 0 && seconds < 1e9 }
