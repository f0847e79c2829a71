package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var t0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// steady is what the agent of instance 1 of three sees when all is well: its
// member leads, everybody serves.
func steady() View {
	v := View{
		Now: t0, Started: t0.Add(-time.Hour),
		Self:      Self{Instance: "i-1", Boot: "b", PeerURL: "https://1:2380", ClientURL: "https://1:2379"},
		Lifecycle: Observed(TargetInService, t0),
		Spot:      Observed(Notice{}, t0),
		Unit:      Observed(Unit{Load: "loaded", Active: "active", Sub: "running"}, t0),
		Data:      Observed(Data{Member: 1, Cluster: 9}, t0),
		Lock:      Observed(Lock{Slots: 1}, t0),
		Health:    map[MemberID]Fact[Health]{},
		Peers:     map[InstanceID]Fact[Peer]{},
		Receipts:  map[string]Receipt{},
		Record:    Record{Instance: "i-1", Member: 1, Cluster: 9, Ran: true},
	}
	g := Group{Name: "g", ARN: "arn", Desired: 3, ClusterTag: ClusterID(9).String(), Hooks: []Hook{
		{Name: "in", Transition: Launching, Timeout: time.Hour, Global: 48 * time.Hour},
		{Name: "out", Transition: Terminating, Timeout: time.Hour, Global: 48 * time.Hour},
	}}
	l := MemberList{Cluster: 9, Via: 2}
	for n := 1; n <= 3; n++ {
		id := InstanceID(fmt.Sprintf("i-%d", n))
		g.Instances = append(g.Instances, GroupInstance{ID: id, State: StateInService})
		l.Members = append(l.Members, Member{ID: MemberID(n), Name: string(id),
			PeerURLs: []string{fmt.Sprintf("https://%d:2380", n)}, ClientURLs: []string{fmt.Sprintf("https://%d:2379", n)}})
		v.Health[MemberID(n)] = Observed(Health{Cluster: 9, Member: MemberID(n), Leader: 1, Serves: true, Committed: 100, Applied: 100, Version: "3.6.16"}, t0)
		if n > 1 {
			v.Peers[id] = Observed(Peer{Instance: id, PeerURL: l.Members[n-1].PeerURLs[0], HasData: true, Member: MemberID(n), Cluster: 9}, t0)
		}
	}
	v.Group, v.Members = Observed(g, t0), Observed(l, t0)
	return v
}

// told is steady for a node that was told to go a minute and more ago, in a group
// that wants one node less.
func told() View {
	v := steady()
	v.Lifecycle.Value = TargetTerminated
	v.Record.Leaving = &Leaving{Since: t0.Add(-2 * time.Minute), Target: "Terminated", Voters: 3}
	v.Group.Value.Desired = 2
	v.Group.Value.Instances[0].State = StateTerminatingWait
	return v
}

func hold(p HoldPhase) []Hold {
	return []Hold{{Instance: "i-1", Member: 1, Cluster: 9, Reason: HoldLeaving, Phase: p, Revision: 7}}
}

