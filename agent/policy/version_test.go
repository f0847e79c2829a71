package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]Version{
		"3.6.16": {3, 6, 16}, "v3.5.0": {3, 5, 0}, "v3.7.3-arm64": {3, 7, 3}, "3.6": {3, 6, 0}, "3.7.0-rc.1": {3, 7, 0}, "3.6.0+git": {3, 6, 0},
	} {
		if got, ok := ParseVersion(s); !ok || got != want {
			t.Errorf("%q: %v, %t", s, got, ok)
		}
	}
	for _, s := range []string{"", "latest", "3", "3.x", "3.6.16.1", "not_decided", "-3.6", "3.-6.1", "3.6.99999999999999999999"} {
		if got, ok := ParseVersion(s); ok {
			t.Errorf("%q is no version, but %v", s, got)
		}
	}
}

// dumbMisfit looks each pair up in the table that was tried by hand.
func dumbMisfit(v, cluster string) Reason {
	may := map[string]string{"3.4": "3.4 3.5", "3.5": "3.5 3.6", "3.6": "3.6 3.7", "3.7": "3.7 3.8", "3.8": "3.8", "4.0": "4.0"}
	switch {
	case strings.Contains(may[cluster], v):
		return ""
	case v < cluster:
		return VersionBehind
	}
	return VersionAhead
}

func TestMisfitTwin(t *testing.T) {
	lines := []string{"3.4", "3.5", "3.6", "3.7", "3.8", "4.0"}
	for _, line := range lines {
		for _, cluster := range lines {
			for _, patch := range []string{".0", ".35"} {
				v, _ := ParseVersion(line + patch)
				c, _ := ParseVersion(cluster + ".0")
				if got, want := Misfit(v, c), dumbMisfit(line, cluster); got != want {
					t.Errorf("%s into %s: %q, want %q", v, c, got, want)
				}
			}
		}
	}
}

// newNode is what the agent of a fourth instance sees that is to join steady's cluster.
func newNode(etcd string) View {
	v := steady()
	v.Self = Self{Instance: "i-4", Boot: "b", PeerURL: "https://4:2380", ClientURL: "https://4:2379"}
	v.Record = Record{Instance: "i-4"}
	v.Data = Observed(Data{Empty: true}, t0)
	v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
	v.Group.Value.Desired = 4
	v.Group.Value.Instances = append(v.Group.Value.Instances, GroupInstance{ID: "i-4", State: StatePendingWait})
	v.ClusterVersion = Observed("3.6.0", t0)
	v.EtcdVersion = Observed(etcd, t0)
	return v
}

// running has every voter run one version.
func running(v *View, version string) {
	for id, h := range v.Health {
		h.Value.Version = version
		v.Health[id] = h
	}
}

// learning makes newNode's node a learner, which its etcd runs or fails to run as.
func learning(v *View, sub string) {
	v.Record.Member, v.Record.Cluster = 4, 9
	v.Members.Value.Members = append(v.Members.Value.Members, Member{ID: 4, PeerURLs: []string{"https://4:2380"}, Learner: true})
	v.Members.Value.Joins = map[string]InstanceID{"https://4:2380": "i-4"}
	v.Unit.Value = Unit{Load: "loaded", Active: "activating", Sub: sub}
}

