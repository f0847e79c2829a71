//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// Settle waits until the fleet is as the group wants it and etcd agrees, then
// checks all that must hold now and at every moment before, and returns the
// members. It fails the test otherwise.
func (f *Fleet) Settle(ctx context.Context) fleet.Members {
	f.t.Helper()
	begin := time.Now()
	members, err := f.Observer.Settle(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Logf("settled after %.1fs: %s", time.Since(begin).Seconds(), members)
	f.checkWrites(ctx)
	if err := errors.Join(f.Broken(), f.CheckHooks(0, nil)); err != nil {
		f.t.Fatal(err)
	}
	return members
}

func (f *Fleet) checkWrites(ctx context.Context) {
	f.t.Helper()
	// One more acknowledgement first: the cluster takes writes again.
	before := f.Writer.Acked()
	if err := fleet.Until(ctx, 50*time.Millisecond, "a write", func(context.Context) error {
		if n := f.Writer.Acked(); n == before {
			return fmt.Errorf("none since the %d before", n)
		}
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		f.t.Fatal(err)
	}
	defer client.Close()
	if err := f.Writer.Check(ctx, client); err != nil {
		f.t.Fatal(err)
	}
}

// machineIsWell asks the systemd of a host: agent and etcd run.
func (f *Fleet) machineIsWell(ctx context.Context, inst fakeaws.Instance) error {
	f.mu.Lock()
	h := f.hosts[inst.ID]
	f.mu.Unlock()
	if h == nil {
		return errors.New("it has no host")
	}
	for _, unit := range []string{"etcd-member.service", "quorumd.service"} {
		if out, err := h.Exec(ctx, "systemctl", "is-active", unit); err != nil {
			return fmt.Errorf("%s is %s", unit, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// Leader is the instance whose member leads.
func (f *Fleet) Leader(ctx context.Context) string {
	f.t.Helper()
	id, err := f.Observer.Leader(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// dump writes, of a test that failed, what tells why.
func (f *Fleet) dump() {
	if !f.t.Failed() {
		return
	}
	dir := filepath.Join(lab.Repo(), ".cache/e2e", strings.ReplaceAll(f.t.Name(), "/", "_"))
	_ = os.RemoveAll(dir) // of an earlier run
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var events strings.Builder
	for _, e := range f.Cloud.Events() {
		fmt.Fprintf(&events, "%s %-16s %s %s %s %s %s\n", e.At.Format("15:04:05.000"), e.Kind, e.Instance, e.Hook, e.Result, e.By, e.Note)
	}
	save := func(name string, data []byte, err error) {
		if err != nil {
			data = append(data, err.Error()...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			f.t.Error(err)
		}
	}
	save("events.log", []byte(events.String()), nil)
	f.mu.Lock()
	hosts := maps.Clone(f.hosts)
	f.mu.Unlock()
	for id, h := range hosts {
		for _, unit := range []string{"quorumd.service", "etcd-member.service", ""} {
			data, err := h.Journal(ctx, unit)
			save(id+"."+strings.TrimSuffix("journal."+unit, "."), data, err)
		}
	}
	f.t.Logf("journals and events: %s\n%s", dir, events.String())
}
