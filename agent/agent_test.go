package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

// world is a cluster of three voters (a, b, c) of which this node is a, in a group
// that tells it to go when the test says so.
type world struct {
	mu         sync.Mutex
	target     policy.Target
	metaErr    error
	state      policy.LifecycleState
	desired    int
	list       policy.MemberList
	leader     policy.MemberID
	lock       policy.Lock
	unit       policy.Unit
	report     func(policy.Unit, error)
	record     policy.Record
	data       policy.Data
	did        []string
	fail       map[string]error // the next call of that name fails so
	block      map[string]chan struct{}
	beats      []time.Time
	groupErr   error
	asked      int // how often the group was read
	complete   string
	completeAt time.Time
	status     []string
	more       func(*Parts) // adds parts
}

const selfURL = "http://10.0.0.1"

func newWorld() *world {
	member := func(id policy.MemberID, name, host string) policy.Member {
		return policy.Member{ID: id, Name: name, PeerURLs: []string{"http://" + host + ":2380"}, ClientURLs: []string{"http://" + host + ":2379"}}
	}
	return &world{
		target: policy.TargetInService, state: policy.StateInService, desired: 3, leader: 1,
		list: policy.MemberList{Cluster: 77, Via: 2, Members: []policy.Member{
			member(1, "i-a", "10.0.0.1"), member(2, "i-b", "10.0.0.2"), member(3, "i-c", "10.0.0.3")}},
		lock:   policy.Lock{Slots: 1},
		unit:   policy.Unit{Load: "loaded", Active: "active", Sub: "running", MainPID: 7},
		record: policy.Record{Instance: "i-a", Member: 1, Cluster: 77, Ran: true},
		data:   policy.Data{Member: 1, Cluster: 77},
		fail:   map[string]error{}, block: map[string]chan struct{}{},
	}
}

// latency is what every call takes: observations and actions that take no time
// could not be told apart by their time.
const latency = time.Millisecond

// note records a call, and gives the error that the test ordered for it.
func (w *world) note(name string) error {
	time.Sleep(latency)
	w.mu.Lock()
	w.did = append(w.did, name)
	err, block := w.fail[name], w.block[name]
	delete(w.fail, name)
	w.mu.Unlock()
	if block != nil {
		<-block
	}
	return err
}

func (w *world) actions() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.did)
}

