package units_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/units"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

// seen collects what a watch reports.
type seen[T any] struct {
	values chan T
	errs   chan error
}

// watched runs a watch until the test ends.
func watched[T any](t *testing.T, watch func(context.Context, func(T, error)) error) seen[T] {
	t.Helper()
	s := seen[T]{make(chan T, 100), make(chan error, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- watch(ctx, func(v T, err error) {
			if err != nil {
				s.errs <- err
			} else {
				s.values <- v
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
	return s
}

// until waits for a value that fulfils cond.
func (s seen[T]) until(t *testing.T, what string, cond func(T) bool) T {
	t.Helper()
	ctx := patience(t)
	for {
		select {
		case v := <-s.values:
			if cond(v) {
				return v
			}
		case <-ctx.Done():
			t.Fatal("the watch never saw: " + what)
		}
	}
}

// untilErr waits for an error.
func (s seen[T]) untilErr(t *testing.T, want error) {
	t.Helper()
	ctx := patience(t)
	for {
		select {
		case err := <-s.errs:
			if errors.Is(err, want) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the watch never reported: %v", want)
		}
	}
}

func TestUpdates(t *testing.T) {
	m := boot(t, "ready", nil)
	s := watched(t, m.conn.WatchUpdates)
	s.untilErr(t, units.ErrNoService) // no Flatcar

	checked := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	m.SetUpdate(units.UpdateStatus{Operation: "UPDATE_STATUS_DOWNLOADING", Progress: 0.5, LastChecked: checked})
	first := s.until(t, "downloading", func(st units.UpdateStatus) bool { return st.Operation == "UPDATE_STATUS_DOWNLOADING" })
	if first.NeedsReboot() || first.Progress != 0.5 || !first.LastChecked.Equal(checked) {
		t.Errorf("got %+v", first)
	}
	want := units.UpdateStatus{Operation: units.UpdateNeedReboot, NewVersion: "4459.2.0", NewSize: 400 << 20}
	m.SetUpdate(want)
	got := s.until(t, "need to reboot", units.UpdateStatus.NeedsReboot)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}

	m.StopUpdates()
	s.untilErr(t, units.ErrNoService)

	// It comes while the bus is away: nobody could be told.
	m.StopBus()
	m.SetUpdate(want)
	if err := m.StartBus(); err != nil {
		t.Fatal(err)
	}
	s.until(t, "need to reboot after a reconnect", units.UpdateStatus.NeedsReboot)
}

func TestLogin(t *testing.T) {
	m := boot(t, "ready", nil)
	s := watched(t, m.conn.WatchLogin)
	s.until(t, "nobody", func(l units.Login) bool { return len(l.Sessions) == 0 && len(l.Blocks) == 0 && !l.GoingDown })

	block := units.Inhibitor{What: "sleep:shutdown", Who: "backup", Why: "a dump is under way", Mode: "block", PID: 7}
	m.SetInhibitors(block,
		units.Inhibitor{What: "shutdown", Who: "agent", Why: "a moment", Mode: "delay"},
		units.Inhibitor{What: "idle", Who: "player", Why: "a film", Mode: "block"})
	ann := units.Session{ID: "4", User: "ann", Type: "tty", State: "active", Remote: true, Host: "10.0.0.9"}
	m.SetSessions(
		fakesystemd.Session{Class: "user", Session: ann},
		fakesystemd.Session{Class: "user", Session: units.Session{ID: "5", User: "cron", Type: "unspecified", State: "active"}},
		fakesystemd.Session{Class: "user", Session: units.Session{ID: "6", User: "ben", Type: "tty", State: "closing"}},
		fakesystemd.Session{Class: "manager", Session: units.Session{ID: "7", User: "root", Type: "tty", State: "active"}})
	got := s.until(t, "ann", func(l units.Login) bool { return len(l.Sessions) > 0 })
	if diff := cmp.Diff(units.Login{Sessions: []units.Session{ann}, Blocks: []units.Inhibitor{block}}, got); diff != "" {
		t.Errorf("login (-want +got):\n%s", diff)
	}

	err := m.conn.Reboot(patience(t))
	if !errors.Is(err, units.ErrInhibited) || !strings.Contains(err.Error(), "backup (a dump is under way), pid 7") {
		t.Errorf("reboot against an inhibitor: %v", err)
	}
	select {
	case <-m.RebootAsked():
		t.Error("the machine reboots against an inhibitor")
	default:
	}

	m.SetInhibitors()
	for range 2 { // twice is once
		if err := m.conn.Reboot(patience(t)); err != nil {
			t.Error(err)
		}
	}
	<-m.RebootAsked()
	s.until(t, "going down", func(l units.Login) bool { return l.GoingDown })
}

func TestRebootWithoutABus(t *testing.T) {
	m := boot(t, "ready", nil)
	m.StopBus()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := m.conn.Reboot(ctx); err == nil || !strings.HasPrefix(err.Error(), "reboot: ") {
		t.Errorf("reboot without a bus: %v", err)
	}
}
