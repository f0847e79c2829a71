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

// A group moves instances in other ways than launching and terminating them: some tell a
// member to go, and some must not.
func TestGroup(t *testing.T) {
	t.Parallel()
	f := New(t, Config{})
	f.Settle(f.Within(forBootstrap))

	f.step("the leader in standby, another replaced meanwhile, and back", forOneChange,
		func(ctx context.Context, before fleet.Members) { f.standbyAndBack(ctx, before) })
	f.step("detached, and attached again", forOneChange,
		func(ctx context.Context, before fleet.Members) { f.detachedAndBack(ctx, before) })
	f.step("warm pool of stopped instances: launched into it, out, in and out again", 2*forOneChange,
		func(ctx context.Context, before fleet.Members) { f.warmPool(ctx, before) })
}

// stays checks for a while that an instance's member votes, and that its agent does not
// think of leaving.
func (f *Fleet) stays(ctx context.Context, id string, d time.Duration) {
	f.t.Helper()
	f.holds(ctx, d, func() error {
		members, err := f.Members(ctx)
		if err != nil {
			return err
		}
		if !members.Votes(id) {
			return fmt.Errorf("%s does not vote: %s", id, members)
		}
		s, err := f.status(ctx, id)
		if err == nil && s.Record.Leaving != nil {
			err = fmt.Errorf("%s is leaving", id)
		}
		return err
	})
}

// standbyAndBack: standby is not told to go. The leader stays a voter, through the
// replacement of another one.
func (f *Fleet) standbyAndBack(ctx context.Context, before fleet.Members) {
	leader, other, seen := f.Leader(ctx), f.followers(ctx)[0], len(f.Cloud.Events())
	f.must(f.Cloud.EnterStandby(group, []string{leader}, true))
	f.happens(ctx, seen, fakeaws.EnteredStandby, leader)
	f.stays(ctx, leader, 5*time.Second)
	f.must(f.Cloud.TerminateInGroup(other, false))
	f.happens(ctx, seen, fakeaws.LeftGroup, other)
	f.happens(ctx, seen, fakeaws.InService, "")
	f.stays(ctx, leader, time.Second)
	f.must(f.Cloud.ExitStandby(group, []string{leader}))
	f.wantKept(ctx, before, 2)
}

// detachedAndBack: a detached instance is nobody's to tell to go. Its member goes on.
func (f *Fleet) detachedAndBack(ctx context.Context, before fleet.Members) {
	id, seen := f.followers(ctx)[0], len(f.Cloud.Events())
	f.must(f.Cloud.DetachInstances(group, []string{id}, true))
	f.happens(ctx, seen, fakeaws.Detached, id)
	f.stays(ctx, id, 5*time.Second)
	f.must(f.Cloud.AttachInstances(group, []string{id}))
	f.wantKept(ctx, before, 3)
}

// warmPool: an instance is launched into the pool, where it joins nothing, and is turned
// off. It comes into service and joins; another one goes back to the pool, which leaves
// as one does that is terminated. That one is needed again, with its old disk, and is a
// new member then.
func (f *Fleet) warmPool(ctx context.Context, before fleet.Members) {
	seen := len(f.Cloud.Events())
	f.must(f.Cloud.PutWarmPool(group, fakeaws.WarmPool{MaxPrepared: 4, State: fakeaws.PoolStopped, Reuse: true}))
	fresh := f.happens(ctx, seen, fakeaws.EnteredPool, "").Instance
	f.wantKept(ctx, before, 3)
	f.wantOff(fresh)

	f.outOfPool(ctx, fresh)
	four := f.Settle(ctx)
	seen = len(f.Cloud.Events())
	f.must(f.Cloud.SetDesired(group, 3))
	back := f.happens(ctx, seen, fakeaws.EnteredPool, "").Instance
	f.wantKept(ctx, four, 3)
	f.wantOff(back)

	f.outOfPool(ctx, back)
	f.wantKept(ctx, four, 3) // all but the one that left: it is another member now
	f.must(f.Cloud.DeleteWarmPool(group, true))
	f.must(f.Cloud.SetDesired(group, 3))
	f.Settle(ctx)
}

func (f *Fleet) wantOff(id string) {
	f.t.Helper()
	if f.Host(id).Running() {
		f.t.Errorf("%s is in the warm pool and runs", id)
	}
}

// outOfPool scales to four and waits until the instance from the pool is in service.
func (f *Fleet) outOfPool(ctx context.Context, id string) {
	f.t.Helper()
	seen := len(f.Cloud.Events())
	f.must(f.Cloud.SetDesired(group, 4))
	f.happens(ctx, seen, fakeaws.InService, id)
}
