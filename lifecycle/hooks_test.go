package lifecycle_test

import (
	"errors"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

func TestHeartbeatsKeepAHookOpen(t *testing.T) {
	r := newRig(t, hooked(1))
	every := policy.HeartbeatInterval(policy.Hook{Timeout: time.Minute})
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
