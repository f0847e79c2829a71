package policy

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The tests here are counter-examples: each is a sequence in which an earlier rule
// did harm.

// A process that just began does not know the last heartbeat of the one before. One
// heartbeat that fails then does not mean that hours have passed.
func TestFailedHeartbeatAfterRestart(t *testing.T) {
	v := told()
	v.Started = t0.Add(-3 * time.Second)
	v.Record.Leaving.Since = t0.Add(-2 * time.Hour)
	v.Health[3] = Fact[Health]{Value: v.Health[3].Value, At: t0.Add(-time.Hour), Err: "connection refused"}
	v.Receipts[HeartbeatKey("out")] = Receipt{Started: t0.Add(-2 * time.Second), Ended: t0.Add(-time.Second), Failures: 1, LastErr: "throttled"}
	_, d := Next(DefaultConfig(), State{}, v)
	if got := d.Verdicts[ConcernLeave].Reason; got != QuorumWouldBreak || d.Action != nil {
		t.Errorf("%s, %v: two of three voters are all that is left, and there is time", got, d.Action)
	}
}

// A voter that the deadline rule stopped, and for which there is time again, is
// started again: the cluster may need it.
func TestStoppedTooSoon(t *testing.T) {
	v := told()
	v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
	v.Members.Err = "no answer"
	v.Receipts[StopEtcd{}.Key()] = Receipt{Started: t0.Add(-time.Minute), Ended: t0.Add(-50 * time.Second), Succeeded: t0.Add(-50 * time.Second)}
	v.Receipts[HeartbeatKey("out")] = Receipt{Ended: t0, Succeeded: t0}
	_, d := Next(DefaultConfig(), State{}, v)
	if _, ok := d.Action.(StartEtcd); !ok {
		t.Errorf("%s, %v", d.Verdicts[ConcernLeave].Reason, d.Action)
	}
}

// A disk that takes no writes is a reason to go: the notice is acted on without
// its marker, and the hook kept open meanwhile.
func TestMarkerCannotBeWritten(t *testing.T) {
	v := told()
	v.Record.Leaving = nil
	st, d := Next(DefaultConfig(), State{}, v)
	if _, ok := d.Action.(WriteRecord); !ok || !hasDuty[Heartbeat](d) {
		t.Fatalf("at first: %v, duties %v", d.Action, d.Duties)
	}
	v.Receipts[WriteRecord{}.Key()] = Receipt{Ended: t0.Add(-time.Minute), Failures: unwritable, LastErr: errors.ErrUnsupported.Error()}
	_, d = Next(DefaultConfig(), st, v)
	if _, ok := d.Action.(TakeSlot); !ok || !hasDuty[Heartbeat](d) {
		t.Errorf("then: %s, %v, duties %v", d.Verdicts[ConcernLeave].Reason, d.Action, d.Duties)
	}
}

// A hook that was completed when the instance went to a warm pool is not this
// notice's hook.
func TestCompletedForAnEarlierNotice(t *testing.T) {
	v := told()
	before := v.Record.Leaving.Since.Add(-time.Hour)
	v.Receipts[CompleteKey("out")] = Receipt{Ended: before, Succeeded: before}
	_, d := Next(DefaultConfig(), State{}, v)
	if !hasDuty[Heartbeat](d) || d.Verdicts[ConcernLeave].Reason == Left {
		t.Errorf("%s, duties %v", d.Verdicts[ConcernLeave].Reason, d.Duties)
	}
}

