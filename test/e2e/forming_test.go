//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// A first cluster is agreed upon by all that the group wants, however late they come and
// however often the group changes its mind; and where there was one, only an operator's
// word lets another form.
func TestForming(t *testing.T) {
	t.Parallel()
	var fresh newcomers
	var launched atomic.Int32
	power := make(chan struct{})
	fresh.set(func(*lab.Host) error {
		if launched.Add(1) == 3 {
			select {
			case <-power:
			case <-t.Context().Done():
			}
		}
		return nil
	}, nil)
	f := New(t, Config{Hook: 30 * time.Second, Provision: fresh.provisioned, Booted: fresh.hasBooted})
	f.oneLate(f.Within(forBootstrap), time.Minute, func() { close(power) })

	f.step("all three lost and replaced; five are wanted while the others agree on three", 2*forOneChange,
		func(ctx context.Context, _ fleet.Members) { f.lostThenFive(ctx, &fresh) })
}

// oneLate: two of the three machines run, for twice as long as their launch hooks last
// without heartbeats, before the third boots.
func (f *Fleet) oneLate(ctx context.Context, by time.Duration, boot func()) {
	f.t.Helper()
	var early []string
	f.until(ctx, "two hosts with a running agent", func(context.Context) error {
		early = nil
		for _, inst := range f.Instances() {
			if f.runs(inst.ID, "quorumd.service") {
				early = append(early, inst.ID)
			}
		}
		if len(early) != 2 {
			return fmt.Errorf("%d have one", len(early))
		}
		return nil
	})
	f.holds(ctx, by, f.noEtcd)
	for _, id := range early {
		f.reason(ctx, id, "join", "PeersSilent")
	}
	boot()
	f.Settle(ctx)
}

// lostThenFive: no machine of the cluster is left, and EC2 says so, but the group's tag
// still names it: the three new ones wait for an operator. Then one of them cannot write
// its promise, and before it can, the group wants five.
func (f *Fleet) lostThenFive(ctx context.Context, fresh *newcomers) {
	var full atomic.Pointer[lab.Host]
	fresh.set(nil, func(h *lab.Host) error {
		if !full.CompareAndSwap(nil, h) {
			return nil
		}
		_, err := h.Exec(ctx, "sh", "-ec", small("/var/lib/quorumd"))
		return err
	})
	for _, inst := range f.Instances() {
		f.Host(inst.ID).PowerOff()
	}
	lost, seen := f.Instances(), len(f.Cloud.Events())
	for _, inst := range lost {
		f.must(f.Cloud.TerminateInstance(inst.ID))
	}
	for _, inst := range lost {
		f.happens(ctx, seen, fakeaws.LeftGroup, inst.ID)
	}
	f.sitStill(ctx, 3)

	three := f.Instances()
	f.exec(ctx, full.Load(), "sh", "-ec", fill("/var/lib/quorumd"))
	f.startFresh(ctx)
	var others []string
	for _, inst := range three {
		if inst.ID != full.Load().Spec.Hostname {
			others = append(others, inst.ID)
		}
	}
	for _, id := range others {
		f.reason(ctx, id, "join", "AwaitAgreement")
		f.promises(ctx, id, 3)
	}
	f.must(f.Cloud.SetDesired(group, 5))
	for _, id := range others {
		f.said(ctx, f.Host(id), "quorumd.service", "reason=Withdraw")
	}
	f.must(f.noEtcd())
	f.exec(ctx, full.Load(), "rm", "/var/lib/quorumd/fill")
	f.Settle(ctx)
	for _, inst := range f.Instances() {
		f.said(ctx, f.Host(inst.ID), "quorumd.service", "reason=StartFirst")
		f.promises(ctx, inst.ID, 5)
	}
}

// promises waits until an agent has promised a list of so many.
func (f *Fleet) promises(ctx context.Context, id string, n int) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s to promise a list of %d", id, n), func(ctx context.Context) error {
		s, err := f.status(ctx, id)
		if p := s.Record.Promise; err == nil && (p == nil || len(p.Members) != n) {
			err = fmt.Errorf("its promise is %v", promised(p))
		}
		return err
	})
}

func promised(p *peer.Promise) (ids []string) {
	if p != nil {
		for _, m := range p.Members {
			ids = append(ids, m.Instance)
		}
	}
	return ids
}