type outcome struct {
	Action                Action
	Leave, Steward, Joins Reason
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name string
		view View
		with func(*View)
		want outcome
	}{
		{"all well", steady(), nil, outcome{nil, NotLeaving, AllWell, Voting}},
		{"leave: the lock first", told(), nil, outcome{TakeSlot{Take: Take{Reason: HoldLeaving, Phase: Granted, Member: 1, Cluster: 9}}, TakeLock, AllWell, Voting}},
		{"leave: another holds it", told(), func(v *View) {
			v.Lock.Value.Holders = []Hold{{Instance: "i-2", Member: 2, Cluster: 9, Reason: HoldLeaving, Phase: Acting}}
		}, outcome{nil, AwaitLock, AllWell, Voting}},
		{"leave: lock unknown", told(), func(v *View) { v.Lock = Fact[Lock]{} }, outcome{nil, LockUnknown, AllWell, Voting}},
		{"leave: another voter is down", told(), func(v *View) { v.Health[2] = Fact[Health]{Err: "refused"} },
			outcome{nil, QuorumWouldBreak, Unproven, Voting}},
		{"leave: granted becomes acting", told(), func(v *View) { v.Lock.Value.Holders = hold(Granted) },
			outcome{MarkActing{Revision: 7}, BeginLeaving, AllWell, Voting}},
		{"leave: granted is given back", told(), func(v *View) {
			v.Lock.Value.Holders = hold(Granted)
			v.Health[2] = Fact[Health]{Err: "refused"}
		}, outcome{ReleaseHold{Instance: "i-1", Revision: 7}, GiveBackLock, Unproven, Voting}},
		{"leave: leadership first", told(), func(v *View) { v.Lock.Value.Holders = hold(Acting) },
			outcome{MoveLeader{To: 2}, HandOver, AllWell, Voting}},
		{"leave: own health unknown", told(), func(v *View) { delete(v.Health, 1) },
			outcome{nil, HealthUnknown, NotSteward, MemberUnhealthy}},
		{"leave: no time left", told(), func(v *View) {
			v.Record.Leaving.Since = t0.Add(-time.Hour + 20*time.Second)
			v.Started = t0.Add(-2 * time.Hour)
			v.Lock = Fact[Lock]{}
		}, outcome{RemoveMember{Member: 1, Instance: "i-1", Why: "leaving"}, DeadlineRemoveSelf, AllWell, Voting}},
		{"leave: taken back by metadata alone", told(), func(v *View) {
			v.Lifecycle.Value = TargetInService
			v.Group = Fact[Group]{Value: v.Group.Value, At: t0.Add(-time.Hour), Err: "away"}
			v.Group.Value.Instances[0].State = StateInService
		}, outcome{nil, LeaveDoubted, GroupUnknown, Voting}},
		{"join: in service once it votes", steady(), func(v *View) { v.Group.Value.Instances[0].State = StatePendingWait },
			outcome{CompleteHook{Hook: "in", Result: Continue}, NotLeaving, AllWell, CompleteLaunch}},
		{"steward: reap only what EC2 proves", steady(), func(v *View) {
			v.Health[3] = Fact[Health]{Err: "refused"}
			v.Instances = Observed(map[InstanceID]Instance{"i-3": {State: InstanceTerminated}}, t0)
		}, outcome{RemoveMember{Member: 3, Instance: "i-3", Why: "instance terminated"}, NotLeaving, Reap, Voting}},
		{"steward: EC2 calls it terminated, and it serves", steady(), func(v *View) {
			v.Instances = Observed(map[InstanceID]Instance{"i-3": {State: InstanceTerminated}}, t0)
		}, outcome{nil, NotLeaving, TerminatedServes, Voting}},
		{"steward: another cluster's tag", steady(), func(v *View) { v.Group.Value.ClusterTag = ClusterID(8).String() },
			outcome{nil, NotLeaving, TagConflict, Voting}},
		{"join: another cluster's tag", steady(), func(v *View) {
			v.Group.Value.ClusterTag = ClusterID(8).String()
			v.Record, v.Data = Record{Instance: "i-1"}, Observed(Data{Empty: true}, t0)
			v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
			v.Members.Value.Members = v.Members.Value.Members[1:]
		}, outcome{nil, NotLeaving, NotSteward, TagConflict}},
		{"steward: the tag", steady(), func(v *View) { v.Group.Value.ClusterTag = "" },
			outcome{WriteTag{Cluster: 9}, NotLeaving, RestoreTag, Voting}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := c.view
			if c.with != nil {
				c.with(&v)
			}
			_, d := Next(DefaultConfig(), State{}, v)
			got := outcome{d.Action, d.Verdicts[ConcernLeave].Reason, d.Verdicts[ConcernSteward].Reason, d.Verdicts[ConcernJoin].Reason}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestCrashLoopLeaves: a leaver whose member serves now and then waits for no lock
// once it was down for long enough in all, and not while it is up; a member that
// recovered for good begins anew.
func TestCrashLoopLeaves(t *testing.T) {
	var st State
	at := func(s int, serves bool) Reason {
		v := told()
		v.Now = t0.Add(time.Duration(s) * time.Second)
		v.Lock.Value.Holders = []Hold{{Instance: "i-2", Member: 2, Cluster: 9, Reason: HoldLeaving, Phase: Acting}}
		v.Members.At, v.Lock.At, v.Group.At, v.Lifecycle.At = v.Now, v.Now, v.Now, v.Now
		for id, h := range v.Health {
			h.At = v.Now
			v.Health[id] = h
		}
		if !serves {
			v.Health[1] = Fact[Health]{Err: "refused"}
		}
		next, d := Next(DefaultConfig(), st, v)
		st = next
		return d.Verdicts[ConcernLeave].Reason
	}
	var got []Reason
	for s := 0; s < 40; s += 4 { // 4 s down, 4 s up
		got = append(got, at(s, s%8 != 0))
	}
	got = append(got, at(40, true), at(53, true), at(54, false))
	want := []Reason{
		MemberUnhealthy, AwaitLock, MemberUnhealthy, AwaitLock, MemberUnhealthy, AwaitLock, RemoveSelf, AwaitLock, RemoveSelf, AwaitLock,
		AwaitLock, AwaitLock, MemberUnhealthy,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestAtRest: at rest nothing is asked for that polls every 5 s do not give.
func TestAtRest(t *testing.T) {
	_, d := Next(DefaultConfig(), State{}, steady())
	for s := range NumSources {
		if e := d.Expires[s]; !e.IsZero() && e.Before(t0.Add(10*time.Second)) {
			t.Errorf("%s is wanted anew after %s", s, e.Sub(t0))
		}
	}
	if want := []Duty{WatchGroup{Every: time.Minute}}; cmp.Diff(want, d.Duties) != "" {
		t.Errorf("duties (-want +got)\n%s", cmp.Diff(want, d.Duties))
	}
}

func TestHookChoice(t *testing.T) {
	h := func(name string) Hook { return Hook{Name: name, Transition: Terminating} }
	for _, c := range []struct {
		configured string
		hooks      []Hook
		want       string
	}{
		{"", nil, ""},
		{"", []Hook{h("a")}, "a"},
		{"", []Hook{h("a"), h("b")}, ""},
		{"", []Hook{h("a"), h("quorumd-out")}, "quorumd-out"},
		{"", []Hook{h("quorumd-1"), h("quorumd-2")}, ""},
		{"b", []Hook{h("a"), h("b")}, "b"},
		{"c", []Hook{h("a")}, ""},
		{"", []Hook{{Name: "in", Transition: Launching}}, ""},
	} {
		v := View{Group: Observed(Group{Hooks: c.hooks}, t0)}
		p := &pass{cfg: Config{TerminateHook: c.configured}, v: &v}
		got, ok := p.hook(Terminating)
		if got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%q of %v: %q, %t, want %q", c.configured, c.hooks, got.Name, ok, c.want)
		}
	}
}

// TestPromiseHash: the hash is on disks and in tags, so it must never change.
func TestPromiseHash(t *testing.T) {
	p := Promise{GroupARN: "arn:g", Members: []PromisedMember{{"i-1", "https://1:2380"}, {"i-2", "https://2:2380"}}}
	q := p
	q.Withdrawn, q.Committed = true, true
	if p.Hash() != q.Hash() {
		t.Error("the phase changes the hash")
	}
	if got, want := p.Hash(), "d5341c96b189128f0f9fc792acb922cb"; got != want {
		t.Errorf("Hash() = %q, want %q", got, want)
	}
	q.GroupARN = "arn:h"
	if p.Hash() == q.Hash() || p.ClusterID() == q.ClusterID() {
		t.Error("two groups promise the same cluster")
	}
}

func BenchmarkNext(b *testing.B) {
	v, cfg := steady(), DefaultConfig()
	b.ReportAllocs()
	for b.Loop() {
		Next(cfg, State{}, v)
	}
}
