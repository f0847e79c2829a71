//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// Instances are told to go when it suits least: all of them, one that is broken, one
// that has not joined yet, one that cannot wait. At the end the group goes to zero.
func TestLeaving(t *testing.T) {
	t.Parallel()
	var fresh newcomers
	f := New(t, Config{Hook: 30 * time.Second, Provision: fresh.provisioned, Booted: fresh.hasBooted})
	f.Settle(f.Within(forBootstrap))

	f.step("a healthy and a stopped member told to go together", 2*forOneChange, func(ctx context.Context, before fleet.Members) {
		f.goWithBroken(ctx, before, func(h *lab.Host) { f.must(h.Freeze(ctx, "etcd-member.service")) })
	})
	f.step("a healthy and a crashing member told to go together", 2*forOneChange, func(ctx context.Context, before fleet.Members) {
		f.goWithBroken(ctx, before, func(h *lab.Host) { f.crashes(ctx, h) })
	})
	f.step("all three told to go at once, while three are wanted", 2*forOneChange, func(ctx context.Context, before fleet.Members) {
		for _, inst := range f.Instances() {
			f.must(f.Cloud.TerminateInGroup(inst.ID, false))
		}
		f.wantKept(ctx, before, 0)
	})
	f.step("told to go before its agent first runs", forOneChange, func(ctx context.Context, before fleet.Members) {
		f.goUnjoined(ctx, before, &fresh)
	})
	f.step("told to go as a learner that never reached its peers", forOneChange, func(ctx context.Context, before fleet.Members) {
		f.goWhileJoining(ctx, before, &fresh)
	})
	f.step("the hook's deadline is near, and another holds the lock", forOneChange, func(ctx context.Context, before fleet.Members) {
		f.deadlineWithoutLock(ctx, before)
	})
	f.step("a Spot notice", forOneChange, func(ctx context.Context, before fleet.Members) { f.spotNotice(ctx, before) })
	f.step("three to zero, and back to three", 2*forOneChange, func(ctx context.Context, _ fleet.Members) { f.toZeroAndBack(ctx) })
}

// newcomers is what befalls hosts that are launched from now on.
type newcomers struct {
	mu        sync.Mutex
	provision func(*lab.Host) error
	booted    func(*lab.Host) error
}

func (n *newcomers) set(provision, booted func(*lab.Host) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.provision, n.booted = provision, booted
}

func (n *newcomers) provisioned(h *lab.Host) error {
	n.mu.Lock()
	do := n.provision
	n.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(h)
}

func (n *newcomers) hasBooted(_ context.Context, h *lab.Host) error {
	n.mu.Lock()
	do := n.booted
	n.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(h)
}

// goWithBroken: the broken one cannot have the lock, and the healthy one must not wait for it.
func (f *Fleet) goWithBroken(ctx context.Context, before fleet.Members, spoil func(*lab.Host)) {
	ids := f.followers(ctx)
	spoil(f.Host(ids[0]))
	f.must(f.Cloud.TerminateInGroup(ids[0], false))
	f.must(f.Cloud.TerminateInGroup(ids[1], false))
	f.wantKept(ctx, before, 1)
}

// crashes makes an etcd fail, and at every start that systemd tries from now on.
func (f *Fleet) crashes(ctx context.Context, h *lab.Host) {
	f.t.Helper()
	f.must(h.WriteFile(unitDir+"/etcd-member.service.d/70-broken.conf", []byte("[Service]\nEnvironment=ETCD_MAX_WALS=many\n"), 0o644))
	f.exec(ctx, h, "systemctl", "daemon-reload")
	if h.Kill("etcd-member.service", syscall.SIGKILL) == 0 {
		f.t.Fatalf("no etcd ran on %s", h.Spec.Hostname)
	}
	f.said(ctx, h, "etcd-member.service", "invalid value")
}

// goUnjoined: what its agent first hears is that it is to go. It must not join on the way.
func (f *Fleet) goUnjoined(ctx context.Context, before fleet.Members, fresh *newcomers) {
	fresh.set(nil, func(h *lab.Host) error { return f.Cloud.TerminateInGroup(h.Spec.Hostname, true) })
	defer fresh.set(nil, nil)
	seen := len(f.Cloud.Events())
	f.must(f.Cloud.SetDesired(group, 4))
	gone := f.happens(ctx, seen, fakeaws.LeftGroup, "")
	if log, err := f.Host(gone.Instance).Journal(ctx, "etcd-member.service"); err != nil || strings.Contains(string(log), "Starting") {
		f.t.Errorf("%s was only ever told to go, and etcd was started: %v\n%s", gone.Instance, err, log)
	}
	f.wantKept(ctx, before, 3)
}

