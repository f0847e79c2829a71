package units_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quorumd/quorumd/units"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

func TestStateThroughALife(t *testing.T) {
	m := boot(t, "ready", nil)
	fresh := m.state(t)
	want := units.UnitState{Name: etcd, LoadState: "loaded", ActiveState: "inactive", SubState: "dead", Result: "success"}
	if diff := cmp.Diff(want, fresh); diff != "" {
		t.Errorf("before the first start (-want +got):\n%s", diff)
	}

	m.must(t, m.conn.Start)
	up := m.until(t, "active", active)
	if up.MainPID == 0 || up.InvocationID == "" || up.StateChange.IsZero() || !up.ConditionResult {
		t.Errorf("active state lacks something: %+v", up)
	}
	if got := m.UnitPID(etcd); got != up.MainPID {
		t.Errorf("pid %d on the bus, %d in the host", up.MainPID, got)
	}

	m.must(t, m.conn.Restart)
	again := m.until(t, "another invocation", func(st units.UnitState) bool {
		return active(st) && st.InvocationID != up.InvocationID
	})
	if again.NRestarts != 0 {
		t.Errorf("a restart by hand counts as %d automatic ones", again.NRestarts)
	}
	if !gone(up.MainPID) {
		t.Errorf("process %d outlives its restart", up.MainPID)
	}

	m.must(t, m.conn.Stop)
	down := m.state(t)
	down.StateChange, down.InvocationID = time.Time{}, ""
	want.ConditionResult = true
	if diff := cmp.Diff(want, down); diff != "" {
		t.Errorf("after the stop (-want +got):\n%s", diff)
	}
	if !gone(again.MainPID) {
		t.Errorf("process %d outlives its stop", again.MainPID)
	}
}