// An instance that is launched into a warm pool waits for the launch hook, in the very state in
// which one that comes back waits for the terminating hook. With only the latter completed it
// would wait until the hook runs out, be replaced, and so on for ever.
func TestLaunchedIntoWarmPool(t *testing.T) {
	v := told()
	v.Lifecycle.Value = TargetWarmedStopped
	v.Record = Record{Instance: "i-1", Leaving: v.Record.Leaving}
	v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
	v.Data = Observed(Data{Empty: true}, t0)
	v.Members, v.Health, v.Lock = Fact[MemberList]{}, nil, Fact[Lock]{}
	v.Group.Value.Instances[0].State = StateWarmedPendingWait
	v.Group.Value.Hooks = []Hook{{Name: "in", Transition: Launching, Timeout: time.Minute, Global: time.Hour},
		{Name: "out", Transition: Terminating, Timeout: time.Minute, Global: time.Hour}}
	step := func(want Action, reason Reason) {
		t.Helper()
		_, d := Next(DefaultConfig(), State{}, v)
		if got := d.Verdicts[ConcernLeave].Reason; d.Action != want || got != reason {
			t.Fatalf("%s, %v; want %s, %v", got, d.Action, reason, want)
		}
	}
	done := func(hook string, at time.Time) {
		v.Receipts[CompleteKey(hook)] = Receipt{Started: at, Ended: at, Succeeded: at}
	}
	step(CompleteHook{Hook: "out", Result: Continue}, NothingToLeave)
	done("out", t0)
	step(nil, Left) // the group was read before: it cannot tell whether that was all
	done("out", t0.Add(-time.Second))
	step(CompleteHook{Hook: "in", Result: Continue}, NothingToLeave)
	done("in", t0)
	step(nil, Left)
}

// An instance that comes out of a warm pool of running instances meets its launch hook a
// second time, in the same process.
func TestLaunchHookAfterWarmPool(t *testing.T) {
	v := told()
	v.Lifecycle.Value = TargetInService
	v.Group.Value.Instances[0].State = StatePendingWait
	v.Group.Value.Hooks = []Hook{{Name: "in", Transition: Launching, Timeout: time.Minute, Global: time.Hour}}
	v.Receipts[CompleteKey("in")] = Receipt{Ended: t0.Add(-time.Hour), Succeeded: t0.Add(-time.Hour)}
	st, d := Next(DefaultConfig(), State{}, v)
	if got := d.Verdicts[ConcernLeave].Reason; got != LeaveRevoked {
		t.Fatalf("%s, %v", got, d.Action)
	}
	v.Record.Leaving = nil
	_, d = Next(DefaultConfig(), st, v)
	if want := (CompleteHook{Hook: "in", Result: Continue}); d.Action != want {
		t.Errorf("%s, %v; want %v", d.Verdicts[ConcernJoin].Reason, d.Action, want)
	}
}

// forming is what instance 1 of three sees before the first cluster, having
// promised the list and withdrawn it again because of one stale answer.
func forming() View {
	v := steady()
	v.Record = Record{Instance: "i-1"}
	v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
	v.Data = Observed(Data{Empty: true}, t0)
	v.Members, v.Lock, v.Health = Fact[MemberList]{}, Fact[Lock]{}, nil
	v.Group.Value.ClusterTag = ""
	want := &Promise{GroupARN: "arn"}
	for _, n := range []string{"1", "2", "3"} {
		want.Members = append(want.Members, PromisedMember{Instance: InstanceID("i-" + n), PeerURL: "https://" + n + ":2380"})
	}
	for _, n := range []string{"2", "3"} {
		id := InstanceID("i-" + n)
		v.Peers[id] = Observed(Peer{Instance: id, PeerURL: "https://" + n + ":2380", Promise: want}, t0)
	}
	mine := *want
	mine.Withdrawn = true
	v.Record.Promise = &mine
	return v
}

// Others that never saw the change stand by the list for ever: so must whoever
// withdrew it and finds the group as it was.
func TestWithdrawnInVain(t *testing.T) {
	_, d := Next(DefaultConfig(), State{}, forming())
	w, ok := d.Action.(WriteRecord)
	if !ok || w.Record.Promise.Withdrawn || w.Why != string(PromiseFirst) {
		t.Errorf("%s, %v", d.Verdicts[ConcernJoin].Reason, d.Action)
	}
}

