//go:build e2e && linux

package e2e

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quorumd/quorumd/test/lab"
)

// Without the agent etcd starts at boot where it was allowed to, with the data that
// was there, and nowhere else: not on a wiped volume, not on a copy of the disk.
func TestGuard(t *testing.T) {
	t.Parallel()
	var original atomic.Pointer[lab.Host] // whose disk a new host has, units and machine id included
	f := New(t, Config{Provision: func(h *lab.Host) error {
		from := original.Load()
		if from == nil {
			return nil
		}
		return h.CopyFrom(t.Context(), from, "/etc/machine-id", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/sysusers.d",
			"/etc/systemd/system", "/etc/quorumd", "/opt/bin/quorumd", "/opt/bin/etcd", "/var/lib/quorumd", "/var/lib/etcd")
	}})
	before := f.Settle(f.Within(forBootstrap))
	ctx := f.Within(forOneChange)
	id := f.followers(ctx)[0]
	h := f.Host(id)

	t.Log("a boot without the agent")
	f.exec(ctx, h, "systemctl", "disable", "quorumd.service")
	f.reboot(ctx, h)
	f.state(ctx, h, "etcd-member.service", "ActiveState", "active")
	f.state(ctx, h, "quorumd.service", "ActiveState", "inactive")

	t.Log("its data directory is wiped")
	f.exec(ctx, h, "systemctl", "kill", "--signal=SIGKILL", "etcd-member.service")
	f.exec(ctx, h, "rm", "-rf", "/var/lib/etcd/member")
	f.state(ctx, h, "etcd-member.service", "Result", "exec-condition") // not even systemd's own restart
	f.reboot(ctx, h)
	f.state(ctx, h, "etcd-member.service", "Result", "exec-condition")
	f.state(ctx, h, "etcd-member.service", "ActiveState", "inactive")
	f.said(ctx, h, "etcd-member.service", "it would come back as a member that forgot its vote")
	f.exec(ctx, h, "systemctl", "enable", "--now", "quorumd.service")
	after := f.Settle(ctx)
	if kept := before.Kept(after); kept != 2 {
		t.Errorf("%d members are the same as before, want the 2 others of %s", kept, id)
	}

	t.Log("a machine made of its disk")
	ctx = f.Within(forOneChange)
	original.Store(h)
	seen := len(f.Cloud.Events())
	if err := f.Cloud.SetDesired(group, 4); err != nil {
		t.Fatal(err)
	}
	four := f.Settle(ctx)
	if kept := after.Kept(four); kept != 3 {
		t.Errorf("%d of 3 members are the same as before", kept)
	}
	made := f.launchedSince(seen)
	f.said(ctx, f.Host(made.ID), "etcd-member.service", "a copy must not start as the same member")
	// And its own data is not what it was given.
	if out := f.exec(ctx, f.Host(made.ID), "sh", "-c", "ls -d /var/lib/etcd.archive/*"); !strings.Contains(out, "instance-"+id) {
		t.Errorf("archived on %s: %q, want the data of %s", made.ID, out, id)
	}
}
