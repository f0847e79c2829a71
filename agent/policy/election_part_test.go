package policy

import (
	"testing"
	"time"
)

// TestMinority: the smaller side of a partition restarts nothing, neither of its own accord
// nor when an operator asks, however long it lasts; nor does anybody once it heals. The
// agents of the larger side are not heard, or are and have a leader.
func TestMinority(t *testing.T) {
	for name, c := range map[string]struct {
		apart, healed []evidence
		want          Reason
	}{
		"1|2":                    {[]evidence{leaderless, noWord, noWord}, []evidence{led, serving, serving}, PeersUnreachable},
		"1|2, agents hear":       {[]evidence{leaderless, serving, serving}, []evidence{led, serving, serving}, LeaderKnown},
		"2|3":                    {[]evidence{leaderless, leaderless, noWord, noWord, noWord}, []evidence{led, led, serving, serving, serving}, PeersUnreachable},
		"2|3, agents hear":       {[]evidence{leaderless, leaderless, serving, serving, serving}, []evidence{led, led, serving, serving, serving}, LeaderKnown},
		"2|3, agents hear one":   {[]evidence{leaderless, leaderless, serving, noWord, noWord}, []evidence{led, led, serving, serving, serving}, LeaderKnown},
		"2|3, one of two frozen": {[]evidence{leaderless, silent, noWord, noWord, noWord}, []evidence{led, silent, serving, serving, serving}, PeersUnreachable},
		"2|3, a former leader":   {[]evidence{led, leaderless, noWord, noWord, noWord}, []evidence{led, led, serving, serving, serving}, PeersUnreachable},
		"2|2 of four":            {[]evidence{leaderless, leaderless, noWord, noWord}, []evidence{led, led, serving, serving}, PeersUnreachable},
		"2|3, one cannot tell":   {[]evidence{leaderless, leaderless, cannotTell, noWord, noWord}, []evidence{led, led, serving, serving, serving}, ElectionCannotTell},
	} {
		t.Run(name, func(t *testing.T) {
			var st State
			now := t0
			// The other one of this side publishes a plan, as a wrong agent might.
			plan := Plan{Cluster: 9, Attempt: 1, Round: AllAtOnce, Forced: true, Proposer: 2, At: t0}
			for i := range c.apart {
				plan.Order = append(plan.Order, MemberID(i+1))
			}
			pass := func(says []evidence, asked bool) Decision {
				v := stuckView(says...)
				if f := v.Peers["i-2"]; f.Known() {
					f.Value.Election = &Election{Plan: plan, Step: StepActing}
					v.Peers["i-2"] = f
				}
				if asked {
					v.Requests = []Request{{ID: "1", Kind: ForceElection}}
				}
				var d Decision
				st, d = at(now, st, v)
				now = now.Add(time.Second)
				return d
			}
			for s := range 1800 {
				d := pass(c.apart, s%60 == 59)
				if got := d.Verdicts[ConcernElection].Reason; got != c.want {
					t.Fatalf("after %d s: %s, want %s", s, got, c.want)
				}
				switch act := d.Action.(type) {
				case AnswerRequest:
					if act.OK || act.Reason != c.want {
						t.Fatalf("after %d s the operator is told %+v", s, act)
					}
				case nil:
					if s%60 == 59 {
						t.Fatalf("after %d s the operator is not answered", s)
					}
				default:
					t.Fatalf("after %d s: %v does %s", s, d.Concern, act.Key())
				}
			}
			for s := range 600 {
				if d := pass(c.healed, false); d.Concern == ConcernElection {
					t.Fatalf("%d s after it healed: %s does %s", s, d.Verdicts[ConcernElection].Reason, d.Action.Key())
				}
			}
		})
	}
}
