//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

const etcdUnit = "etcd-member.service"

// Frozen etcds come back by being restarted, alone or in agreement, and nothing else is
// restarted; where a restart would not help, or somebody else has a leader, nothing is.
// Between two plans the agents wait for their cooldown, which the steps fill.
func TestStuck(t *testing.T) {
	t.Parallel()
	f := New(t, Config{Agent: "force_election: {after: 10s, cooldown: 1m}\n"})
	f.Settle(f.Within(forBootstrap))

	f.step("one frozen while there is a leader", forOneChange, func(ctx context.Context, before fleet.Members) {
		id := f.followers(ctx)[0]
		f.restarts(ctx, map[string]int{id: 1}, func() { f.freeze(id) })
		f.said(ctx, f.Host(id), "quorumd.service", "reason=FrozenMember")
		f.wantKept(ctx, before, 3)
	})
	f.step("a majority frozen, the leader among them", forOneChange, f.freezeMajority)
	f.step("a leader that does not hear one of the others, which hears it", forOneChange, func(ctx context.Context, before fleet.Members) {
		leader, other := f.Leader(ctx), f.followers(ctx)[0]
		f.restarts(ctx, nil, func() {
			stop, err := f.Host(leader).Deaf(f.Host(other).Spec.Addr)
			f.must(err)
			f.holds(ctx, 15*time.Second, func() error { return nil }) // the count tells
			f.must(stop())
		})
		f.wantKept(ctx, before, 3)
	})
	f.step("the leader cut off from the other two", forOneChange, func(ctx context.Context, before fleet.Members) {
		leader := f.Leader(ctx)
		f.restarts(ctx, nil, func() {
			f.must(f.Host(leader).LinkDown())
			f.said(ctx, f.Host(leader), "quorumd.service", "reason=PeersUnreachable")
			f.holds(ctx, 15*time.Second, func() error { return nil })
			f.must(f.Host(leader).LinkUp())
		})
		f.wantKept(ctx, before, 3)
	})
	f.step("all frozen, and one machine off", forOneChange, func(ctx context.Context, before fleet.Members) {
		off, left := f.followers(ctx)[0], []string{f.Leader(ctx), f.followers(ctx)[1]}
		was := map[string]int{}
		for _, id := range left {
			var err error
			was[id], err = f.starts(ctx, id)
			f.must(err)
		}
		// The machine's own boot starts its etcd.
		f.restarts(ctx, map[string]int{off: 1, left[0]: 1, left[1]: 1}, func() {
			f.freeze(off, left[0], left[1])
			f.Host(off).PowerOff()
			f.until(ctx, "a leader of the two that are left", func(ctx context.Context) error {
				for _, id := range left {
					if n, err := f.starts(ctx, id); err != nil || n == was[id] {
						return fmt.Errorf("%s is not started again: %v", id, err)
					}
				}
				_, err := f.Observer.Leader(ctx)
				return err
			})
			f.must(f.Host(off).Boot())
			f.must(f.Host(off).WaitBooted(ctx))
		})
		f.wantKept(ctx, before, 3)
	})
}

// A majority frozen, with the other versions of etcd that are supported.
func TestStuckOfEtcd(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.5", "3.7"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := New(t, Config{Etcd: version, Agent: "force_election: {after: 10s}\n"})
			f.Settle(f.Within(forBootstrap))
			f.step("a majority frozen, the leader among them", forOneChange, f.freezeMajority)
		})
	}
}

// freezeMajority stops the leader's etcd and another one's; each is restarted once.
func (f *Fleet) freezeMajority(ctx context.Context, before fleet.Members) {
	leader, other := f.Leader(ctx), f.followers(ctx)[1]
	f.restarts(ctx, map[string]int{leader: 1, other: 1}, func() { f.freeze(leader, other) })
	f.wantKept(ctx, before, 3)
}

