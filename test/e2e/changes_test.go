//go:build e2e && linux

package e2e

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// The group changes while links are bad, several are told to go at once, machines
// and disks are lost; with hooks that time out after 30 s. Everything of the fleet
// is on real systemd hosts; forming it is most of what a scenario would take alone.
func TestChanges(t *testing.T) {
	t.Parallel()
	var slow slowLinks
	f := New(t, Config{Hook: 30 * time.Second, Provision: slow.add})
	f.Settle(f.Within(forBootstrap))

	f.step("etcd's links late by 50 ms each way, 5 % of packets lost: the leader replaced", forOneChange, func(ctx context.Context, before fleet.Members) {
		f.must(slow.on(f.Lab.Hosts()))
		f.must(f.Cloud.TerminateInGroup(f.Leader(ctx), false))
		f.wantKept(ctx, before, 2)
		f.must(slow.off())
	})
	f.step("two of three told to go at once", 2*forOneChange, func(ctx context.Context, before fleet.Members) {
		for _, id := range []string{f.Leader(ctx), f.followers(ctx)[0]} {
			f.must(f.Cloud.TerminateInGroup(id, false))
		}
		f.wantKept(ctx, before, 1)
	})
	f.step("scale to 1", forOneChange, func(ctx context.Context, before fleet.Members) {
		f.must(f.Cloud.SetDesired(group, 1))
		f.wantKept(ctx, before, 1)
	})
	f.step("and back to 3", forOneChange, func(ctx context.Context, before fleet.Members) {
		f.must(f.Cloud.SetDesired(group, 3))
		f.wantKept(ctx, before, 1)
	})
	f.step("powered off without notice, replaced at its address", forOneChange, func(ctx context.Context, before fleet.Members) {
		lost, seen := f.followers(ctx)[0], len(f.Cloud.Events())
		was, _ := f.Cloud.Instance(lost)
		// The group is held back until EC2 has the address again, which is the lowest
		// free one then.
		f.must(f.Cloud.Suspend(group, "Launch"))
		f.Host(lost).PowerOff()
		f.must(f.Cloud.TerminateInstance(lost))
		_, err := f.Cloud.AwaitEvent(ctx, func(e fakeaws.Event) bool { return e.Seq > seen && e.Kind == fakeaws.LeftGroup })
		f.must(err)
		f.must(f.Cloud.Resume(group, "Launch"))
		f.wantKept(ctx, before, 2)
		if inst := f.launchedSince(seen); inst.PrivateIP != was.PrivateIP {
			t.Errorf("the replacement is at %s, the dead voter was at %s: this proves nothing", inst.PrivateIP, was.PrivateIP)
		}
	})
	f.step("root volume wiped under a running instance id", forOneChange, func(ctx context.Context, before fleet.Members) {
		id := f.followers(ctx)[0]
		h := f.Host(id)
		h.PowerOff()
		f.must(h.Wipe())
		f.must(f.install(ctx, h))
		f.wantKept(ctx, before, 2)
		if after := f.Settle(ctx); after[id].ID == before[id].ID {
			t.Errorf("%s came back as member %x without its data", id, after[id].ID)
		}
	})
	f.step("etcd's data wiped, and what it starts with names members of another time", forOneChange, func(ctx context.Context, before fleet.Members) {
		f.staleInitialCluster(ctx, before)
	})
}

// staleInitialCluster wipes the data of an etcd whose drop-in is from another time, while
// its agent is off. (etcd fails at every start with a list that is not the cluster's.)
func (f *Fleet) staleInitialCluster(ctx context.Context, before fleet.Members) {
	id := f.followers(ctx)[0]
	h := f.Host(id)
	const dropIn = unitDir + "/etcd-member.service.d/90-quorumd.conf"
	f.exec(ctx, h, "systemctl", "stop", "quorumd.service", "etcd-member.service")
	f.exec(ctx, h, "sh", "-ec", "rm -r /var/lib/etcd/member; sed -i 's|ETCD_INITIAL_CLUSTER=|&i-stranger=http://10.77.0.99:2380,|' "+dropIn)
	if text, err := h.ReadFile(dropIn); err != nil || !strings.Contains(string(text), "i-stranger") {
		f.t.Fatalf("the drop-in has no initial cluster: %v\n%s", err, text)
	}
	f.reboot(ctx, h)
	f.wantKept(ctx, before, 2)
	if after := f.Settle(ctx); after[id].ID == before[id].ID {
		f.t.Errorf("%s came back as member %x without its data", id, after[id].ID)
	}
	if text, err := h.ReadFile(dropIn); err != nil || strings.Contains(string(text), "i-stranger") {
		f.t.Errorf("the stranger is still in the drop-in: %v\n%s", err, text)
	}
}

// slowLinks makes the links of a fleet's etcds slow, those of new hosts too.
type slowLinks struct {
	mu    sync.Mutex
	isOn  bool
	stops []func() error
}

const etcdPeers = 2380

func (s *slowLinks) add(h *lab.Host) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isOn {
		return nil
	}
	stop, err := h.SlowLink(etcdPeers, 50*time.Millisecond, 5)
	if err == nil {
		s.stops = append(s.stops, stop)
	}
	return err
}

// on cuts the connections there are; they are made anew slowly.
func (s *slowLinks) on(hosts []*lab.Host) error {
	s.mu.Lock()
	s.isOn = true
	s.mu.Unlock()
	for _, h := range hosts {
		if err := s.add(h); err != nil {
			return err
		}
	}
	return nil
}

// off ends all of it; connections through the proxies break.
func (s *slowLinks) off() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isOn = false
	for _, stop := range s.stops {
		if err := stop(); err != nil {
			return err
		}
	}
	s.stops = nil
	return nil
}
