package policy

import (
	"testing"
	"time"
)

// inPlan is a view in the middle of a plan, begun by the agent that runs now unless cut.
func inPlan(round Round, step Step, cut bool, says ...evidence) View {
	v := stuckView(says...)
	v.Record.Election = &Election{Step: step, By: v.Started, Since: t0,
		Plan: Plan{Cluster: 9, Attempt: 1, Round: round, Proposer: 1, At: t0, Order: []MemberID{1, 2, 3}}}
	if cut {
		v.Record.Election.By = v.Started.Add(-time.Minute)
	}
	return v
}

// TestStoppedIsStartedAtOnce: an agent that finds etcd stopped for a plan that another
// process began starts it without any pause, for it may end again; also while the stop is
// still under way, and on a node that is told to go.
func TestStoppedIsStartedAtOnce(t *testing.T) {
	for _, step := range []Step{StepActing, StepStopped} {
		for _, active := range []string{"inactive", "failed", "deactivating"} {
			for _, going := range []bool{false, true} {
				v := inPlan(AllAtOnce, step, true, starting, starting, starting)
				v.Unit.Value.Active = active
				if going {
					v.Record.Leaving = &Leaving{Since: t0}
				}
				_, d := Next(DefaultConfig(), State{}, v)
				if _, ok := d.Action.(StartEtcd); !ok || d.Concern != ConcernElection {
					t.Errorf("%s, %s, going %t: %v does %v (%s), want etcd started", step, active, going, d.Concern, d.Action, d.Verdicts[ConcernElection].Reason)
				}
			}
		}
	}
	v := inPlan(AllAtOnce, StepStopped, true, leaderless, starting, starting)
	_, d := Next(DefaultConfig(), State{}, v)
	if w, ok := d.Action.(WriteRecord); !ok || w.Record.Election.Step != StepDone || !w.Record.Election.By.Equal(v.Started) {
		t.Errorf("once it runs: %+v, want its part in the plan written down as done", d.Action)
	}
}

// TestStopUnderWayAtTheEnd: a plan does not end here while etcd is about to be stopped for it.
func TestStopUnderWayAtTheEnd(t *testing.T) {
	v := inPlan(AllAtOnce, StepActing, false, silent, leaderless, leaderless)
	v.Unit.Value.Active = "deactivating"
	st := State{Vote: VoteState{Plan: v.Record.Election.Plan.ID(), Since: t0.Add(-time.Hour)}}
	if _, d := Next(DefaultConfig(), st, v); d.Concern != ConcernElection || d.Action == nil || d.Action.Kind() != (StartEtcd{}).Kind() {
		t.Errorf("%v does %v (%s), want etcd started", d.Concern, d.Action, d.Verdicts[ConcernElection].Reason)
	}
}

// TestBegunNeedsThePlanStill: what was begun is not gone through with once a majority no
// longer publishes the plan, although it says again that there is no leader.
func TestBegunNeedsThePlanStill(t *testing.T) {
	for _, round := range []Round{OneByOne, AllAtOnce} {
		for _, published := range []bool{false, true} {
			v := inPlan(round, StepActing, false, leaderless, leaderless, leaderless)
			id := v.Record.Election.Plan.ID()
			v.Receipts = map[string]Receipt{SaveSnapshot{Plan: id}.Key(): {Ended: t0, Succeeded: t0}}
			if published {
				f := v.Peers["i-2"]
				f.Value.Election = &Election{Plan: v.Record.Election.Plan, Step: StepAgreed}
				v.Peers["i-2"] = f
			}
			st, acted := State{}, false
			for s := range 50 {
				var d Decision
				if st, d = at(t0.Add(time.Duration(s)*time.Second), st, v); d.Concern == ConcernElection {
					acted = true
				}
			}
			if acted != published {
				t.Errorf("round %d, a majority publishes it %t: acted %t", round, published, acted)
			}
		}
	}
}

