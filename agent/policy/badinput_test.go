package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is on the disk, or in the group, and should not be: a data directory of
// another cluster, instance or member is archived where the node may join anew, and
// left alone where nobody can tell; a taken name or address waits for its owner to go;
// a group with weights is refused. Never a start, and never a bootstrap.
func TestBadInput(t *testing.T) {
	stopped := func(v *View) { v.Unit.Value = Unit{Load: "loaded", Active: "inactive", Sub: "dead"} }
	other := func(v *View) { stopped(v); v.Members.Value.Via = 2 }
	empty := func(v *View) { // this node is new, the two others are a cluster
		stopped(v)
		v.Record, v.Data.Value = Record{Instance: "i-1"}, Data{Empty: true}
		v.Members.Value.Members = v.Members.Value.Members[1:]
		delete(v.Health, 1)
		v.EtcdVersion, v.ClusterVersion = Observed("3.6.16", v.Now), Observed("3.6.0", v.Now)
		v.Group.Value.Instances[0].State = StatePendingWait
	}
	for _, tt := range []struct {
		name   string
		with   func(*View)
		action Action
		reason Reason
		detail string // in it
	}{
		{"another cluster's data", func(v *View) { other(v); v.Data.Value.Cluster = 8 },
			ArchiveData{Why: "foreign-1"}, ForeignData, "foreign-1"},
		{"another member's data", func(v *View) { other(v); v.Data.Value.Member = 3 },
			ArchiveData{Why: "foreign-3"}, ForeignData, "foreign-3"},
		{"another member's data, and etcd runs on it", func(v *View) { v.Data.Value.Member = 3 },
			StopEtcd{}, StopForeign, "foreign-3"},
		{"another member's data, and no cluster answers", func(v *View) {
			other(v)
			v.Data.Value.Member = 3
			v.Members = Fact[MemberList]{Err: "refused"}
		}, nil, ForeignData, "no cluster answers that could tell whose it is"},
		{"another member's data on a node that is not wanted", func(v *View) {
			other(v)
			v.Data.Value.Member = 3
			v.Lifecycle.Value = "Standby"
		}, nil, ForeignData, "member 3 of cluster 9"},
		{"another instance's disk", func(v *View) { other(v); v.Record.Instance = "i-0" },
			ArchiveData{Why: "instance-i-0"}, ForeignRecord, "instance-i-0"},
		{"another instance's disk that cannot be read", func(v *View) {
			other(v)
			v.Record.Instance = "i-0"
			v.Data = Fact[Data]{Err: "input/output error"}
		}, nil, DataUnknown, "input/output error"},
		{"a removed member's data", func(v *View) { other(v); v.Members.Value.Members = v.Members.Value.Members[1:] },
			ArchiveData{Why: "removed-1"}, Removed, "removed-1"},
		{"this node's address under another name", func(v *View) {
			empty(v)
			v.Members.Value.Members[0].PeerURLs = []string{"https://1:2380"}
		}, nil, URLTaken, "https://1:2380 of member 2 (i-2)"},
		{"this node's name, and nothing on its disk", func(v *View) {
			stopped(v)
			v.Record, v.Data.Value = Record{Instance: "i-1"}, Data{Empty: true}
			v.Health[1] = Fact[Health]{Err: "refused"}
		}, RemoveMember{Member: 1, Instance: "i-1", Why: "data directory lost"}, WipedVoter, "1"},
		{"no room for data", func(v *View) { empty(v); v.Data.Value.NoRoom = "/d has 0 MB left" },
			nil, AwaitRoom, "/d has 0 MB left"},
		{"no room for data before the first cluster", func(v *View) {
			empty(v)
			v.Data.Value.NoRoom, v.Group.Value.ClusterTag = "/d has 0 MB left", ""
			v.Members, v.Health = Fact[MemberList]{Err: "refused"}, map[MemberID]Fact[Health]{}
			for id, f := range v.Peers {
				f.Value.HasData, f.Value.Member, f.Value.Cluster = false, 0, 0
				v.Peers[id] = f
			}
		}, nil, AwaitRoom, "/d has 0 MB left"},
		{"no room beside data that is in use", func(v *View) { v.Data.Value.NoRoom = "/d has 0 MB left" },
			nil, Voting, ""},
		{"weighted capacity", func(v *View) { empty(v); v.Group.Value.Weighted = true },
			nil, WeightedCapacity, "g"},
		{"weighted capacity before the first cluster", func(v *View) {
			empty(v)
			v.Group.Value.Weighted, v.Group.Value.ClusterTag = true, ""
			v.Members, v.Health = Fact[MemberList]{Err: "refused"}, map[MemberID]Fact[Health]{}
		}, nil, WeightedCapacity, "g"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := steady()
			tt.with(&v)
			_, d := Next(DefaultConfig(), State{}, v)
			ver := d.Verdicts[ConcernJoin]
			if d := cmp.Diff(tt.action, d.Action); d != "" {
				t.Errorf("action (-want +got):\n%s", d)
			}
			if ver.Reason != tt.reason || !strings.Contains(ver.Detail, tt.detail) {
				t.Errorf("reason %s %q, want %s with %q", ver.Reason, ver.Detail, tt.reason, tt.detail)
			}
		})
	}
}

// A group that counts with weights is refused for as long as it does, not for as long as
// its launch hook is open without heartbeats: else it would replace one instance after
// the other. And it is looked at again, so that nobody has to restart the agent.
func TestWeightedHoldsOn(t *testing.T) {
	v := steady()
	v.Record, v.Data.Value = Record{Instance: "i-1"}, Data{Empty: true}
	v.Unit.Value = Unit{Load: "loaded", Active: "inactive", Sub: "dead"}
	v.Members, v.Health = Fact[MemberList]{Err: "refused"}, map[MemberID]Fact[Health]{}
	v.Group.Value.Weighted, v.Group.Value.ClusterTag = true, ""
	v.Group.Value.Instances[0].State = StatePendingWait
	_, d := Next(DefaultConfig(), State{}, v)
	for _, want := range []Duty{Heartbeat{Hook: "in", Every: HeartbeatInterval(v.Group.Value.Hooks[0])}, WatchGroup{Every: 5 * time.Second}} {
		if !slices.Contains(d.Duties, want) {
			t.Errorf("no %+v among %+v", want, d.Duties)
		}
	}
}