// etcd without quorum does not become ready. Neither Start nor Restart may wait
// for it, and Stop must be able to end it.
func TestStartDoesNotWaitForReady(t *testing.T) {
	m := boot(t, "wait", nil)
	m.must(t, m.conn.Start)
	first := m.until(t, "running", running)
	if first.ActiveState != units.ActiveStateActivating || first.JobID == 0 {
		t.Errorf("not ready, but %s with job %d", first.ActiveState, first.JobID)
	}
	m.must(t, m.conn.Restart)
	second := m.until(t, "restarted", func(st units.UnitState) bool {
		return st.Running() && st.InvocationID != first.InvocationID
	})
	m.must(t, m.conn.Stop)
	if st := m.state(t); !st.Stopped() || st.JobID != 0 || !gone(second.MainPID) {
		t.Errorf("not stopped: %+v", st)
	}

	m.must(t, m.conn.Start)
	m.until(t, "waiting", func(st units.UnitState) bool { return st.StatusText == "waiting" })
	if err := m.KillUnit(etcd, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if st := m.until(t, "active", active); st.JobID != 0 {
		t.Errorf("active with job %d left", st.JobID)
	}
}

func TestStopWaitsForADeafProcess(t *testing.T) {
	m := boot(t, "deaf", func(u *fakesystemd.Unit) { u.StopTimeout = 50 * time.Millisecond })
	m.must(t, m.conn.Start)
	up := m.until(t, "active", active)
	m.must(t, m.conn.Stop)
	st := m.state(t)
	if st.ActiveState != units.ActiveStateFailed || st.Result != "timeout" || !gone(up.MainPID) {
		t.Errorf("after the stop: %+v", st)
	}
	if err := m.conn.ResetFailed(patience(t), etcd); err != nil {
		t.Fatal(err)
	}
	if st := m.state(t); st.ActiveState != units.ActiveStateInactive {
		t.Errorf("after the reset: %+v", st)
	}
}

func TestStopEndsWithItsContext(t *testing.T) {
	m := boot(t, "deaf", func(u *fakesystemd.Unit) { u.StopTimeout = time.Hour })
	m.must(t, m.conn.Start)
	m.until(t, "active", active)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- m.conn.Stop(ctx, etcd) }()
	m.until(t, "deactivating", func(st units.UnitState) bool { return st.ActiveState == units.ActiveStateDeactivating })
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

// A stop must also win over Restart=always, between two runs.
func TestStopEndsARestartLoop(t *testing.T) {
	m := boot(t, "fail", func(u *fakesystemd.Unit) { u.RestartDelay = time.Millisecond })
	m.must(t, m.conn.Start)
	loop := m.until(t, "restarting", func(st units.UnitState) bool { return st.NRestarts >= 2 })
	if loop.Stopped() {
		t.Errorf("a looping unit counts as stopped: %+v", loop)
	}
	m.must(t, m.conn.Stop)
	if st := m.state(t); !st.Stopped() || st.JobID != 0 {
		t.Errorf("after the stop: %+v", st)
	}
}

func TestKilledUnitIsRestarted(t *testing.T) {
	m := boot(t, "ready", func(u *fakesystemd.Unit) { u.RestartDelay = time.Millisecond })
	m.must(t, m.conn.Start)
	up := m.until(t, "active", active)
	if err := m.KillUnit(etcd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	again := m.until(t, "active again", func(st units.UnitState) bool { return active(st) && st.MainPID != up.MainPID })
	if again.NRestarts != 1 {
		t.Errorf("NRestarts is %d, want 1", again.NRestarts)
	}
}

func TestConditionNotMet(t *testing.T) {
	m := boot(t, "ready", nil)
	state := t.TempDir()
	marker, asked := filepath.Join(state, "etcd-allowed"), filepath.Join(state, "asked")
	guard, err := units.Guard(state, "/srv/data")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"ConditionPathExists=" + marker, "ExecCondition=+/bin/sh -c 'test ! -x /opt/bin/quorumd || exec /opt/bin/quorumd guard --state-dir " + state + " --data-dir /srv/data'"} {
		if !strings.Contains(string(guard), "\n"+line+"\n") {
			t.Fatalf("guard lacks %s:\n%s", line, guard)
		}
	}
	// The binary is a script that says what the file "asked" holds.
	binary := filepath.Join(state, "quorumd")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\nexit $(cat "+asked+")\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	guard = bytes.ReplaceAll(guard, []byte("/opt/bin/quorumd"), []byte(binary))
	if _, err := m.Dirs().WriteDropIn(units.DropIn{Unit: etcd, Name: "10-quorumd-guard.conf", Content: guard}); err != nil {
		t.Fatal(err)
	}
	if err := m.conn.Reload(patience(t)); err != nil {
		t.Fatal(err)
	}
	m.must(t, m.conn.Start)
	want := units.UnitState{Name: etcd, LoadState: "loaded", ActiveState: "inactive", SubState: "dead", Result: "success"}
	if diff := cmp.Diff(want, m.state(t)); diff != "" {
		t.Errorf("started without its marker (-want +got):\n%s", diff)
	}
	say := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	say(marker, "")
	say(asked, "1")
	m.must(t, m.conn.Start)
	want.ConditionResult, want.Result = true, "exec-condition"
	if diff := cmp.Diff(want, m.state(t), cmpopts.IgnoreFields(units.UnitState{}, "StateChange")); diff != "" {
		t.Errorf("started although the binary says no (-want +got):\n%s", diff)
	}
	say(asked, "0")
	m.must(t, m.conn.Start)
	if st := m.until(t, "active", active); !st.ConditionResult {
		t.Error("active, but the condition is said not to hold")
	}
}

func TestUnitNotFound(t *testing.T) {
	m := boot(t, "ready", nil)
	ctx := patience(t)
	st, err := m.conn.State(ctx, "none-such@1.service")
	if err != nil {
		t.Fatal(err)
	}
	want := units.UnitState{Name: "none-such@1.service", LoadState: "not-found", ActiveState: "inactive", SubState: "dead", Result: "success"}
	if diff := cmp.Diff(want, st); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if err := m.conn.Stop(ctx, "none-such@1.service"); err != nil {
		t.Errorf("stop of a unit that does not exist: %v", err)
	}
	if err := m.conn.ResetFailed(ctx, "none-such@1.service"); err != nil {
		t.Errorf("reset of a unit that does not exist: %v", err)
	}
	var derr dbus.Error
	if err := m.conn.Start(ctx, "none-such@1.service"); !errors.As(err, &derr) || !strings.HasPrefix(err.Error(), "start none-such@1.service: ") {
		t.Errorf("start of a unit that does not exist: %v", err)
	}
}

func TestReconnect(t *testing.T) {
	m := boot(t, "ready", func(u *fakesystemd.Unit) { u.RestartDelay = time.Millisecond })
	states, watched := make(chan units.UnitState, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(patience(t))
	go func() {
		watched <- m.conn.Watch(ctx, etcd, func(st units.UnitState, err error) {
			if err == nil {
				states <- st
			}
		})
	}()
	wait := func(what string, cond func(units.UnitState) bool) {
		t.Helper()
		for {
			select {
			case st := <-states:
				if cond(st) {
					return
				}
			case <-ctx.Done():
				t.Fatal("watch never saw etcd " + what)
			}
		}
	}
	wait("inactive", units.UnitState.Stopped)
	for range 3 {
		m.StopBus()
		// It changes while nobody can be told.
		if err := m.Host.StartUnit(etcd); err != nil {
			t.Fatal(err)
		}
		if _, err := m.WaitUnit(ctx, etcd, active); err != nil {
			t.Fatal(err)
		}
		if err := m.StartBus(); err != nil {
			t.Fatal(err)
		}
		wait("active", active)
		// Signals flow again, and so do calls.
		m.must(t, m.conn.Stop)
		wait("stopped", units.UnitState.Stopped)
	}
	cancel()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Errorf("watch ended with %v", err)
	}
}

func TestWithoutABus(t *testing.T) {
	m := boot(t, "ready", nil)
	m.StopBus()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	// A broken connection or the end of the patience, whichever is seen first.
	if _, err := m.conn.State(short, etcd); err == nil || !strings.HasPrefix(err.Error(), "read state of "+etcd+": ") {
		t.Errorf("state without a bus: %v", err)
	}
	if _, err := units.Dial(patience(t), units.Options{}); err == nil || !strings.HasPrefix(err.Error(), "connect to systemd: ") {
		t.Errorf("dial without a bus: %v", err)
	}
	m.conn.Close()
	if _, err := m.conn.State(patience(t), etcd); !errors.Is(err, units.ErrClosed) {
		t.Errorf("state after close: %v", err)
	}
	if err := m.conn.Watch(patience(t), etcd, func(units.UnitState, error) {}); !errors.Is(err, units.ErrClosed) {
		t.Errorf("watch after close: %v", err)
	}
}

// Dial must give up on a bus that accepts and then says nothing.
func TestDialAMuteBus(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := units.Dial(ctx, units.Options{Connect: func(ctx context.Context) (*dbus.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	if err == nil {
		t.Fatal("connected to nothing")
	}
}

func TestWatchRereads(t *testing.T) {
	boot(t, "ready", nil)
	conn, err := units.Dial(patience(t), units.Options{Reread: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(patience(t))
	n := 0
	err = conn.Watch(ctx, etcd, func(st units.UnitState, err error) {
		if err != nil {
			t.Error(err)
		}
		if n++; n == 5 { // nothing changes, so all but two come from the clock
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || n < 5 {
		t.Errorf("watch ended with %v after %d readings", err, n)
	}
}
