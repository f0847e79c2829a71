package peer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func promise() *policy.Promise {
	return &policy.Promise{
		GroupARN:  "arn:g",
		Members:   []policy.PromisedMember{{Instance: "i-a", PeerURL: "http://10.0.0.1:2380"}, {Instance: "i-b", PeerURL: "http://10.0.0.2:2380"}},
		Committed: true,
	}
}

// view is a node that leaves while its cluster has one silent member.
func view() policy.View {
	ago := func(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }
	return policy.View{
		Now:       now,
		Self:      policy.Self{Instance: "i-a", Machine: "m", Boot: "b", PeerURL: "http://10.0.0.1:2380", ClientURL: "http://10.0.0.1:2379"},
		Lifecycle: policy.Observed(policy.TargetTerminated, ago(1)),
		Spot:      policy.Observed(policy.Notice{}, ago(1)),
		Group: policy.Observed(policy.Group{
			Name: "g", Desired: 2, ClusterTag: "c1",
			Instances: []policy.GroupInstance{{ID: "i-a", State: policy.StateTerminatingWait}, {ID: "i-b", State: policy.StateInService}},
		}, ago(20)),
		Instances: policy.Observed(map[policy.InstanceID]policy.Instance{"i-b": {State: policy.InstanceRunning, Address: "10.0.0.2"}}, ago(20)),
		Unit:      policy.Observed(policy.Unit{Load: "loaded", Active: "active", Sub: "running", MainPID: 7}, ago(3)),
		Data:      policy.Observed(policy.Data{Member: 0xa1, Cluster: 0xc1}, ago(3)),
		Members: policy.Fact[policy.MemberList]{
			Value: policy.MemberList{Cluster: 0xc1, Via: 0xa1, Members: []policy.Member{
				{ID: 0xa1, Name: "i-a", PeerURLs: []string{"http://10.0.0.1:2380"}, ClientURLs: []string{"http://10.0.0.1:2379"}},
				{ID: 0xb2, PeerURLs: []string{"http://10.0.0.2:2380"}, Learner: true},
			}, Joins: map[string]policy.InstanceID{"http://10.0.0.2:2380": "i-b"}},
			At: ago(9), Err: "deadline exceeded",
		},
		Health: map[policy.MemberID]policy.Fact[policy.Health]{
			0xa1: policy.Observed(policy.Health{Cluster: 0xc1, Member: 0xa1, Leader: 0xa1, Term: 4, Committed: 10, Applied: 9, Serves: true, NoSpace: true, Version: "3.6.5"}, ago(2)),
			0xb2: {Err: "connection refused"},
		},
		Local: policy.Observed(policy.Health{Member: 0xa1, Version: "3.6.5"}, ago(2)),
		Lock: policy.Observed(policy.Lock{
			Group:   "members",
			Slots:   1,
			Holders: []policy.Hold{{Slot: 0, Instance: "i-b", Member: 0xb2, Reason: policy.HoldLeaving, Phase: policy.Acting, Client: "c", Why: "update", Since: ago(60), Revision: 9}},
			Leaving: []policy.Waiter{{Instance: "i-a", Reason: policy.HoldLeaving, Since: ago(7), Revision: 10}},
		}, ago(4)),
		Peers: map[policy.InstanceID]policy.Fact[policy.Peer]{
			"i-b": policy.Observed(policy.Peer{Instance: "i-b", PeerURL: "http://10.0.0.2:2380"}, ago(1)),
			"i-c": {Err: "no route"},
		},
		Record: policy.Record{Instance: "i-a", Member: 0xa1, Cluster: 0xc1, Promise: promise(),
			Leaving: &policy.Leaving{Since: ago(100), Target: "Terminated"}},
		Receipts: map[string]policy.Receipt{
			"move-leader": {Ended: ago(5), Failures: 2, LastErr: "no"},
			"promote/1":   {Ended: ago(7200), Succeeded: ago(7200)},
		},
		InFlight: &policy.InFlight{Action: policy.MoveLeader{To: 0xb2}, Started: ago(1)},
	}
}

func decision() policy.Decision {
	return policy.Decision{
		Action:  policy.MoveLeader{To: 0xb2},
		Concern: policy.ConcernLeave,
		Verdicts: map[policy.Concern]policy.Verdict{
			policy.ConcernLeave: {Reason: policy.HandOver, Detail: "to b2"},
			policy.ConcernJoin:  {Reason: policy.NotWanted},
		},
		Steward: true,
	}
}

