package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// leaderlessFleet is three agents whose etcds never elect a leader, whatever is restarted.
type leaderlessFleet struct {
	now      time.Time
	started  [3]time.Time
	dead     [3]bool
	stale    [3]bool // its list has a fourth voter, that was removed right before
	state    [3]State
	record   [3]Record
	receipts [3]map[string]Receipt
	acted    []string
}

func newLeaderlessFleet() *leaderlessFleet {
	f := &leaderlessFleet{now: t0}
	for i := range 3 {
		v := stuckView(leaderless, leaderless, leaderless)
		r := v.Record
		r.Instance, r.Member = InstanceID(fmt.Sprintf("i-%d", i+1)), MemberID(i+1)
		f.started[i], f.record[i], f.receipts[i] = v.Started, r, map[string]Receipt{}
	}
	return f
}

// view is what one agent sees now.
func (f *leaderlessFleet) view(i int) View {
	v := stuckView(leaderless, leaderless, leaderless)
	if f.stale[i] {
		v.Members.Value = stuckView(leaderless, leaderless, leaderless, noWord).Members.Value
	}
	pulse, data := v.Pulse.Value, v.Data.Value
	data.Member = f.record[i].Member
	v.Now, v.Started, v.Record, v.Receipts = f.now, f.started[i], f.record[i], f.receipts[i]
	v.Self.Instance = f.record[i].Instance
	v.Pulse, v.Data, v.Unit.At, v.Lifecycle.At = Observed(pulse, f.now), Observed(data, f.now), f.now, f.now
	v.Peers = map[InstanceID]Fact[Peer]{}
	for k, r := range f.record {
		switch {
		case k == i:
		case f.dead[k]:
			v.Peers[r.Instance] = Fact[Peer]{Err: "refused"}
		default:
			v.Peers[r.Instance] = Observed(Peer{Instance: r.Instance, HasData: true, Member: r.Member, Cluster: 9, Etcd: sayings[leaderless], Election: r.Election}, f.now)
		}
	}
	return v
}

// step lets every agent that lives decide and act once.
func (f *leaderlessFleet) step(t *testing.T) {
	t.Helper()
	for i := range 3 {
		if f.dead[i] {
			continue
		}
		var d Decision
		f.state[i], d = Next(DefaultConfig(), f.state[i], f.view(i))
		if d.Concern != ConcernElection || d.Action == nil {
			continue
		}
		switch act := d.Action.(type) {
		case WriteRecord:
			f.record[i] = act.Record
		case SaveSnapshot, RestartEtcd:
			f.receipts[i][act.Key()] = Receipt{}.After(f.now, f.now, nil)
			f.acted = append(f.acted, fmt.Sprintf("%s %T", f.record[i].Instance, act))
		case StopEtcd:
			t.Fatalf("etcd of %s is stopped in the first round", f.record[i].Instance)
		}
	}
	f.now = f.now.Add(250 * time.Millisecond)
}

// until steps until something holds, and says how long that took.
func (f *leaderlessFleet) until(t *testing.T, what string, within time.Duration, holds func() bool) time.Duration {
	t.Helper()
	began := f.now
	for !holds() {
		if f.step(t); f.now.Sub(began) > within {
			for _, r := range f.record {
				t.Logf("%s: %+v", r.Instance, r.Election)
			}
			t.Fatalf("%s: not within %s; done so far: %v", what, within, f.acted)
		}
	}
	return f.now.Sub(began)
}

// open is the plan that is open on an agent's disk, or nil.
func (f *leaderlessFleet) open(i int) *Election {
	if e := f.record[i].Election; e.Open() {
		return e
	}
	return nil
}

// TestKilledProposer: an agent that is killed as soon as its own plan is on disk leaves that
// plan behind while the others agree on one of theirs. However the two plans compare, nobody
// waits out a turn of 60 s for it when it is back, and nobody is restarted twice.
func TestKilledProposer(t *testing.T) {
	before := map[bool]bool{} // whether the plan left behind has the lesser id
	for n := range 40 {
		f := newLeaderlessFleet()
		f.now = f.now.Add(time.Duration(n) * time.Millisecond)
		f.until(t, "a proposal", 2*time.Minute, func() bool {
			if f.open(0) == nil {
				return false
			}
			// Nobody has seen it yet.
			f.dead[0], f.record[1].Election, f.record[2].Election = true, nil, nil
			return true
		})
		f.until(t, "the others to begin", time.Minute, func() bool {
			for i := 1; i < 3; i++ {
				if e := f.open(i); e != nil && e.Step == StepActing {
					return true
				}
			}
			return false
		})
		first, second := f.open(0).Plan, f.open(1).Plan
		before[first.ID() < second.ID()] = true
		f.dead[0], f.state[0], f.started[0] = false, State{}, f.now
		f.until(t, fmt.Sprintf("variant %d: the second round", n), turnTime/2, func() bool {
			for i := range 3 {
				if e := f.open(i); e != nil && e.Plan.Round == AllAtOnce {
					return true
				}
			}
			return false
		})
		seen := map[string]int{}
		for _, what := range f.acted {
			if seen[what]++; seen[what] > 1 {
				t.Errorf("variant %d: twice: %s", n, what)
			}
		}
	}
	if len(before) != 2 {
		t.Errorf("only one order of the two plans was tried: %v", before)
	}
}

// TestListsThatDiffer: a voter was removed right before the leader was lost, and not everybody
// has read the list since. They restart etcd in one plan all the same, and with fewer voices
// than a majority of the longer list they do not.
func TestListsThatDiffer(t *testing.T) {
	for _, stale := range [][3]bool{{true, true, false}, {true, false, true}, {false, true, true}, {true, false, false}, {false, false, true}} {
		f := newLeaderlessFleet()
		f.stale = stale
		f.until(t, fmt.Sprintf("stale %v: a restart of each", stale), 3*time.Minute, func() bool {
			n := 0
			for _, r := range f.receipts {
				for key := range r {
					if strings.HasPrefix(key, RestartEtcd{}.Kind()) {
						n++
					}
				}
			}
			return n == 3
		})
	}
	f := newLeaderlessFleet()
	f.stale, f.dead[2] = [3]bool{true, true, true}, true
	for range 4 * 120 {
		if f.step(t); len(f.acted) > 0 {
			t.Fatalf("two of four: %v", f.acted)
		}
	}
}