func TestJoinByVersion(t *testing.T) {
	add := AddLearner{Instance: "i-4", PeerURL: "https://4:2380"}
	out := func(r Reason) Action {
		return RemoveMember{Member: 4, Instance: "i-4", Learner: true, Why: string(r)}
	}
	failed := State{FailingSince: t0.Add(-2 * time.Minute), Learners: map[MemberID]Progress{4: {Since: t0.Add(-3 * time.Minute)}}}
	for _, c := range []struct {
		name   string
		etcd   string
		with   func(*View)
		state  State
		reason Reason
		action Action
	}{
		{"the same", "3.6.4", nil, State{}, JoinLearner, add},
		{"one ahead", "3.7.0", nil, State{}, JoinLearner, add},
		{"two ahead", "3.8.0", nil, State{}, VersionAhead, nil},
		{"behind", "3.5.35", nil, State{}, VersionBehind, nil},
		{"another major version", "4.0.0", nil, State{}, VersionAhead, nil},
		{"the cluster's cannot be read, but a voter has the same", "3.6.1", func(v *View) {
			v.ClusterVersion = Fact[string]{Err: "no answer"}
		}, State{}, JoinLearner, add},
		{"the cluster's cannot be read", "3.7.1", func(v *View) {
			v.ClusterVersion = Fact[string]{Err: "no answer"}
		}, State{}, VersionUnknown, nil},
		{"the cluster has not agreed yet", "3.7.1", func(v *View) { v.ClusterVersion.Value = "3.0.0" }, State{}, VersionUnknown, nil},
		{"a stale word of the cluster's", "3.7.1", func(v *View) { v.ClusterVersion.At = t0.Add(-time.Minute) }, State{}, VersionUnknown, nil},
		{"own not read yet", "", func(v *View) { v.EtcdVersion = Fact[string]{} }, State{}, VersionUnknown, nil},
		{"own cannot be told: goes on", "", func(v *View) { v.EtcdVersion = Fact[string]{Err: "a wrapper"} }, State{}, JoinLearner, add},
		{"own could be told once", "3.5.1", func(v *View) { v.EtcdVersion.Err = "the bus is away" }, State{}, VersionBehind, nil},
		{"known not to run", "3.7.3", nil,
			State{Unfit: Unfit{Declared: "3.7.3", Cluster: "3.6.0", Since: t0.Add(-time.Minute)}}, VersionAhead, nil},
		{"known not to run, long ago", "3.7.3", nil,
			State{Unfit: Unfit{Declared: "3.7.3", Cluster: "3.6.0", Since: t0.Add(-time.Hour)}}, JoinLearner, add},
		{"known not to run, the cluster went on", "3.7.3", func(v *View) { running(v, "3.7.3"); v.ClusterVersion.Value = "3.7.0" },
			State{Unfit: Unfit{Declared: "3.7.3", Cluster: "3.6.0", Since: t0.Add(-time.Minute)}}, JoinLearner, add},
		{"another etcd was put in place", "3.7.4", nil,
			State{Unfit: Unfit{Declared: "3.7.3", Cluster: "3.6.0", Since: t0.Add(-time.Minute)}}, JoinLearner, add},
		{"it was seen to be another than its unit says", "3.6.16", nil,
			State{Unfit: Unfit{Declared: "3.6.16", Cluster: "3.6.0", Seen: "3.8.1", Since: t0.Add(-5 * time.Hour)}}, VersionAhead, nil},
		{"a learner of a version that cannot be told does not run", "", func(v *View) {
			v.EtcdVersion = Fact[string]{Err: "a wrapper"}
			learning(v, "auto-restart")
		}, failed, VersionUnknown, out(VersionUnknown)},
		{"a learner of the next version does not run", "3.7.3", func(v *View) { learning(v, "auto-restart") }, failed, VersionAhead, out(VersionAhead)},
		{"a learner of the next version does not run, where others do", "3.7.3", func(v *View) {
			learning(v, "auto-restart")
			h := v.Health[2]
			h.Value.Version = "3.7.1"
			v.Health[2] = h
		}, failed, BackedOff, nil},
		{"a learner of the cluster's version does not run", "3.6.9", func(v *View) { learning(v, "auto-restart") }, failed, BackedOff, nil},
		{"a learner runs as what it should not be", "", func(v *View) {
			learning(v, "running")
			v.EtcdVersion = Fact[string]{Err: "a wrapper"}
			v.Record.Ran = true
			v.Data.Value = Data{Member: 4, Cluster: 9}
			v.Health[4] = Observed(Health{Cluster: 9, Member: 4, Learner: true, Version: "3.8.0"}, t0)
		}, State{}, VersionAhead, out(VersionAhead)},
	} {
		v := newNode(c.etcd)
		v.Receipts["start-etcd"] = Receipt{Ended: t0.Add(-time.Second), Succeeded: t0.Add(-time.Second)}
		if c.with != nil {
			c.with(&v)
		}
		_, d := Next(DefaultConfig(), c.state, v)
		if got := d.Verdicts[ConcernJoin]; got.Reason != c.reason || cmp.Diff(c.action, d.Action) != "" {
			t.Errorf("%s: %s (%s), %v; want %s, %v", c.name, got.Reason, got.Detail, d.Action, c.reason, c.action)
		}
	}
}

