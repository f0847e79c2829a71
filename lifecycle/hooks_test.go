package lifecycle_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

func TestHeartbeatsKeepAHookOpen(t *testing.T) {
	r := newRig(t, hooked(1))
	every := lifecycle.HeartbeatInterval(policy.Hook{Timeout: time.Minute})
	if every != 20*time.Second {
		t.Fatalf("every %s", every)
	}
	for range 30 {
		r.clock.Advance(every)
		r.ok(r.fleet.Heartbeat(r.ctx, "join"))
	}
	if s := r.state(); s != "Pending:Wait" {
		t.Errorf("after 10 min with heartbeats: %s", s)
	}
	r.clock.Advance(time.Minute)
	if err := r.fleet.Heartbeat(r.ctx, "join"); !errors.Is(err, lifecycle.ErrNoActiveAction) {
		t.Errorf("heartbeat of a hook that ran out: %v", err)
	}
}

func TestCompleteIsIdempotent(t *testing.T) {
	r := newRig(t, hooked(1))
	for range 2 {
		r.ok(r.fleet.Complete(r.ctx, "join", policy.Continue))
		if s := r.state(); s != "InService" {
			t.Errorf("after CONTINUE: %s", s)
		}
	}
	if err := r.fleet.Heartbeat(r.ctx, "join"); !errors.Is(err, lifecycle.ErrNoActiveAction) {
		t.Errorf("heartbeat of a completed hook: %v", err)
	}
	if err := r.fleet.Complete(r.ctx, "no-such-hook", policy.Continue); err == nil {
		t.Error("an unknown hook was completed")
	}
	if err := r.fleet.Complete(r.ctx, "join", "PERHAPS"); err == nil {
		t.Error("an unknown result was accepted")
	}
}

func TestAbandon(t *testing.T) {
	r := newRig(t, hooked(1))
	r.ok(r.fleet.Complete(r.ctx, "join", policy.Abandon))
	got, err := r.fleet.Instances(r.ctx, []policy.InstanceID{r.self})
	r.ok(err)
	if got[r.self].State != policy.InstanceTerminated {
		t.Errorf("after ABANDON: %v", got)
	}
}

// The hook ended but the answer got lost: the next attempt finds it done.
func TestLostAnswer(t *testing.T) {
	r := newRig(t, hooked(1))
	r.fault(fakeaws.Fault{Kind: fakeaws.LostAnswer, Action: "CompleteLifecycleAction", Times: 1})
	if err := r.fleet.Complete(r.ctx, "join", policy.Continue); err == nil {
		t.Error("a lost answer was taken for success")
	}
	r.ok(r.fleet.Complete(r.ctx, "join", policy.Continue))
	if s := r.state(); s != "InService" {
		t.Errorf("state %s", s)
	}
}

func TestChooseHook(t *testing.T) {
	hook := func(name string, t policy.Transition) policy.Hook { return policy.Hook{Name: name, Transition: t} }
	const l, x = policy.Launching, policy.Terminating
	for _, c := range []struct {
		name       string
		hooks      []policy.Hook
		configured string
		want       string   // empty: an error
		names      []string // in the error
	}{
		{name: "none at all"},
		{name: "none on this transition", hooks: []policy.Hook{hook("a", x)}},
		{name: "the only one", hooks: []policy.Hook{hook("a", l), hook("quorumd-b", x)}, want: "a"},
		{name: "ours among others", hooks: []policy.Hook{hook("a", l), hook("quorumd-b", l)}, want: "quorumd-b"},
		{name: "two of ours", hooks: []policy.Hook{hook("quorumd-b", l), hook("quorumd-a", l)}, names: []string{"quorumd-a, quorumd-b"}},
		{name: "two of others", hooks: []policy.Hook{hook("b", l), hook("a", l), hook("c", x)}, names: []string{"a, b"}},
		{name: "the configured one", hooks: []policy.Hook{hook("a", l), hook("quorumd-b", l)}, configured: "a", want: "a"},
		{name: "the configured one is away", hooks: []policy.Hook{hook("a", l)}, configured: "b", names: []string{"a", "b"}},
		{name: "the configured one is on the other", hooks: []policy.Hook{hook("a", l), hook("b", x)}, configured: "b", names: []string{"a"}},
	} {
		before := append([]policy.Hook(nil), c.hooks...)
		got, err := lifecycle.ChooseHook(c.hooks, l, c.configured)
		if got.Name != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, lifecycle.ErrNoHook) {
			t.Errorf("%s: got %q, %v", c.name, got.Name, err)
		}
		for _, n := range c.names {
			if err != nil && !strings.Contains(err.Error(), n) {
				t.Errorf("%s: %q does not name %s", c.name, err, n)
			}
		}
		if diff := cmp.Diff(before, c.hooks); diff != "" {
			t.Errorf("%s: the argument was changed:\n%s", c.name, diff)
		}
	}
}

func TestOpenTransition(t *testing.T) {
	for state, want := range map[policy.LifecycleState]policy.Transition{
		"Pending:Wait": policy.Launching, "Terminating:Wait": policy.Terminating,
		"Warmed:Pending:Wait": policy.Terminating, "Warmed:Terminating:Wait": policy.Terminating,
		"Pending": "", "InService": "", "Terminating:Proceed": "", "Nonsense:Wait": "", "": "",
	} {
		if got := lifecycle.OpenTransition(state); got != want {
			t.Errorf("%s: got %q, want %q", state, got, want)
		}
	}
}