// What others said before our own last word counts for nothing.
func TestAgreementIsYoungerThanOwnWord(t *testing.T) {
	v := forming()
	again := *v.Record.Promise
	again.Withdrawn = false
	v.Record.Promise = &again
	v.Receipts[WriteRecord{}.Key()] = Receipt{Ended: t0, Succeeded: t0}
	_, d := Next(DefaultConfig(), State{}, v)
	if got := d.Verdicts[ConcernJoin].Reason; got != AwaitAgreement {
		t.Errorf("with old words of others: %s", got)
	}
	for id, f := range v.Peers {
		f.At = t0.Add(time.Second)
		v.Peers[id] = f
	}
	v.Now = t0.Add(time.Second)
	if _, d = Next(DefaultConfig(), State{}, v); d.Verdicts[ConcernJoin].Reason != CommitFirst {
		t.Errorf("with young ones: %s", d.Verdicts[ConcernJoin].Reason)
	}
}

// A node that is told to go after its word for a first cluster was out: others may
// have committed themselves to it, and be no majority without this node's vote.
func TestToldToGoAfterItsPromise(t *testing.T) {
	v := forming()
	v.Lifecycle.Value = TargetTerminated
	v.Record.Leaving = &Leaving{Since: t0.Add(-time.Second), Target: "Terminated"}
	v.Group.Value.Desired = 1
	v.Group.Value.Instances[0].State = StateTerminatingWait
	v.Group.Value.Hooks = []Hook{{Name: "out", Transition: Terminating, Timeout: 2 * time.Minute, Global: time.Hour}}
	promise := *v.Record.Promise
	promise.Withdrawn = false
	v.Record.Promise = &promise
	step := func(want Reason) Action {
		t.Helper()
		_, d := Next(DefaultConfig(), State{}, v)
		if got := d.Verdicts[ConcernLeave].Reason; got != want {
			t.Fatalf("%s (%s), %v; want %s", got, d.Verdicts[ConcernLeave].Detail, d.Action, want)
		}
		return d.Action
	}
	others := func(with func(*Promise)) {
		for id, f := range v.Peers {
			theirs := *f.Value.Promise
			with(&theirs)
			f.Value.Promise = &theirs
			v.Peers[id] = f
		}
	}
	w := step(Withdraw).(WriteRecord)
	if !w.Record.Promise.Withdrawn || w.Record.Leaving == nil {
		t.Fatalf("it writes %+v", w.Record)
	}
	v.Record = w.Record
	step(AwaitWithdrawal) // the others stand by the list, and may act on it yet

	// All have withdrawn: nobody starts it any more.
	others(func(p *Promise) { p.Withdrawn = true })
	if a := step(NothingToLeave); a != (CompleteHook{Hook: "out", Result: Continue}) {
		t.Errorf("it does %v", a)
	}

	// Two had committed themselves before.
	others(func(p *Promise) { p.Committed = true })
	step(AwaitWithdrawal)
	v.Group.Value.ClusterTag = promise.ClusterID().String()
	w = step(CommitFirst).(WriteRecord)
	v.Record = w.Record
	if a, ok := step(StartFirst).(StartEtcd); !ok || !a.New || len(a.Initial) != 3 {
		t.Errorf("it starts %+v", a)
	}

	// No time is left to wait for anybody.
	v.Record.Promise, v.Record.Member, v.Record.Cluster = &promise, 0, 0
	v.Record.Leaving.Since = t0.Add(-2 * time.Hour)
	step(NothingToLeave)
}

// A first cluster that is being formed is nothing to start anew: the others count on
// this node's vote. What ran once and lost its data everywhere is.
func TestFreshWhileForming(t *testing.T) {
	v := forming()
	promise := *v.Record.Promise
	promise.Withdrawn, promise.Committed = false, true
	v.Record.Promise, v.Record.Member, v.Record.Cluster = &promise, promise.MemberID("i-1"), promise.ClusterID()
	v.Group.Value.ClusterTag = promise.ClusterID().String()
	v.Requests = []Request{{ID: "1", Kind: FreshStart}}
	ask := func(want Reason) {
		t.Helper()
		_, d := Next(DefaultConfig(), State{}, v)
		if got := d.Verdicts[ConcernRequest]; got.Reason != want {
			t.Errorf("%s (%s), want %s", got.Reason, got.Detail, want)
		}
	}
	ask(FreshRefused)
	v.Record.Ran = true
	ask(FreshAllowed)
	v.Record.Ran = false
	for id, f := range v.Peers {
		theirs := *f.Value.Promise
		theirs.Withdrawn = true
		f.Value.Promise = &theirs
		v.Peers[id] = f
	}
	ask(FreshAllowed)
}