// A node that waits for the cluster to be of its version keeps its hook, gives up
// nothing, and its clock of giving up begins when it may join.
func TestWaitingForAVersionIsNoFault(t *testing.T) {
	v := newNode("3.8.0")
	st := State{LaunchingSince: t0.Add(-time.Hour), GaveUp: true}
	st, d := Next(DefaultConfig(), st, v)
	if !st.LaunchingSince.IsZero() || st.GaveUp || d.Action != nil {
		t.Errorf("launching since %s, gave up %t, %v", st.LaunchingSince, st.GaveUp, d.Action)
	}
	if !hasDuty[Heartbeat](d) || !hasDuty[WatchVersions](d) {
		t.Errorf("duties %v", d.Duties)
	}
	v.ClusterVersion.Value = "3.7.0"
	v.Receipts["add-learner"] = Receipt{Ended: t0.Add(-time.Minute), Failures: 3}
	if _, d = Next(DefaultConfig(), st, v); d.Verdicts[ConcernJoin].Reason != JoinLearner {
		t.Errorf("when it fits: %s", d.Verdicts[ConcernJoin].Reason)
	}
}

func TestPromoteByVersion(t *testing.T) {
	for _, c := range []struct {
		name, leader, learner, cluster string
		want                           Reason
	}{
		{"all the same", "3.6.16", "3.6.16", "", PromoteLearner},
		{"one ahead", "3.6.16", "3.7.3", "3.6.0", PromoteLearner},
		{"two ahead", "3.5.35", "3.7.3", "3.5.0", VersionAhead},
		{"the cluster's is not known", "3.6.16", "3.7.3", "", VersionUnknown},
		{"an old leader", "3.5.6", "3.5.35", "3.5.0", PromotionUnsafe},
		{"the first safe one", "3.5.7", "3.5.35", "3.5.0", PromoteLearner},
		{"no word of the leader's", "", "3.6.16", "3.6.0", PromotionUnhealthy},
		{"no word of the learner's", "3.6.16", "", "3.6.0", VersionUnknown},
	} {
		v := steady()
		running(&v, c.leader)
		if c.cluster != "" {
			v.ClusterVersion = Observed(c.cluster, t0)
		}
		v.Members.Value.Members = append(v.Members.Value.Members, Member{ID: 4, Name: "i-4", PeerURLs: []string{"https://4:2380"},
			ClientURLs: []string{"https://4:2379"}, Learner: true})
		v.Health[4] = Observed(Health{Cluster: 9, Member: 4, Learner: true, Applied: 100, Version: c.learner}, t0)
		_, d := Next(DefaultConfig(), State{}, v)
		if got := d.Verdicts[ConcernSteward]; got.Reason != c.want || (d.Action != nil) != (c.want == PromoteLearner) {
			t.Errorf("%s: %s (%s), %v", c.name, got.Reason, got.Detail, d.Action)
		}
		if !hasDuty[WatchVersions](d) {
			t.Errorf("%s: the cluster's version is not read: %v", c.name, d.Duties)
		}
	}
}

func TestVersionWarnings(t *testing.T) {
	for _, c := range []struct {
		versions [3]string
		want     []string
	}{
		{[3]string{"3.5.26", "3.6.16", "3.6.16"}, nil},
		{[3]string{"3.6.11", "3.7.0", "3.7.0"}, nil},
		{[3]string{"3.5.35", "3.5.35", ""}, nil},
		{[3]string{"3.5.6", "3.5.35", "3.5.35"}, []string{"EtcdOld member 1 (i-1) runs etcd 3.5.6: before 3.5.7 a learner is not promoted while it leads; update it in place"}},
		{[3]string{"3.5.16", "3.5.35", "3.6.16"}, []string{
			"EtcdOld member 1 (i-1) runs etcd 3.5.16: before 3.5.26 a promotion may be forgotten; update within 3.5 before anything else",
			"UpgradeUnsafe member 1 (i-1) runs etcd 3.5.16 beside 3.6: an upgrade to 3.6 begins at 3.5.26"}},
		{[3]string{"3.6.3", "3.6.4", "3.7.3"}, []string{"EtcdOld member 1 (i-1) runs etcd 3.6.3: use 3.6.4 or later",
			"UpgradeUnsafe member 1 (i-1) runs etcd 3.6.3 beside 3.7: an upgrade to 3.7 begins at 3.6.11",
			"UpgradeUnsafe member 2 (i-2) runs etcd 3.6.4 beside 3.7: an upgrade to 3.7 begins at 3.6.11"}},
	} {
		v := steady()
		for i, version := range c.versions {
			h := v.Health[MemberID(i+1)]
			h.Value.Version = version
			v.Health[MemberID(i+1)] = h
		}
		_, d := Next(DefaultConfig(), State{}, v)
		var got []string
		for _, w := range d.Warnings {
			got = append(got, fmt.Sprintf("%s %s", w.Name, w.Detail))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.versions, diff)
		}
	}
}
