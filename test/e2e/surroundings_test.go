//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// What a machine or AWS refuses is said, nothing is half done because of it, and once
// it is over all goes on: full disks and a read-only /etc while the first cluster is to
// form, then AWS and instance metadata away, a machine that stops in the middle of its
// leave, a full database.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	bad := &badDisks{}
	f := New(t, Config{
		Replace: fakeaws.ReplaceAfterTermination, Hook: 3 * time.Minute,
		Agent: "lifecycle: {replacement_wait: 10s}\n", Booted: bad.spoil, Provision: smallQuota,
	})
	f.firstClusterDespite(f.Within(forBootstrap), bad)

	f.step("the data directory of a member is full", forOneChange,
		func(ctx context.Context, before fleet.Members) { f.fullUnderMember(ctx, before, bad.hosts[2]) })
	f.step("AWS answers 500, and one node has no metadata, for a minute, while another is replaced", forOneChange+time.Minute,
		func(ctx context.Context, before fleet.Members) { f.awsAway(ctx, before) })
	f.step("the machine stops in the middle of its leave", forOneChange,
		func(ctx context.Context, before fleet.Members) { f.stopWhileLeaving(ctx, before) })
	f.step("NOSPACE: leaving needs no lock", forOneChange,
		func(ctx context.Context, before fleet.Members) { f.leaveWithoutSpace(ctx, before) })
}

const unitDir = "/etc/systemd/system"

// badDisks spoils the first three hosts of a fleet, each in its way.
type badDisks struct {
	mu    sync.Mutex
	hosts []*lab.Host // full state_dir, read-only units later, full data directory
}

// small is a script that puts a small file system at a directory, fill one that fills it.
// There is room again once its file "fill" is removed.
func small(dir string) string {
	return "mkdir -p " + dir + "; mount -t tmpfs -o size=256k,mode=0700 tmpfs " + dir
}

func fill(dir string) string {
	return "dd if=/dev/zero of=" + dir + "/fill bs=4k 2>/dev/null || true; test -s " + dir + "/fill"
}

func (b *badDisks) spoil(ctx context.Context, h *lab.Host) error {
	b.mu.Lock()
	n := len(b.hosts)
	b.hosts = append(b.hosts, h)
	b.mu.Unlock()
	script := []string{
		small("/var/lib/quorumd") + "; " + fill("/var/lib/quorumd"),
		// A file system of its own, which becomes read-only for all who have it mounted:
		// the agent's sandbox has mounts of its own.
		"mount -t tmpfs tmpfs /mnt; cp -a " + unitDir + "/. /mnt; mount --bind /mnt " + unitDir + "; umount /mnt",
		small("/var/lib/etcd") + "; " + fill("/var/lib/etcd"),
	}
	if n >= len(script) {
		return nil
	}
	_, err := h.Exec(ctx, "sh", "-ec", script[n])
	return err
}

func (f *Fleet) firstClusterDespite(ctx context.Context, bad *badDisks) {
	f.t.Helper()
	f.until(ctx, "three hosts with a running agent", func(context.Context) error {
		bad.mu.Lock()
		defer bad.mu.Unlock()
		if len(bad.hosts) != 3 {
			return fmt.Errorf("%d hosts", len(bad.hosts))
		}
		for _, h := range bad.hosts {
			if !f.runs(h.Spec.Hostname, "quorumd.service") {
				return errors.New(h.Spec.Hostname + " has none")
			}
		}
		return nil
	})
	full, readOnly, noData := bad.hosts[0], bad.hosts[1], bad.hosts[2]
	f.exec(ctx, readOnly, "mount", "-o", "remount,ro", unitDir)

	f.t.Log("state_dir of one is full: it says so, and there is no cluster")
	f.warned(ctx, full.Spec.Hostname, "ActionFails", "no space left on device")
	f.said(ctx, full, "quorumd.service", "no space left on device")
	if left := f.exec(ctx, full, "ls", "-A", "/var/lib/quorumd"); left != "fill\nlock" {
		f.t.Errorf("in the full state_dir are %q", left)
	}
	for _, h := range bad.hosts {
		if f.runs(h.Spec.Hostname, "etcd-member.service") {
			f.t.Errorf("etcd runs on %s", h.Spec.Hostname)
		}
	}
	f.untagged()

	f.t.Log("the data directory of another is full: it says so, and nobody begins")
	f.exec(ctx, full, "rm", "/var/lib/quorumd/fill")
	const room = "/var/lib/etcd has less than 128 MB left, which etcd needs to start"
	f.reason(ctx, noData.Spec.Hostname, "join", "AwaitRoom")
	f.warned(ctx, noData.Spec.Hostname, "NoRoom", room+": etcd stops where its disk is full")
	f.said(ctx, noData, "quorumd.service", room)
	for _, h := range []*lab.Host{full, readOnly} {
		f.reason(ctx, h.Spec.Hostname, "join", "AwaitAgreement")
	}
	for _, h := range bad.hosts {
		if f.runs(h.Spec.Hostname, "etcd-member.service") {
			f.t.Errorf("etcd runs on %s", h.Spec.Hostname)
		}
	}
	f.untagged()
	if left := f.exec(ctx, noData, "ls", "-A", "/var/lib/etcd"); left != "fill" {
		f.t.Errorf("in the full data directory are %q", left)
	}
	f.exec(ctx, noData, "sh", "-ec", "rm /var/lib/etcd/fill; mount -o remount,size=300m /var/lib/etcd")

	f.t.Log("/etc of another is read-only: it says so, and starts no etcd")
	f.warned(ctx, readOnly.Spec.Hostname, "ActionFails", "read-only file system")
	f.said(ctx, readOnly, "quorumd.service", "read-only file system")
	if f.runs(readOnly.Spec.Hostname, "etcd-member.service") {
		f.t.Error("etcd runs with what was never written")
	}
	if left := f.exec(ctx, readOnly, "ls", unitDir+"/etcd-member.service.d"); strings.Contains(left, "90-quorumd") {
		f.t.Errorf("drop-ins: %s", left)
	}

	f.exec(ctx, readOnly, "mount", "-o", "remount,rw", unitDir)
	f.Settle(ctx)
}