// An address that was a member's may be another cluster's now: without the group's
// tag nobody joins what answers there.
func TestNoForeignClusterWithoutTag(t *testing.T) {
	v := steady()
	v.Data = Observed(Data{Empty: true}, t0)
	v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
	v.Record = Record{Instance: "i-1", Member: 77, Cluster: 8, Ran: true}
	v.Group = Fact[Group]{Err: "no answer"}
	_, d := Next(DefaultConfig(), State{}, v)
	if d.Action != nil || d.Verdicts[ConcernJoin].Reason != GroupUnknown {
		t.Errorf("%s, %v", d.Verdicts[ConcernJoin].Reason, d.Action)
	}
}

// A start that succeeded and did not hold is not repeated at every pass.
func TestStartIsNotRepeatedAtOnce(t *testing.T) {
	v := steady()
	v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
	v.Receipts[StartEtcd{}.Key()] = Receipt{Ended: t0.Add(-time.Second), Succeeded: t0.Add(-time.Second)}
	_, d := Next(DefaultConfig(), State{}, v)
	if d.Action != nil || d.Verdicts[ConcernJoin].Reason != BackedOff {
		t.Errorf("%s, %v", d.Verdicts[ConcernJoin].Reason, d.Action)
	}
}

// A cluster that may live in two groups does not end with one of them.
func TestGroupEndsOnlyWithItsCluster(t *testing.T) {
	for named, want := range map[bool]bool{false: true, true: false} {
		v := told()
		v.Group.Value.Desired = 0
		v.Group.Value.Instances = v.Group.Value.Instances[:2] // i-3 is of another group
		cfg := DefaultConfig()
		cfg.ClusterNamed = named
		_, d := Next(cfg, State{}, v)
		if got := d.Verdicts[ConcernLeave].Reason == GroupEnds; got != want {
			t.Errorf("cluster named %t: %s", named, d.Verdicts[ConcernLeave].Reason)
		}
	}
}

func hasDuty[D Duty](d Decision) bool {
	for _, one := range d.Duties {
		if _, ok := one.(D); ok {
			return true
		}
	}
	return false
}

// Between the two halves of a restart systemd's unit is inactive, and starts by itself. To
// start it then would be a second start, and a second round of an election may follow.
func TestStartedOnce(t *testing.T) {
	for _, tt := range []struct {
		unit   Unit
		action Action
		reason Reason
	}{
		{Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, StartEtcd{}, StartMember},
		{Unit{Load: "loaded", Active: "failed", Sub: "failed"}, StartEtcd{}, StartMember},
		{Unit{Load: "loaded", Active: "inactive", Sub: "dead", Job: true}, nil, Starting},
		{Unit{Load: "loaded", Active: "failed", Sub: "failed", Job: true}, nil, Starting},
		{Unit{Load: "loaded", Active: "failed", Sub: "failed-before-auto-restart"}, nil, Voting},
		{Unit{Load: "loaded", Active: "activating", Sub: "auto-restart-queued", Job: true}, nil, Voting},
	} {
		v := steady()
		v.Unit = Observed(tt.unit, t0)
		_, d := Next(DefaultConfig(), State{}, v)
		if start, ok := d.Action.(StartEtcd); ok {
			start.Initial = nil
			d.Action = start
		}
		if got := d.Verdicts[ConcernJoin].Reason; got != tt.reason || !cmp.Equal(d.Action, tt.action) {
			t.Errorf("%+v: %s, %v; want %s, %v", tt.unit, got, d.Action, tt.reason, tt.action)
		}
	}
}