func (w *world) set(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

func (w *world) Target(context.Context) (policy.Target, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.target, w.metaErr
}
func (w *world) Spot(context.Context) (policy.Notice, error) { return policy.Notice{}, nil }
func (w *world) Group(context.Context) (policy.Group, error) {
	time.Sleep(latency)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.groupErr != nil {
		return policy.Group{}, w.groupErr
	}
	return policy.Group{Name: "g", ARN: "arn:g", Desired: w.desired, ClusterTag: "4d",
		Hooks: []policy.Hook{{Name: "bye", Transition: policy.Terminating, Timeout: time.Minute, Global: 100 * time.Minute}},
		Instances: []policy.GroupInstance{{ID: "i-a", State: w.state},
			{ID: "i-b", State: policy.StateInService}, {ID: "i-c", State: policy.StateInService}}}, nil
}
func (w *world) Instances(_ context.Context, ids []policy.InstanceID) (map[policy.InstanceID]policy.Instance, error) {
	out := map[policy.InstanceID]policy.Instance{}
	for _, id := range ids {
		out[id] = policy.Instance{State: policy.InstanceRunning}
	}
	return out, nil
}
func (w *world) Heartbeat(context.Context, string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beats = append(w.beats, time.Now())
	return nil
}
func (w *world) Complete(_ context.Context, hook string, r policy.HookResult) error {
	w.set(func() { w.complete, w.completeAt = hook+" "+string(r), time.Now() })
	return w.note("complete-hook")
}
func (w *world) WriteTag(context.Context, string) error  { return w.note("write-tag") }
func (w *world) DeleteTag(context.Context, string) error { return w.note("delete-tag") }
func (w *world) SetEndpoints([]string)                   {}
func (w *world) Members(context.Context) (policy.MemberList, error) {
	time.Sleep(latency)
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.list
	l.Members = slices.Clone(l.Members)
	return l, nil
}
func (w *world) Probe(_ context.Context, url string) (policy.Health, error) {
	time.Sleep(latency)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.list.Members {
		if m.ClientURLs[0] == url {
			return policy.Health{Cluster: 77, Member: m.ID, Leader: w.leader, Term: 2, Committed: 9, Applied: 9, Serves: true}, nil
		}
	}
	return policy.Health{}, errors.New("connection refused")
}
func (w *world) AddLearner(context.Context, policy.InstanceID, string) (policy.MemberID, error) {
	return 9, w.note("add-learner")
}
func (w *world) Promote(context.Context, policy.MemberID) error { return w.note("promote") }
func (w *world) Remove(_ context.Context, id policy.MemberID, _ policy.InstanceID, _ bool) error {
	w.set(func() {
		w.list.Members = slices.DeleteFunc(w.list.Members, func(m policy.Member) bool { return m.ID == id })
	})
	return w.note("remove-member")
}
func (w *world) MoveLeader(_ context.Context, to policy.MemberID) error {
	w.set(func() { w.leader = to })
	return w.note("move-leader")
}
func (w *world) Version(context.Context) (string, error) { return "3.6.16", nil }
func (w *world) ClusterVersion(context.Context, []string) (string, error) {
	return "3.6.0", nil
}
func (w *world) Lock(context.Context) (policy.Lock, error) {
	time.Sleep(latency)
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lock
	l.Holders = slices.Clone(l.Holders)
	return l, nil
}
func (w *world) TakeSlot(_ context.Context, t policy.Take) error {
	w.set(func() {
		w.lock.Turn = 5
		w.lock.Holders = []policy.Hold{{Instance: "i-a", Boot: "b1", Member: t.Member, Cluster: t.Cluster, Reason: t.Reason, Phase: t.Phase, Client: t.Client, Revision: 5}}
	})
	return w.note("take-slot")
}
func (w *world) MarkActing(context.Context, int64) error {
	w.set(func() { w.lock.Holders[0].Phase, w.lock.Holders[0].Revision = policy.Acting, 6 })
	return w.note("mark-acting")
}
func (w *world) ReleaseHold(context.Context, int, int64) error {
	w.set(func() { w.lock.Holders = nil })
	return w.note("release-hold")
}
func (w *world) Seen() policy.Lock {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lock
	l.Holders = slices.Clone(l.Holders)
	return l
}
func (w *world) KeepQueued(ctx context.Context, _ policy.KeepQueued, _ func()) error {
	<-ctx.Done()
	return ctx.Err()
}
func (w *world) watchUnit(ctx context.Context, report func(policy.Unit, error)) error {
	w.mu.Lock()
	w.report = report
	u := w.unit
	w.mu.Unlock()
	report(u, nil)
	<-ctx.Done()
	return ctx.Err()
}

// unitStates is the world's unit: its Watch is another than the cluster's.
type unitStates struct{ w *world }

func (u unitStates) Watch(ctx context.Context, report func(policy.Unit, error)) error {
	return u.w.watchUnit(ctx, report)
}
func (u unitStates) State(context.Context) (policy.Unit, error) {
	time.Sleep(latency)
	u.w.mu.Lock()
	defer u.w.mu.Unlock()
	return u.w.unit, nil
}
func (w *world) Watch(ctx context.Context, _ func()) error     { <-ctx.Done(); return ctx.Err() }
func (w *world) Start(context.Context, policy.StartEtcd) error { return w.note("start-etcd") }
func (w *world) Stop(context.Context) error {
	err := w.note("stop-etcd")
	w.mu.Lock()
	w.unit = policy.Unit{Load: "loaded", Active: "inactive", Sub: "dead"}
	u, report := w.unit, w.report
	w.mu.Unlock()
	report(u, nil)
	return err
}
func (w *world) Data() (policy.Data, error) { w.mu.Lock(); defer w.mu.Unlock(); return w.data, nil }
func (w *world) Archive(string) (string, error) {
	return "/archive", w.note("archive-data")
}
func (w *world) Save(r policy.Record) error {
	was := w.record.Leaving
	w.set(func() { w.record = r })
	if r.Leaving != was {
		return w.note("write-record")
	}
	return nil
}
func (w *world) Peer(context.Context, string) (policy.Peer, error) {
	return policy.Peer{}, errors.New("no agent there")
}
func (w *world) Ready() error    { return nil }
func (w *world) Watchdog() error { return nil }
func (w *world) Status(s string) error {
	w.set(func() { w.status = append(w.status, s) })
	return nil
}

// run starts an agent in the world; the returned function stops it.
func (w *world) run(t *testing.T, log *slog.Logger) (*Agent, func()) {
	t.Helper()
	parts := Parts{Metadata: w, Group: w, Hooks: w, Tags: w, Finder: w, Members: w, Lock: w,
		States: unitStates{w}, Unit: w, Disk: w, Peers: w, Version: w, Notify: w}
	if w.more != nil {
		w.more(&parts)
	}
	a := New(Options{
		Self:   policy.Self{Instance: "i-a", Boot: "b1", PeerURL: selfURL + ":2380", ClientURL: selfURL + ":2379"},
		Policy: policy.DefaultConfig(), Record: w.record, Log: log,
		ClientURL: func(h string) string { return "http://" + h + ":2379" },
	}, parts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return a, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func reasons(a *Agent) map[policy.Concern]policy.Reason {
	out := map[policy.Concern]policy.Reason{}
	for c, v := range a.Published().Decision.Verdicts {
		out[c] = v.Reason
	}
	return out
}

func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a, stop := w.run(t, nil)
		defer stop()
		time.Sleep(time.Minute)
		want := map[policy.Concern]policy.Reason{policy.ConcernRequest: policy.Idle, policy.ConcernReboot: policy.RebootNotWanted, policy.ConcernElection: policy.LeaderKnown, policy.ConcernLeave: policy.NotLeaving,
			policy.ConcernSteward: policy.AllWell, policy.ConcernJoin: policy.Voting}
		if d := cmp.Diff(want, reasons(a)); d != "" {
			t.Errorf("reasons at rest (-want +got):\n%s", d)
		}
		if got := w.actions(); len(got) != 0 {
			t.Errorf("actions at rest: %v", got)
		}
	})
}

