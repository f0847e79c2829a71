package agent

import (
	"context"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// pulseEvery is how often this node's etcd is looked at while it does not serve.
const pulseEvery = time.Second

// pulses remembers how long each port of etcd has behaved as it does. Only the
// observer's goroutine uses it.
type pulses struct {
	pid   int
	met   bool
	since [3]time.Time
	was   [3]policy.PortAnswer
}

// observePulse looks at this node's own etcd. A member that serves was asked by the
// probe of its health a moment ago, which tells all there is to tell: its ports are
// looked at only when something is wrong, so that at rest this costs nothing.
func (a *Agent) observePulse(ctx context.Context) {
	v := a.board.snapshot()
	began := a.now()
	if !v.Unit.Known() || v.Unit.Value.Load == "not-found" {
		return
	}
	p, at := policy.Pulse{}, began
	if h := v.Local; h.Known() && h.Value.Serves && began.Sub(h.At) <= restEvery+probeTimeout {
		at = h.At
		p = ofHealth(h.Value)
	} else {
		ctx, cancel := context.WithTimeout(ctx, etcdTimeout)
		defer cancel()
		p = a.parts.Pulse.Pulse(ctx)
		if h.Known() && began.Sub(h.At) <= 2*pulseEvery {
			p.Serves = h.Value.Serves
		}
	}
	a.pulses.note(&p, v.Unit.Value.MainPID, began)
	put(a.board, "etcd's pulse", func(v *policy.View) *policy.Fact[policy.Pulse] { return &v.Pulse }, p, at, nil)
	if p.Serves {
		a.sources["pulse"].pace(restEvery)
	} else {
		a.sources["pulse"].pace(pulseEvery)
	}
}

// lookAtPulse has it observed at once.
func (a *Agent) lookAtPulse() {
	if o, ok := a.sources["pulse"]; ok {
		o.now()
	}
}

func serves(h policy.Fact[policy.Health]) bool { return h.Known() && h.Value.Serves }

// ofHealth is the pulse of a member that serves.
func ofHealth(h policy.Health) policy.Pulse {
	return policy.Pulse{Leader: policy.LeaderSome, LeaderID: h.Leader, Term: h.Term, Committed: h.Committed, Applied: h.Applied,
		Learner: h.Learner, NoSpace: h.NoSpace, Corrupt: h.Corrupt, Serves: true, Version: h.Version,
		Client: policy.Port{Answer: policy.PortAnswers}}
}

// note fills in what only the sequence of looks tells.
func (s *pulses) note(p *policy.Pulse, pid int, now time.Time) {
	if pid != s.pid {
		*s = pulses{pid: pid}
	}
	for i, port := range [...]*policy.Port{&p.Client, &p.PeerPort, &p.Metrics} {
		if s.since[i].IsZero() || s.was[i] != port.Answer {
			s.since[i], s.was[i] = now, port.Answer
		}
		port.For = now.Sub(s.since[i])
		s.met = s.met || port.Answer == policy.PortAnswers || port.Answer == policy.PortCannotTell
	}
	p.Met = s.met
}
