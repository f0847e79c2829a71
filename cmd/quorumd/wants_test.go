package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent"
	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/etcd"
	"github.com/quorumd/quorumd/agent/fleetlock"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/units"
)

func TestEventWant(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	lead := 48 * time.Hour
	event := func(id, code string, in time.Duration) lifecycle.ScheduledEvent {
		return lifecycle.ScheduledEvent{ID: id, Code: code, NotBefore: now.Add(in)}
	}
	for _, tt := range []struct {
		name   string
		events []lifecycle.ScheduledEvent
		want   policy.Want
	}{
		{"none", nil, policy.Want{}},
		{"not yet", []lifecycle.ScheduledEvent{event("a", lifecycle.SystemReboot, lead+time.Second)}, policy.Want{}},
		{"from the lead on", []lifecycle.ScheduledEvent{event("a", lifecycle.SystemReboot, lead)},
			policy.Want{Wanted: true, ID: "a", Due: now.Add(lead), Why: "system-reboot by EC2 at 2026-11-27 12:00:00"}},
		{"the earliest", []lifecycle.ScheduledEvent{event("a", lifecycle.SystemReboot, 3*time.Hour), event("b", lifecycle.InstanceReboot, 2*time.Hour)},
			policy.Want{Wanted: true, ID: "b", Due: now.Add(2 * time.Hour), Why: "instance-reboot by EC2 at 2026-11-25 14:00:00"}},
		{"no reboot helps", []lifecycle.ScheduledEvent{event("a", "instance-retirement", time.Hour)}, policy.Want{}},
		{"overdue", []lifecycle.ScheduledEvent{event("a", lifecycle.InstanceReboot, -time.Hour)},
			policy.Want{Wanted: true, ID: "a", Due: now.Add(-time.Hour), Why: "instance-reboot by EC2 at 2026-11-25 11:00:00"}},
	} {
		if d := cmp.Diff(tt.want, eventWant(tt.events, lead, now)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// Events that cannot be read are no events that are gone.
func TestScheduledWantTellsErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	broken := errors.New("no metadata")
	err := scheduledWant(func(context.Context) ([]lifecycle.ScheduledEvent, error) { return nil, broken }, time.Hour, time.Now)(ctx,
		func(w policy.Want, err error) {
			if !errors.Is(err, broken) || w.Wanted {
				t.Errorf("reported %+v, %v", w, err)
			}
			cancel()
		})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestOnlyConfiguredSources(t *testing.T) {
	sources := func(change func(*config.Reboot)) []policy.WantSource {
		n := &node{cfg: config.Default(), log: slog.New(slog.DiscardHandler)}
		change(&n.cfg.Reboot)
		var out []policy.WantSource
		ws := n.wants(parts{})
		for _, s := range []policy.WantSource{policy.WantUpdateEngine, policy.WantRebootRequired, policy.WantSentinel, policy.WantScheduled} {
			if ws[s] != nil {
				out = append(out, s)
			}
		}
		return out
	}
	if d := cmp.Diff([]policy.WantSource{policy.WantUpdateEngine, policy.WantRebootRequired}, sources(func(*config.Reboot) {})); d != "" {
		t.Errorf("by default (-want +got):\n%s", d)
	}
	if got := sources(func(r *config.Reboot) { r.Sources = []string{"sentinel", "scheduled-events"} }); len(got) != 2 || got[0] != policy.WantSentinel {
		t.Errorf("as configured: %v", got)
	}
	if got := sources(func(r *config.Reboot) { r.Strategy = "off" }); got != nil {
		t.Errorf("under off: %v", got)
	}
}

func TestLogin(t *testing.T) {
	got := login(units.Login{GoingDown: true,
		Sessions: []units.Session{{User: "core", Type: "tty"}, {User: "ann", Type: "tty", Remote: true, Host: "10.0.0.9"}},
		Blocks:   []units.Inhibitor{{Who: "backup", Why: "running", PID: 7}}})
	want := policy.Login{GoingDown: true, Users: []string{"core (tty)", "ann (tty from 10.0.0.9)"}, Blocks: []string{"backup: running (pid 7)"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Before the agent knows who it is, no client is granted anything.
func TestFleetLockTooEarly(t *testing.T) {
	f := fleetLock{new(atomic.Pointer[agent.Agent])}
	for _, ask := range []func(context.Context, fleetlock.Client) (fleetlock.Outcome, error){f.PreReboot, f.SteadyState} {
		if out, err := ask(t.Context(), fleetlock.Client{ID: "a", Group: "g"}); err == nil || out.OK {
			t.Errorf("answers %+v, %v", out, err)
		}
	}
}

func TestBySRV(t *testing.T) {
	var asked []string
	lookup := func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		asked = append(asked, "_"+service+"._"+proto+"."+name)
		return "", []*net.SRV{{Target: "b.example.com.", Port: 2379}, {Target: "a.example.com.", Port: 12379}, {Target: "b.example.com.", Port: 2379}}, nil
	}
	plain, err := bySRV(config.Etcd{DiscoverySRV: "example.com"}, lookup)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tls, err := bySRV(config.Etcd{DiscoverySRV: "example.com", CAFile: "/ca"}, lookup)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := [][]string{plain, tls, asked}
	want := [][]string{{"http://a.example.com:12379", "http://b.example.com:2379"}, {"https://a.example.com:12379", "https://b.example.com:2379"},
		{"_etcd-client._tcp.example.com", "_etcd-client-ssl._tcp.example.com"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// A member list that cannot be read has the members looked for, and what is found
// is used beside what the loop names.
func TestSeeker(t *testing.T) {
	client, err := etcd.New(etcd.Config{Cluster: "c", Group: "web", Self: policy.Self{Instance: "i-w"}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	found := make(chan struct{}, 10)
	answers := []error{errors.New("no such host"), nil}
	s := newSeeker(client, func(context.Context) ([]string, error) {
		err := answers[0]
		answers = answers[1:]
		found <- struct{}{}
		return []string{"http://127.0.0.1:1"}, err
	}, slog.New(slog.DiscardHandler))
	s.SetEndpoints([]string{"http://127.0.0.1:2"})
	s.seek(t.Context()) // fails: what was known remains
	if s.found != nil {
		t.Errorf("found %v by an error", s.found)
	}
	s.seek(t.Context())
	if d := cmp.Diff([]string{"http://127.0.0.1:1"}, s.found); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	<-s.need // at the start it is needed
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.Members(ctx); err == nil {
		t.Fatal("nobody listens there")
	}
	select {
	case <-s.need:
	default:
		t.Error("nobody was told to look for the members")
	}
}

// What a worker has in the place of etcd's unit and data never changes, and cannot be
// acted on.
func TestWorkerHasNoEtcd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var seen []policy.Unit
	err := noEtcd{}.Watch(ctx, func(u policy.Unit, err error) {
		seen = append(seen, u)
		cancel()
	})
	if !errors.Is(err, context.Canceled) || len(seen) != 1 || !seen[0].Stopped() {
		t.Errorf("watch: %v, %v", seen, err)
	}
	if d, err := (workerDisk{}).Data(); err != nil || !d.Empty {
		t.Errorf("data: %+v, %v", d, err)
	}
	if err := (noEtcd{}).Start(t.Context(), policy.StartEtcd{}); err == nil {
		t.Error("etcd was started on a worker")
	}
}