// TestLeave: the whole way out, in order, each step once, and quickly.
func TestLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a, stop := w.run(t, nil)
		defer stop()
		time.Sleep(time.Minute)
		w.set(func() { w.target, w.state, w.desired = policy.TargetTerminated, policy.StateTerminatingWait, 2 })
		began := time.Now()
		time.Sleep(time.Minute)
		took := w.completeAt.Sub(began)
		want := []string{"write-record", "take-slot", "mark-acting", "move-leader", "remove-member", "stop-etcd", "release-hold", "complete-hook"}
		if d := cmp.Diff(want, w.actions()); d != "" {
			t.Errorf("actions (-want +got):\n%s", d)
		}
		if w.complete != "bye CONTINUE" {
			t.Errorf("completed %q", w.complete)
		}
		// One poll of the metadata, and at most one slow poll of etcd; no step of
		// ours may wait for a timer.
		if took > 1500*time.Millisecond {
			t.Errorf("notice to completed hook took %v", took)
		}
		if got := reasons(a)[policy.ConcernLeave]; got != policy.Left {
			t.Errorf("reason at the end: %s", got)
		}
	})
}

// TestHeartbeats: the hook is kept open at a third of its timeout while the node
// waits, here for a lock that another holds.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.lock.Holders = []policy.Hold{{Instance: "i-b", Member: 2, Cluster: 77, Reason: policy.HoldLeaving, Phase: policy.Acting, Revision: 4}}
		w.target, w.state, w.desired = policy.TargetTerminated, policy.StateTerminatingWait, 2
		a, stop := w.run(t, nil)
		defer stop()
		time.Sleep(5*time.Minute + time.Second)
		w.mu.Lock()
		n := len(w.beats)
		w.mu.Unlock()
		if n < 15 || n > 17 {
			t.Errorf("%d heartbeats in 5 minutes of a 1 minute timeout", n)
		}
		if got := reasons(a)[policy.ConcernLeave]; got != policy.AwaitLock {
			t.Errorf("reason %s, want AwaitLock", got)
		}
	})
}

