package peer

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

// troubled is a node whose etcd has no leader, in the middle of a plan.
func troubled() policy.View {
	v := view()
	v.Pulse = policy.Observed(policy.Pulse{
		Leader: policy.LeaderNone, LeaderID: 0xb2, Leads: true, Term: 7, Committed: 100, Applied: 99, Learner: true, NoSpace: true, Corrupt: true, Serves: true,
		Client: policy.Port{Answer: policy.PortSilent, For: 3 * time.Second}, PeerPort: policy.Port{Answer: policy.PortAnswers, For: time.Second},
		Metrics: policy.Port{Answer: policy.PortCannotTell, For: 2 * time.Second}, Met: true, Version: "3.6.16",
	}, now.Add(-2*time.Second))
	v.Record.Election = &policy.Election{
		Plan: policy.Plan{Cluster: 0xc1, Attempt: 2, Round: policy.AllAtOnce, Forced: true, Proposer: 0xa1, At: now, Order: []policy.MemberID{0xb2, 0xa1}},
		Step: policy.StepStopped, By: now, Since: now, // its own clock's: not for others
	}
	return v
}

func wire(t *testing.T, v policy.View) []byte {
	t.Helper()
	data, err := json.Marshal(FromPass(v, decision(), About{Sequence: 1}))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What a node says of its etcd and of its plan arrives as it was said; ages become
// one span, for clocks are not compared.
func TestElectionOverTheWire(t *testing.T) {
	v := troubled()
	s, err := Decode(wire(t, v))
	if err != nil {
		t.Fatal(err)
	}
	s.AgeSeconds = 1.5
	p := s.Peer()
	want := policy.EtcdWord{Known: true, Age: 3500 * time.Millisecond, Active: true, Running: true, Disk: true, Pulse: v.Pulse.Value}
	if d := cmp.Diff(want, p.Etcd); d != "" {
		t.Errorf("(-said +heard):\n%s", d)
	}
	e := v.Record.Election
	if d := cmp.Diff(&policy.Election{Plan: e.Plan, Step: e.Step}, p.Election); d != "" {
		t.Errorf("(-said +heard):\n%s", d)
	}
}

// What is not observed is no word, and a copied disk's plan is not ours.
func TestElectionUnsaid(t *testing.T) {
	v := troubled()
	v.Pulse.Err = "no"
	v.Data.Value.Member = 0xee
	v.Record.Instance = "i-z"
	s, err := Decode(wire(t, v))
	if err != nil {
		t.Fatal(err)
	}
	p := s.Peer()
	if want := (policy.EtcdWord{Active: true, Running: true}); p.Etcd != want || p.Election != nil {
		t.Errorf("heard %+v, %+v", p.Etcd, p.Election)
	}
}

// Lies that no agent tells are refused; words of a later version say nothing.
func TestElectionHostile(t *testing.T) {
	good := string(wire(t, troubled()))
	for name, c := range map[string]struct{ old, new, says string }{
		"another order":      {`"order":["b2","a1"]`, `"order":["b2"]`, "plan's id"},
		"another round":      {`"round":2`, `"round":1`, "plan's id"},
		"negative age":       {`"pulse":{"age_seconds":2`, `"pulse":{"age_seconds":-2`, "pulse's age"},
		"a port for ever":    {`"answer":"silent","seconds":3`, `"answer":"silent","seconds":1e300`, "a port is"},
		"a new step":         {`"step":"stopped"`, `"step":"dancing"`, ""},
		"a new port answer":  {`"answer":"silent"`, `"answer":"sings"`, ""},
		"a new leader word":  {`"knows_leader":"none"`, `"knows_leader":"several"`, ""},
		"a field not known":  {`"met":true`, `"met":true,"more":{"x":1}`, ""},
		"an id of 17 digits": {`"proposer":"a1"`, `"proposer":"11111111111111111"`, "no status"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("%s: %s is not in %s", name, c.old, good)
		}
		s, err := Decode([]byte(bad))
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		p := s.Peer()
		if name == "a new step" && p.Election != nil || name == "a new port answer" && p.Etcd.Client.Answer != "" || name == "a new leader word" && p.Etcd.Leader != "" {
			t.Errorf("%s: heard %+v, %+v", name, p.Etcd, p.Election)
		}
	}
}