func TestFromPass(t *testing.T) {
	yes := true
	ago := func(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }
	want := Status{
		Version: 1, Instance: "i-a", Machine: "m", Boot: "b", OS: "Flatcar 1", Quorumd: "v1",
		PeerURL: "http://10.0.0.1:2380", ClientURL: "http://10.0.0.1:2379",
		Record: Record{Instance: "i-a", Member: 0xa1, Cluster: 0xc1,
			Promise: &Promise{Group: "arn:g", Hash: promise().Hash(), Committed: true,
				Members: []PromisedMember{{"i-a", "http://10.0.0.1:2380"}, {"i-b", "http://10.0.0.2:2380"}}},
			Leaving: &Leaving{Since: ago(100), Target: "Terminated"}},
		HasData:   &yes,
		Etcd:      Etcd{Version: "3.6.5", Unit: &Unit{"loaded", "active", "running"}, Health: &Health{Member: 0xa1, Version: "3.6.5"}, DataMember: 0xa1},
		Lifecycle: Lifecycle{Target: "Terminated", State: "Terminating:Wait"},
		Group: &Group{Name: "g", Desired: 2, ClusterTag: "c1",
			Instances: []Instance{{ID: "i-a", State: "Terminating:Wait"}, {ID: "i-b", State: "InService", EC2: "running"}}},
		Decision: Decision{
			Sequence: 7, Time: now, Action: "move-leader", Concern: "leave", Steward: true,
			Concerns: []Verdict{{"leave", "HandOver", "to b2"}, {"join", "NotWanted", ""}},
			InFlight: &InFlight{Action: "move-leader", Started: ago(1)},
			Receipts: []Receipt{{Key: "move-leader", Ended: ago(5), Failures: 2, Error: "no"}},
		},
		Facts: []Fact{
			{Name: "lifecycle", Observed: true, AgeSeconds: 1}, {Name: "spot", Observed: true, AgeSeconds: 1},
			{Name: "group", Observed: true, AgeSeconds: 20}, {Name: "instances", Observed: true, AgeSeconds: 20},
			{Name: "unit", Observed: true, AgeSeconds: 3}, {Name: "data", Observed: true, AgeSeconds: 3},
			{Name: "local", Observed: true, AgeSeconds: 2}, {Name: "pulse"}, {Name: "members", Observed: true, AgeSeconds: 9, Error: "deadline exceeded"},
			{Name: "lock", Observed: true, AgeSeconds: 4}, {Name: "health/a1", Observed: true, AgeSeconds: 2},
			{Name: "health/b2", Error: "connection refused"}, {Name: "agent/i-b", Observed: true, AgeSeconds: 1},
			{Name: "agent/i-c", Error: "no route"},
		},
		Members: &Members{Cluster: 0xc1, List: []Member{
			{ID: 0xa1, Instance: "i-a", Started: true, PeerURLs: []string{"http://10.0.0.1:2380"}, ClientURLs: []string{"http://10.0.0.1:2379"},
				Health: &Health{Member: 0xa1, Cluster: 0xc1, Leader: 0xa1, Term: 4, Committed: 10, Applied: 9, Serves: true, Alarms: []string{"NOSPACE"}, Version: "3.6.5"}},
			{ID: 0xb2, Instance: "i-b", Learner: true, PeerURLs: []string{"http://10.0.0.2:2380"}, HealthError: "connection refused"},
		}},
		Lock: &Lock{Group: "members", Slots: 1, Leaving: []Waiter{{Instance: "i-a", Reason: "leaving", Since: ago(7)}},
			Holders: []Hold{{Instance: "i-b", Member: 0xb2, Reason: "leaving", Phase: "acting", Client: "c", Why: "update", Since: ago(60), Revision: 9}}},
		Agents: []Agent{{Instance: "i-b", URL: "http://10.0.0.2:2382", EC2: "running", Answers: true}, {Instance: "i-c"}},
	}
	got := FromPass(view(), decision(), About{Sequence: 7, OS: "Flatcar 1", Quorumd: "v1",
		AgentURL: func(host string) string { return "http://" + host + ":2382" }})
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, back); d != "" {
		t.Errorf("over the wire (-want +got):\n%s", d)
	}
	peer := policy.Peer{Instance: "i-a", Boot: "b", PeerURL: "http://10.0.0.1:2380", ClientURL: "http://10.0.0.1:2379",
		Promise: promise(), HasData: true, Member: 0xa1, Cluster: 0xc1, Leaving: true,
		Etcd: policy.EtcdWord{Active: true, Running: true, Disk: true}}
	if d := cmp.Diff(peer, back.Peer()); d != "" {
		t.Errorf("as policy's (-want +got):\n%s", d)
	}
}