// TestFailure: a failed action is tried again after a pause, and said.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.fail["take-slot"] = errors.New("etcdserver: request timed out")
		var log logLines
		_, stop := w.run(t, slog.New(slog.NewTextHandler(&log, nil)))
		defer stop()
		w.set(func() { w.target, w.state, w.desired = policy.TargetTerminated, policy.StateTerminatingWait, 2 })
		time.Sleep(time.Minute)
		// The slot was taken although the answer was an error: it is found, not taken twice.
		if n := count(w.actions(), "take-slot"); n != 1 {
			t.Errorf("take-slot was done %d times", n)
		}
		if w.complete == "" {
			t.Error("the hook was not completed")
		}
		if n := log.count("action failed"); n != 1 {
			t.Errorf("the failure was logged %d times", n)
		}
	})
}

// TestSaidOnce: a source that does not answer is one line, not one a poll.
func TestSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var log logLines
		a, stop := w.run(t, slog.New(slog.NewTextHandler(&log, nil)))
		defer stop()
		time.Sleep(10 * time.Second)
		w.set(func() { w.metaErr = errors.New("no route to host") })
		time.Sleep(2 * time.Minute)
		if n := log.count("fact=target"); n != 1 {
			t.Errorf("%d lines for an outage, want 1", n)
		}
		if got := reasons(a)[policy.ConcernLeave]; got != policy.LifecycleUnknown {
			t.Errorf("reason %s", got)
		}
		if got := reasons(a)[policy.ConcernJoin]; got != policy.Voting {
			t.Errorf("a voter's own concern: %s", got)
		}
	})
}

// TestThrottledAWS: who is told to come back later comes back later.
func TestThrottledAWS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.target, w.groupErr = policy.TargetTerminated, errors.New("throttled")
		w.lock.Holders = []policy.Hold{{Instance: "i-b", Member: 2, Cluster: 77, Reason: policy.HoldLeaving, Phase: policy.Acting, Revision: 4}}
		a, stop := w.run(t, nil)
		defer stop()
		time.Sleep(2 * time.Minute)
		w.mu.Lock()
		asked := w.asked
		w.groupErr = nil
		w.mu.Unlock()
		if asked < 10 || asked > 18 {
			t.Errorf("the group was asked for %d times in 2 minutes of failures, want about one in 10 s", asked)
		}
		time.Sleep(awsPatience + 3*time.Second)
		if v := a.Published().View; !v.Group.Fresh(v.Now, 5*time.Second) {
			t.Errorf("the group is not read again: %+v", v.Group.Err)
		}
	})
}

// TestStopWaitsForAction: the loop does not end under an action.
func TestStopWaitsForAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		gate := make(chan struct{})
		w.block["remove-member"] = gate
		w.target, w.state, w.desired = policy.TargetTerminated, policy.StateTerminatingWait, 2
		a, stop := w.run(t, nil)
		time.Sleep(5 * time.Second)
		p := a.Published()
		if p.View.InFlight == nil || p.View.InFlight.Action.Kind() != "remove-member" {
			t.Fatalf("in flight: %+v", p.View.InFlight)
		}
		ended := make(chan struct{})
		go func() { stop(); close(ended) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Fatal("the loop ended under an action")
		default:
		}
		close(gate)
		<-ended
	})
}

// TestKick: whoever kicks gets an observation that began after the kick.
func TestKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began []time.Time
		o := newObserver("x", time.Hour, func(context.Context) {
			began = append(began, time.Now())
			time.Sleep(time.Second)
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { o.run(ctx); close(done) }()
		time.Sleep(500 * time.Millisecond)
		kicked := time.Now()
		o.now() // in the middle of a poll
		time.Sleep(5 * time.Second)
		cancel()
		<-done
		if len(began) != 2 || began[1].Before(kicked) {
			t.Errorf("polls began at %v, kicked at %v", began, kicked)
		}
	})
}

func count(all []string, one string) int {
	n := 0
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// logLines is a log to count lines in.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) count(sub string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, sub) {
			n++
		}
	}
	return n
}
