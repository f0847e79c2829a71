//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
)

// AWS throttles, and tells what was a minute ago, each for a minute. (That it answers 500,
// and that instance metadata are away, is in TestSurroundings.)
func TestAWS(t *testing.T) {
	t.Parallel()
	f := New(t, Config{Hook: 3 * time.Minute})
	f.Settle(f.Within(forBootstrap))

	f.step("AWS throttles for a minute, while the leader is replaced", forOneChange+time.Minute,
		func(ctx context.Context, before fleet.Members) {
			f.awsFails(ctx, fakeaws.Throttling, f.Leader(ctx))
			f.wantKept(ctx, before, 2)
		})
	f.step("the lists are a minute old, while the leader is replaced", forOneChange+time.Minute,
		func(ctx context.Context, before fleet.Members) { f.staleLists(ctx, before) })
}

// awsFails: every call of Auto Scaling and EC2 fails for a minute, at whose beginning an
// instance is told to go.
func (f *Fleet) awsFails(ctx context.Context, kind fakeaws.FaultKind, id string) {
	f.t.Helper()
	for _, service := range []string{"autoscaling", "ec2"} {
		fault, err := f.Cloud.AddFault(fakeaws.Fault{Kind: kind, Service: service})
		f.must(err)
		defer f.Cloud.RemoveFault(fault)
	}
	f.must(f.Cloud.TerminateInGroup(id, false))
	f.holds(ctx, time.Minute, func() error { return f.waitsToGo(id) })
}

// waitsToGo fails once the machine of an instance ends, or its hook.
func (f *Fleet) waitsToGo(id string) error {
	inst, _ := f.Cloud.Instance(id)
	if inst.Lifecycle != fakeaws.LifecycleTerminatingWait {
		return fmt.Errorf("%s is %s", id, inst.Lifecycle)
	}
	return nil
}

// staleLists: what AWS lists is a minute old, while metadata and changes are of now.
func (f *Fleet) staleLists(ctx context.Context, before fleet.Members) {
	leader, seen := f.Leader(ctx), len(f.Cloud.Events())
	f.Cloud.SetStaleness(time.Minute)
	defer f.Cloud.SetStaleness(0)
	began := time.Now()
	f.must(f.Cloud.TerminateInGroup(leader, false))
	f.happens(ctx, seen, fakeaws.InService, "")
	f.t.Logf("a new one is in service after %.1fs", time.Since(began).Seconds())
	f.happens(ctx, seen, fakeaws.LeftGroup, leader)
	f.holds(ctx, time.Until(began.Add(time.Minute)), f.Broken)
	f.wantKept(ctx, before, 2)
}