// TestUnknownIsNotEmpty: what an agent does not know makes others wait.
func TestUnknownIsNotEmpty(t *testing.T) {
	v := policy.View{Now: now, Self: policy.Self{Instance: "i-a"}}
	for name, tt := range map[string]struct {
		data policy.Fact[policy.Data]
		want bool
	}{
		"never read":     {policy.Fact[policy.Data]{}, true},
		"fails now":      {policy.Fact[policy.Data]{Value: policy.Data{Empty: true}, At: now, Err: "no"}, true},
		"empty":          {policy.Observed(policy.Data{Empty: true}, now), false},
		"there is a WAL": {policy.Observed(policy.Data{}, now), true},
	} {
		v.Data = tt.data
		if got := FromPass(v, policy.Decision{}, About{}).Peer().HasData; got != tt.want {
			t.Errorf("%s: has data is %v", name, got)
		}
	}
	s := FromPass(v, policy.Decision{}, About{})
	if s.Members != nil || s.Lock != nil || s.Group != nil || s.Etcd.Unit != nil || s.Etcd.Health != nil {
		t.Errorf("something is known of nothing: %+v", s)
	}
}

// TestForeignRecord: on a copied disk stands another node's promise.
func TestForeignRecord(t *testing.T) {
	v := view()
	v.Record.Instance = "i-z"
	got := FromPass(v, policy.Decision{}, About{}).Peer()
	if got.Promise != nil || got.Member != 0 || got.Cluster != 0 || got.Leaving {
		t.Errorf("a foreign record was taken for the node's own: %+v", got)
	}
}

// TestSizeIsBounded: whatever goes wrong for however long, peers can read it.
func TestSizeIsBounded(t *testing.T) {
	v := view()
	long := strings.Repeat("é", 100000)
	v.Members.Err = long
	for i := range 5000 {
		v.Receipts[fmt.Sprintf("promote/%d", i)] = policy.Receipt{Failures: 1, LastErr: long, Detail: long, Ended: now.Add(time.Duration(i))}
	}
	d := decision()
	d.Verdicts[policy.ConcernJoin] = policy.Verdict{Detail: long}
	s := FromPass(v, d, About{})
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(data); err != nil || len(data) > MaxSize/4 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if newest := s.Decision.Receipts[len(s.Decision.Receipts)-1].Key; newest != "promote/4999" {
		t.Errorf("kept %s as the newest", newest)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ data, want string }{
		"empty":         {"", "no status"},
		"html":          {"<html>", "no status"},
		"other JSON":    {`{"a":1}`, "no version"},
		"list":          {`[]`, "no status"},
		"null":          {`null`, "no version"},
		"later":         {`{"version":2,"instance":{"id":"i-a"}}`, "version 2, this quorumd knows version 1"},
		"no instance":   {`{"version":1}`, "names no instance"},
		"negative age":  {`{"version":1,"instance":"i","age_seconds":-1}`, "age"},
		"bad id":        {`{"version":1,"instance":"i","record":{"member":"xyz"}}`, "read id"},
		"trailing":      {`{"version":1,"instance":"i"}{}`, "no status"},
		"other promise": {`{"version":1,"instance":"i","record":{"instance":"i","promise":{"group":"g","members":[],"hash":"00"}}}`, "promise's hash"},
		"too long":      {`{"version":1,"instance":"` + strings.Repeat("i", MaxSize) + `"}`, "longer than"},
	} {
		if s, err := Decode([]byte(tt.data)); err == nil || !strings.Contains(err.Error(), tt.want) || s.Instance != "" {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
	if _, err := Decode([]byte(`{"version":1,"instance":"i","new_field":[1]}`)); err != nil {
		t.Errorf("a field of a later agent: %v", err)
	}
}

// FuzzDecode: no answer of another agent crashes this one, and what is accepted
// means the same when passed on.
func FuzzDecode(f *testing.F) {
	data, err := json.Marshal(FromPass(view(), decision(), About{Sequence: 1}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	if data, err = json.Marshal(FromPass(troubled(), decision(), About{Sequence: 1})); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Decode(data)
		if err != nil {
			return
		}
		p := s.Peer()
		if p.Instance == "" {
			t.Fatal("a peer without an instance")
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(out)
		if err != nil {
			if len(out) > MaxSize {
				return
			}
			t.Fatal(errors.Join(err, errors.New(string(out))))
		}
		if d := cmp.Diff(p, again.Peer()); d != "" {
			t.Fatalf("(-first +second):\n%s", d)
		}
	})
}