// TestFrozenNeedsAFencedHold: a hold that a release of unknown outcome may yet delete is
// marked again before the member is restarted under it.
func TestFrozenNeedsAFencedHold(t *testing.T) {
	h := Hold{Instance: "i-1", Member: 1, Cluster: 9, Reason: HoldRestarting, Phase: Acting, Boot: "boot", Revision: 7}
	for _, failures := range []int{0, 1} {
		v := stuckView(silent, serving, serving)
		v.Self.Boot = h.Boot
		v.Members.Err, v.Members.At, v.Members.Value.Via = "", t0, 2
		for id := MemberID(2); id <= 3; id++ {
			v.Health[id] = Observed(Health{Cluster: 9, Member: id, Serves: true, Leader: 2}, t0)
		}
		v.Lock = Observed(Lock{Slots: 1, Holders: []Hold{h}}, t0)
		v.Receipts = map[string]Receipt{}
		if failures > 0 {
			v.Receipts[h.release().Key()] = Receipt{Failures: failures, Ended: t0.Add(-time.Hour)}
		}
		_, d := Next(DefaultConfig(), State{Vote: VoteState{SilentSince: t0.Add(-time.Hour)}}, v)
		want := RestartEtcd{}.Kind()
		if failures > 0 {
			want = MarkActing{}.Kind()
		}
		if d.Concern != ConcernElection || d.Action.Kind() != want {
			t.Errorf("%d failed releases: %v does %v (%s), want %s", failures, d.Concern, d.Action, d.Verdicts[ConcernElection].Reason, want)
		}
	}
}

// TestLearnerMayVote: a learner of the last list may have been promoted since, and then more
// words are needed, unless its own agent says that it is still one.
func TestLearnerMayVote(t *testing.T) {
	v := stuckView(leaderless, leaderless, noWord)
	v.Members.Value.Members = append(v.Members.Value.Members, Member{ID: 4, Name: "i-4", Learner: true, PeerURLs: []string{"https://4:2380"}})
	if f := foundIn(v); f.Reason != Electing || f.hopeful {
		t.Errorf("nothing is heard of the learner: %s (%s), want %s", f.Reason, f.Detail, Electing)
	}
	w := sayings[leaderless]
	for _, learner := range []bool{false, true} {
		w.Learner = learner
		v.Peers["i-4"] = Observed(Peer{Instance: "i-4", HasData: true, Member: 4, Cluster: 9, Etcd: w}, t0)
		if f := foundIn(v); f.hopeful != learner {
			t.Errorf("it says that it is a learner, %t: %s (%s)", learner, f.Reason, f.Detail)
		}
	}
	v.Peers["i-4"] = Observed(Peer{Instance: "i-4", HasData: true, Member: 4, Cluster: 9, Etcd: w}, t0.Add(-2*evidenceAge))
	if f := foundIn(v); f.hopeful {
		t.Error("an old word of the learner's agent counts")
	}
}

// TestRestartsDoNotEndTheWait: what a member says while it is restarted for a plan does not
// make another agent wait anew before it joins that plan, if a majority publishes it, and
// nobody knows a leader.
func TestRestartsDoNotEndTheWait(t *testing.T) {
	plan := Plan{Cluster: 9, Attempt: 1, Round: OneByOne, Proposer: 2, At: t0, Order: []MemberID{3, 2, 1}}
	published := func(v View, by ...InstanceID) View {
		for _, id := range by {
			f := v.Peers[id]
			f.Value.Election = &Election{Plan: plan, Step: StepAgreed}
			v.Peers[id] = f
		}
		return v
	}
	for _, c := range []struct {
		name  string
		third evidence // what the one says that is restarted
		by    []InstanceID
		joins bool
	}{
		{"a majority restarts it", cannotTell, []InstanceID{"i-2", "i-3"}, true},
		{"and it starts", starting, []InstanceID{"i-2", "i-3"}, true},
		{"one publishes a plan", cannotTell, []InstanceID{"i-2"}, false},
		{"it knows a leader", led, []InstanceID{"i-2", "i-3"}, false},
		{"it commits", serving, []InstanceID{"i-2", "i-3"}, false},
	} {
		st := State{Vote: VoteState{StuckSince: t0.Add(time.Second - DefaultConfig().Force.After)}}
		st, d := at(t0, st, published(stuckView(leaderless, leaderless, c.third), c.by...))
		if d.Concern == ConcernElection {
			t.Errorf("%s: meanwhile it does %s", c.name, d.Action.Key())
		}
		_, d = at(t0.Add(2*time.Second), st, published(stuckView(leaderless, leaderless, leaderless), c.by...))
		if joins := d.Concern == ConcernElection && d.Verdicts[ConcernElection].Reason == JoinPlan; joins != c.joins {
			t.Errorf("%s: afterwards it says %s, want it to join the plan: %t", c.name, d.Verdicts[ConcernElection].Reason, c.joins)
		}
	}
}