// goWhileJoining: the new node's etcd cannot reach any other, so it is a learner that does
// not come on when it is told to go. It takes that out again.
func (f *Fleet) goWhileJoining(ctx context.Context, before fleet.Members, fresh *newcomers) {
	fresh.set(func(h *lab.Host) error {
		_, err := h.CutPort(etcdPeers) // for good: the host has no other use
		return err
	}, nil)
	defer fresh.set(nil, nil)
	seen := len(f.Cloud.Events())
	f.must(f.Cloud.SetDesired(group, 4))
	var id string
	f.until(ctx, "a learner", func(ctx context.Context) error {
		m, err := f.Members(ctx)
		for name, member := range m {
			if member.IsLearner {
				id = f.at(strings.TrimPrefix(name, "unstarted-"))
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("the members are %s", m))
	})
	f.must(f.Cloud.TerminateInGroup(id, true))
	f.happens(ctx, seen, fakeaws.BecameShuttingDown, id)
	if m, err := f.Members(ctx); err != nil || len(m) != len(before) {
		f.t.Errorf("%s has gone and the members are %s: %v", id, m, err)
	}
	f.wantKept(ctx, before, 3)
}

// deadlineWithoutLock: no heartbeat of a leaver gets through, and an operator holds the
// lock for another node. It goes without the lock, before its hook runs out.
func (f *Fleet) deadlineWithoutLock(ctx context.Context, before fleet.Members) {
	ids := f.followers(ctx)
	leaver, holder, seen := ids[0], ids[1], len(f.Cloud.Events())
	f.sees(ctx, leaver, len(before))
	unlock, err := f.LockFor(ctx, holder)
	f.must(err)
	fault, err := f.Cloud.AddFault(fakeaws.Fault{
		Kind: fakeaws.Outage, Service: "autoscaling", Action: "RecordLifecycleActionHeartbeat", Instance: leaver,
	})
	f.must(err)
	f.must(f.Cloud.TerminateInGroup(leaver, false))
	f.happens(ctx, seen, fakeaws.HookCompleted, leaver)
	f.Cloud.RemoveFault(fault)
	f.must(unlock())
	f.said(ctx, f.Host(leaver), "quorumd.service", "reason=AwaitLock")
	f.said(ctx, f.Host(leaver), "quorumd.service", "reason=DeadlineRemoveSelf")
	f.wantKept(ctx, before, 2)
}

// spotNotice: Spot asks nobody and opens no hook. The member is out before the machine is.
func (f *Fleet) spotNotice(ctx context.Context, before fleet.Members) {
	id, seen := f.followers(ctx)[0], len(f.Cloud.Events())
	f.sees(ctx, id, len(before)) // it waits for a replacement of as many as there were
	f.must(f.Cloud.InterruptSpot(id, 20*time.Second))
	f.happens(ctx, seen, fakeaws.BecameShuttingDown, id)
	if m, err := f.Members(ctx); err != nil || m[id] != nil {
		f.t.Errorf("Spot took %s and the members are %s: %v", id, m, err)
	}
	f.said(ctx, f.Host(id), "quorumd.service", "reason=DeadlineRemoveSelf")
	f.wantKept(ctx, before, 2)
}

// toZeroAndBack: at zero nothing is left to protect, so nobody waits for a lock or a
// quorum. The group's tag still names the cluster, so what comes later forms no other
// before an operator says so.
func (f *Fleet) toZeroAndBack(ctx context.Context) {
	all, seen := f.Instances(), len(f.Cloud.Events())
	f.must(f.Cloud.SetDesired(group, 0))
	for _, inst := range all {
		f.happens(ctx, seen, fakeaws.LeftGroup, inst.ID)
		f.said(ctx, f.Host(inst.ID), "quorumd.service", "reason=GroupEnds")
	}
	if left := f.Instances(); len(left) > 0 {
		f.t.Fatalf("the group wants none and has %v", left)
	}
	f.must(f.Cloud.SetDesired(group, 3))
	f.sitStill(ctx, 3)
	f.startFresh(ctx)
	f.Settle(ctx)
}