// fullUnderMember: etcd stops where its disk is full, the agent says so by itself and leaves
// the data where it is, and with room again it is the same member.
func (f *Fleet) fullUnderMember(ctx context.Context, before fleet.Members, h *lab.Host) {
	f.exec(ctx, h, "sh", "-ec", fill("/var/lib/etcd"))
	f.warned(ctx, h.Spec.Hostname, "NoRoom", "/var/lib/etcd has less than 128 MB left")
	client, err := f.client(f.Endpoints()...)
	f.must(err)
	defer client.Close()
	for range 4 { // more than fits into the pages that the database has
		f.until(ctx, "a large write", func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, err := client.Put(ctx, "large", strings.Repeat("x", 1<<20))
			return err
		})
	}
	f.said(ctx, h, "etcd-member.service", "no space left on device")
	f.exec(ctx, h, "rm", "/var/lib/etcd/fill")
	f.wantKept(ctx, before, 3)
	if left := f.exec(ctx, h, "ls", "-A", "/var/lib/etcd"); left != "member" {
		f.t.Errorf("in the data directory are %q", left)
	}
}

// untagged: nobody has written a cluster's id on the group.
func (f *Fleet) untagged() {
	f.t.Helper()
	if g, _ := f.Cloud.Group(group); len(g.Tags) != 0 {
		f.t.Errorf("the group has tags %v", g.Tags)
	}
}

func (f *Fleet) awsAway(ctx context.Context, before fleet.Members) {
	ids := f.followers(ctx)
	metadata, err := f.Cloud.AddFault(fakeaws.Fault{Kind: fakeaws.Outage, Service: "imds", Instance: ids[1]})
	f.must(err)
	f.reason(ctx, ids[1], "leave", "LifecycleUnknown") // and it stays: nothing says that it is told to go
	f.awsFails(ctx, fakeaws.Outage, ids[0])
	f.Cloud.RemoveFault(metadata)
	f.wantKept(ctx, before, 2)
}

// stopWhileLeaving: the group tells an instance to go, and while its agent waits for
// its replacement something stops the machine. quorumd-shutdown.service holds the stop
// until the member is out.
func (f *Fleet) stopWhileLeaving(ctx context.Context, before fleet.Members) {
	id := f.followers(ctx)[0]
	h := f.Host(id)
	f.sees(ctx, id, len(before)) // it waits for as many voters as it knows of at the notice
	f.must(f.Cloud.TerminateInGroup(id, false))
	f.reason(ctx, id, "leave", "AwaitReplacement")
	began := time.Now()
	f.must(h.Shutdown(ctx))
	f.t.Logf("the stop took %.1fs", time.Since(began).Seconds())
	members, err := f.Members(ctx)
	if err != nil || members[id] != nil {
		f.t.Errorf("the machine is off and the members are %s: %v", members, err)
	}
	f.said(ctx, h, "quorumd-shutdown.service", "Leaving: ")
	f.said(ctx, h, "quorumd-shutdown.service", "Nothing to wait for: ")
	f.wantKept(ctx, before, 2)
}

const quota = 16 << 20

func smallQuota(h *lab.Host) error {
	return h.WriteFile("/etc/systemd/system/etcd-member.service.d/60-quota.conf",
		fmt.Appendf(nil, "[Service]\nEnvironment=ETCD_QUOTA_BACKEND_BYTES=%d\n", quota), 0o644)
}

func (f *Fleet) leaveWithoutSpace(ctx context.Context, before fleet.Members) {
	client, err := f.client(f.Endpoints()...)
	f.must(err)
	defer client.Close()
	big := strings.Repeat("x", 1<<20)
	for n := 0; err == nil; n++ {
		if n > 2*quota>>20 {
			f.t.Fatal("the quota is never reached")
		}
		_, err = client.Put(ctx, "big", big)
	}
	if !strings.Contains(err.Error(), "database space exceeded") {
		f.t.Fatal(err)
	}
	ids := f.followers(ctx)
	f.warned(ctx, ids[1], "NoSpace", "member ")
	seen := len(f.Cloud.Events())
	f.must(f.Cloud.TerminateInGroup(ids[0], false))
	_, err = f.Cloud.AwaitEvent(ctx, func(e fakeaws.Event) bool {
		return e.Seq > seen && e.Kind == fakeaws.BecameTerminated && e.Instance == ids[0]
	})
	f.must(err)
	log, err := f.Host(ids[0]).Journal(ctx, "quorumd.service")
	if err != nil || strings.Contains(string(log), "take-slot") {
		f.t.Errorf("%s took the lock, which nobody could write: %v", ids[0], err)
	}
	f.must(f.makeSpace(ctx))
	f.wantKept(ctx, before, 2)
}

// makeSpace is what an operator does.
func (f *Fleet) makeSpace(ctx context.Context) error {
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		return err
	}
	defer client.Close()
	now, err := client.Get(ctx, "big", clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	return fleet.FreeSpace(ctx, client, f.Endpoints(), now.Header.Revision, quota)
}