// Of five, two are cut off from the other three, the leader on either side. The three go on
// or elect a leader by themselves, the two must not touch their etcds: they cannot know what
// the others have.
func TestPartitionOfFive(t *testing.T) {
	t.Parallel()
	f := New(t, Config{Size: 5, Agent: "force_election: {after: 10s, cooldown: 1m}\n"})
	f.Settle(f.Within(forBootstrap))

	for _, c := range []struct {
		name  string
		minor func(ctx context.Context) []string
	}{
		{"two of five cut off, the leader is one of them", func(ctx context.Context) []string { return []string{f.Leader(ctx), f.followers(ctx)[0]} }},
		{"two of five cut off, the leader is not", func(ctx context.Context) []string { return f.followers(ctx)[:2] }},
	} {
		f.step(c.name, forOneChange, func(ctx context.Context, before fleet.Members) {
			minor := c.minor(ctx)
			f.restarts(ctx, nil, func() {
				heal := f.partition(minor)
				for _, id := range minor {
					f.reason(ctx, id, "election", string(policy.PeersUnreachable))
				}
				f.holds(ctx, 15*time.Second, func() error { return nil }) // longer than "after"; the count tells
				if leader := f.Leader(ctx); slices.Contains(minor, leader) {
					t.Errorf("%s leads, cut off from the majority", leader)
				}
				f.must(heal())
			})
			f.wantKept(ctx, before, 5)
		})
	}
}

// The leader's disk stands still: writes to its data wait in the kernel. etcd elects another
// leader by itself; the agents name the one that still believes in itself, and add nothing.
func TestStalledDisk(t *testing.T) {
	t.Parallel()
	f := New(t, Config{Agent: "force_election: {after: 10s, cooldown: 1m}\n",
		Provision: func(h *lab.Host) error { return h.AddDisk("/var/lib/etcd", 512<<20) }})
	f.Settle(f.Within(forBootstrap))

	f.step("the disk of the leader stalls", forOneChange, func(ctx context.Context, before fleet.Members) {
		was, other := f.Leader(ctx), f.followers(ctx)[0]
		f.restarts(ctx, nil, func() {
			f.must(f.Host(was).StallDisk())
			// Another one leads by that: the old one may still say of itself that it does.
			f.reason(ctx, other, "election", string(policy.LeaderStalled))
			f.reason(ctx, was, "election", string(policy.LeaderStalled))
			f.holds(ctx, 15*time.Second, func() error { return nil }) // the count tells
			f.must(f.Host(was).ThawDisk())
		})
		f.reason(ctx, was, "election", string(policy.LeaderKnown))
		f.wantKept(ctx, before, 3)
	})
}

// partition cuts some hosts off from all others of the fleet.
func (f *Fleet) partition(minor []string) (heal func() error) {
	f.t.Helper()
	var others []netip.Addr
	for _, inst := range f.Instances() {
		if !slices.Contains(minor, inst.ID) {
			others = append(others, f.Host(inst.ID).Spec.Addr)
		}
	}
	var heals []func() error
	for _, id := range minor {
		stop, err := f.Host(id).CutPeers(others...)
		f.must(err)
		heals = append(heals, stop)
	}
	return func() (err error) {
		for _, stop := range heals {
			err = errors.Join(err, stop())
		}
		return err
	}
}

// freeze stops the etcds of some hosts; only a restart brings them back.
func (f *Fleet) freeze(ids ...string) {
	f.t.Helper()
	for _, id := range ids {
		if f.Host(id).Kill(etcdUnit, syscall.SIGSTOP) == 0 {
			f.t.Fatalf("no etcd runs on %s", id)
		}
	}
}

// starts is how often systemd has started the etcd of an instance, over all boots.
func (f *Fleet) starts(ctx context.Context, id string) (int, error) {
	log, err := f.Host(id).Journal(ctx, etcdUnit)
	return strings.Count(string(log), "]: Starting "+etcdUnit), err
}

// restarts has something happen, waits until the fleet has settled, and checks how
// often each etcd was started meanwhile.
func (f *Fleet) restarts(ctx context.Context, want map[string]int, happens func()) {
	f.t.Helper()
	before := map[string]int{}
	for _, inst := range f.Instances() {
		n, err := f.starts(ctx, inst.ID)
		if err == nil && n == 0 {
			err = errors.New("its journal does not tell")
		}
		f.must(err)
		before[inst.ID] = n
	}
	happens()
	f.Settle(ctx)
	for id, n := range before {
		now, err := f.starts(ctx, id)
		f.must(err)
		if now-n != want[id] {
			f.t.Errorf("etcd of %s was started %d times, want %d", id, now-n, want[id])
		}
	}
}
