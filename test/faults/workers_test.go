//go:build faults && linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
	"github.com/quorumd/quorumd/test/ports"
)

const webGroup = "web"

// TestWorkers: a group of machines without etcd, which use the lock of a cluster
// elsewhere. They come into service and go by their hooks, and reboot as many at once
// as there are slots.
func TestWorkers(t *testing.T) {
	bin, err := hosts.Build(t.Context(), *etcd, *quorumd, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errors.New("not within three minutes"))
	defer cancel()
	cfg := hosts.Config{Binaries: bin, AgentRestart: 200 * time.Millisecond, AgentEnv: []string{
		"QUORUMD_ROLE=worker", "QUORUMD_CLUSTER=etcd-elsewhere", "QUORUMD_ETCD_ENDPOINTS=" + startEtcd(t, bin.Etcd),
		"QUORUMD_REBOOT_GROUP=" + webGroup, "QUORUMD_LIFECYCLE_POLL=500ms"}}
	if *logs != "" {
		cfg.Logs = filepath.Join(*logs, t.Name())
	}
	f, err := hosts.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Fleet: f, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.describe())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("launch", f.Launch(3))
	must("come into service", w.inService(3))
	must("another group's client", w.refused(f.Hosts()[0], "blue", policy.WrongGroup))
	must("one slot", w.slotsHold(1))
	must("set two slots", w.operator(f.Hosts()[1], control.Request{Kind: string(policy.LockSlots), Slots: 2}))
	must("set them again", w.operator(f.Hosts()[2], control.Request{Kind: string(policy.LockSlots), Slots: 2}))
	must("two slots", w.slotsHold(2))

	gone := f.Hosts()[0].ID
	must("shrink", f.Shrink(gone))
	e, err := w.event(func(e fakeaws.Event) bool {
		return e.Kind == fakeaws.HookCompleted && e.Instance == gone && e.Hook == hosts.TerminateHook
	})
	must("let a worker go", err)
	if strings.HasPrefix(e.By, "expired") || e.Result != fakeaws.Continue {
		t.Errorf("its hook ended with %s by %s", e.Result, e.By)
	}
	must("go on with two", w.inService(2))
}

// startEtcd runs one member until the test ends, and gives its client URL.
func startEtcd(t *testing.T, program string) string {
	t.Helper()
	own, err := ports.Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Return() }) // after etcd's end; nobody else needs just this one
	urls := []string{fmt.Sprintf("http://%s:2379", own.Addr(1)), fmt.Sprintf("http://%s:2380", own.Addr(1))}
	cmd := exec.Command(program, "--name", "m", "--data-dir", t.TempDir(), "--log-level", "error",
		"--listen-client-urls", urls[0], "--advertise-client-urls", urls[0],
		"--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1], "--initial-cluster", "m="+urls[1])
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // Wait tells of it
		_ = cmd.Wait()
	})
	return urls[0]
}

// inService waits until so many instances, and no others, are.
func (w *world) inService(n int) error {
	return fleet.Until(w.ctx, 20*time.Millisecond, "workers in service", func(context.Context) error {
		all, in := w.Instances(), 0
		for _, i := range all {
			if i.Lifecycle == fakeaws.LifecycleInService {
				in++
			}
		}
		if in != n || len(all) != n {
			return fmt.Errorf("%d of %d are", in, len(all))
		}
		return nil
	})
}

// refused asks once for the lock and expects this word.
func (w *world) refused(h *hosts.Host, group string, why policy.Reason) error {
	a, err := fleetLock(w.ctx, h, "pre-reboot", clientOf(h), group)
	if err == nil && (a.status != http.StatusConflict || a.kind != string(why)) {
		err = fmt.Errorf("answers %+v, want %s", a, why)
	}
	return err
}

// slotsHold: of all that ask, so many are granted, in whatever order, and the others
// wait for the lock, until all have given it back.
func (w *world) slotsHold(slots int) error {
	all := w.Hosts()
	granted := map[*hosts.Host]bool{}
	if err := w.await(fmt.Sprintf("%d slots to be granted", slots), func() error {
		for _, h := range all {
			a, err := fleetLock(w.ctx, h, "pre-reboot", clientOf(h), webGroup)
			if err != nil {
				return err
			}
			granted[h] = granted[h] || a.granted()
		}
		if n := held(granted); n != slots {
			return fmt.Errorf("%d are", n)
		}
		return nil
	}); err != nil {
		return err
	}
	for _, h := range all {
		if granted[h] {
			continue
		}
		if err := w.refused(h, webGroup, policy.AwaitLock); err != nil {
			return err
		}
	}
	// Everybody has asked, and everybody is done: who waited for a slot gets it, and
	// gives it back at once.
	return w.await("all to give it back", func() error {
		for _, h := range all {
			a, err := fleetLock(w.ctx, h, "steady-state", clientOf(h), webGroup)
			if err == nil && !a.granted() {
				err = fmt.Errorf("%s: %+v", h.ID, a)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func held(granted map[*hosts.Host]bool) (n int) {
	for _, ok := range granted {
		if ok {
			n++
		}
	}
	return n
}

// operator asks the agent of a host for something.
func (w *world) operator(h *hosts.Host, r control.Request) error {
	_, err := control.NewClient(h.ControlSocket()).Submit(w.ctx, r)
	return err
}
