package units_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumd/quorumd/units"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

// roleVar makes the test binary play a service instead of running tests.
const roleVar = "UNITS_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVar); role != "" {
		if err := service(role); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// quickExit spares a race-enabled service the second it lingers before its exit.
const quickExit = "GORACE=atexit_sleep_ms=0"

// service is what the test binary does as a unit's process: it begins to listen
// to signals, says READY as its role demands and runs until SIGTERM.
//
//	ready   READY at once
//	wait    STATUS=waiting, READY only at SIGUSR1, like an etcd that gets a leader then
//	env     write the environment to the file $OUT first, then like ready
//	deaf    like ready, but SIGTERM does not end it
//	fail    end at once with an error
func service(role string) error {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1)
	switch role {
	case "fail":
		return fmt.Errorf("told to fail")
	case "env":
		data, err := json.Marshal(os.Environ())
		if err != nil {
			return err
		}
		if err := os.WriteFile(os.Getenv("OUT"), data, 0o600); err != nil {
			return err
		}
	}
	ready := func() error { return units.Notifier{}.Ready() }
	if role == "wait" {
		ready = func() error { return units.Notifier{}.Status("waiting") }
	}
	if err := ready(); err != nil {
		return err
	}
	for sig := range signals {
		switch {
		case sig == syscall.SIGUSR1:
			if err := (units.Notifier{}).Ready(); err != nil {
				return err
			}
		case role != "deaf":
			return nil
		}
	}
	return nil
}

const etcd = "etcd-member.service"

// machine is a Host with one unit and a connection to it.
type machine struct {
	*fakesystemd.Host
	conn *units.Conn
}

func boot(t *testing.T, role string, adjust func(*fakesystemd.Unit)) machine {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := fakesystemd.Unit{
		Name: etcd, ExecStart: []string{self}, Env: []string{roleVar + "=" + role, quickExit},
		NotifyReady: true, Restart: true, Stdout: t.Output(),
	}
	if adjust != nil {
		adjust(&unit)
	}
	host, err := fakesystemd.New(fakesystemd.HostConfig{Dir: shortDir(t), Units: []fakesystemd.Unit{unit}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	// The real path to the bus, through the environment and go-systemd.
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", host.Address())
	conn, err := units.Dial(patience(t), units.Options{RetryMin: time.Millisecond, Reread: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return machine{host, conn}
}

// shortDir is a t.TempDir whose path leaves room for the name of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "units")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// patience bounds what a test waits for: long, because it ends only what hangs.
func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// until waits until the watched state of etcd fulfils cond.
func (m machine) until(t *testing.T, what string, cond func(units.UnitState) bool) units.UnitState {
	t.Helper()
	ctx, found := context.WithCancel(patience(t))
	defer found()
	var last units.UnitState
	hit := false
	_ = m.conn.Watch(ctx, etcd, func(st units.UnitState, err error) {
		if err == nil && !hit {
			last = st
			if hit = cond(st); hit {
				found()
			}
		}
	})
	if !hit {
		t.Fatalf("etcd never became %s; it is %+v", what, last)
	}
	return last
}

func active(st units.UnitState) bool { return st.ActiveState == units.ActiveStateActive }

func running(st units.UnitState) bool { return st.Running() }

func (m machine) must(t *testing.T, f func(context.Context, string) error) {
	t.Helper()
	if err := f(patience(t), etcd); err != nil {
		t.Fatal(err)
	}
}

func (m machine) state(t *testing.T) units.UnitState {
	t.Helper()
	st, err := m.conn.State(patience(t), etcd)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// gone tells whether no process has this id.
func gone(pid int) bool { return syscall.Kill(pid, 0) == syscall.ESRCH }

// environ reads what a process in role env wrote.
func environ(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	vars := map[string]string{}
	for _, kv := range list {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	return vars
}
