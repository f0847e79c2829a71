//go:build e2e && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// step is one of several scenarios in a row on one fleet, each of which begins and
// ends with a settled one: forming it anew would take most of the time.
func (f *Fleet) step(name string, bound time.Duration, run func(ctx context.Context, before fleet.Members)) {
	f.t.Helper()
	began := time.Now()
	before := f.Settle(f.Within(time.Minute))
	f.t.Logf("---- %s", name)
	ctx := f.Within(bound)
	run(ctx, before)
	f.Settle(ctx)
	f.t.Logf("---- %s: %.1fs", name, time.Since(began).Seconds())
	if f.t.Failed() {
		f.t.FailNow()
	}
}

func (f *Fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// until waits for what can only be asked for.
func (f *Fleet) until(ctx context.Context, what string, ok func(context.Context) error) {
	f.t.Helper()
	f.must(fleet.Until(ctx, 50*time.Millisecond, what, ok))
}

// exec runs a command on a host and fails the test where that does.
func (f *Fleet) exec(ctx context.Context, h *lab.Host, argv ...string) string {
	f.t.Helper()
	out, err := h.Exec(ctx, argv...)
	f.must(err)
	return strings.TrimSpace(string(out))
}

// state waits until a unit's property is as wanted.
func (f *Fleet) state(ctx context.Context, h *lab.Host, unit, property, want string) {
	f.t.Helper()
	f.until(ctx, unit+" on "+h.Spec.Hostname, func(ctx context.Context) error {
		out, err := h.Exec(ctx, "systemctl", "show", "--value", "--property="+property, unit)
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			return fmt.Errorf("%s is %q, want %q: %v", property, got, want, err)
		}
		return nil
	})
}

// said waits until a unit of a host has logged a text, in whichever boot.
func (f *Fleet) said(ctx context.Context, h *lab.Host, unit, text string) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s on %s to say %q", unit, h.Spec.Hostname, text), func(ctx context.Context) error {
		log, err := h.Journal(ctx, unit)
		if err == nil && !strings.Contains(string(log), text) {
			err = fmt.Errorf("it did not, in %d bytes", len(log))
		}
		return err
	})
}

// status is what an agent tells others.
func (f *Fleet) status(ctx context.Context, id string) (peer.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	inst, _ := f.Cloud.Instance(id)
	transport := &http.Transport{DialContext: f.Lab.Dial}
	defer transport.CloseIdleConnections()
	return peer.Fetch(ctx, &http.Client{Transport: transport}, fmt.Sprintf("http://%s:2382", inst.PrivateIP))
}

// warned waits until an agent's status has a warning with a text.
func (f *Fleet) warned(ctx context.Context, id, name, text string) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s to warn of %s %q", id, name, text), func(ctx context.Context) error {
		s, err := f.status(ctx, id)
		for _, w := range s.Decision.Warnings {
			if err == nil && w.Name == name && strings.Contains(w.Detail, text) {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("its warnings are %v", s.Decision.Warnings))
	})
}

// reason waits until a concern of an agent has a reason.
func (f *Fleet) reason(ctx context.Context, id, concern, want string) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s to say %s", id, want), func(ctx context.Context) error {
		s, err := f.status(ctx, id)
		got := ""
		for _, v := range s.Decision.Concerns {
			if v.Concern == concern {
				got = v.Reason + " " + v.Detail
			}
		}
		if strings.HasPrefix(got, want+" ") {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%s is %q", concern, got))
	})
}

// sees waits until an agent knows of so many voters.
func (f *Fleet) sees(ctx context.Context, id string, voters int) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s to see %d voters", id, voters), func(ctx context.Context) error {
		s, err := f.status(ctx, id)
		n := s.Members.Voters()
		if err == nil && n == voters {
			return nil
		}
		return errors.Join(err, fmt.Errorf("it sees %d", n))
	})
}

func (f *Fleet) reboot(ctx context.Context, h *lab.Host) {
	f.t.Helper()
	boot := h.BootID()
	f.exec(ctx, h, "systemctl", "reboot")
	_, err := h.WaitReboot(ctx, boot)
	f.must(err)
	f.must(h.WaitBooted(ctx))
}

// followers are the instances in service whose members do not lead, oldest first.
func (f *Fleet) followers(ctx context.Context) (ids []string) {
	f.t.Helper()
	leader := f.Leader(ctx)
	for _, inst := range f.Instances() {
		if inst.ID != leader {
			ids = append(ids, inst.ID)
		}
	}
	return ids
}

// launchedSince is the one instance launched after the first n events.
func (f *Fleet) launchedSince(n int) fakeaws.Instance {
	f.t.Helper()
	found := f.Since(n, fakeaws.Launched)
	if len(found) != 1 {
		f.t.Fatalf("launched: %v, want one", found)
	}
	inst, _ := f.Cloud.Instance(found[0].Instance)
	return inst
}

// wantKept fails unless that many of the members before are the same now.
func (f *Fleet) wantKept(ctx context.Context, before fleet.Members, want int) {
	f.t.Helper()
	if kept := before.Kept(f.Settle(ctx)); kept != want {
		f.t.Errorf("%d members are the same as before, want %d", kept, want)
	}
}

// happens waits for an event after the first seen ones, of whichever instance if id is "".
func (f *Fleet) happens(ctx context.Context, seen int, kind fakeaws.EventKind, id string) fakeaws.Event {
	f.t.Helper()
	e, err := f.Cloud.AwaitEvent(ctx, func(e fakeaws.Event) bool {
		return e.Seq > seen && e.Kind == kind && (id == "" || e.Instance == id)
	})
	f.must(err)
	return e
}

// holds checks for a while that something stays true. It is for what must not happen,
// of which no event can tell.
func (f *Fleet) holds(ctx context.Context, d time.Duration, ok func() error) {
	f.t.Helper()
	end := time.After(d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		f.must(ok())
		select {
		case <-end:
			return
		case <-tick.C:
		case <-ctx.Done():
			f.t.Fatal(context.Cause(ctx))
		}
	}
}

// sitStill waits until so many machines say that their group's cluster is missing, and
// looks on for a while as none of them starts an etcd.
func (f *Fleet) sitStill(ctx context.Context, n int) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%d machines with a running agent", n), func(context.Context) error {
		all := f.Instances()
		for _, inst := range all {
			if !f.runs(inst.ID, "quorumd.service") {
				return errors.New(inst.ID + " has none")
			}
		}
		if len(all) != n {
			return fmt.Errorf("%d instances", len(all))
		}
		return nil
	})
	for _, inst := range f.Instances() {
		f.reason(ctx, inst.ID, "join", "ClusterMissing")
	}
	f.holds(ctx, 5*time.Second, f.noEtcd)
}

// noEtcd fails where an etcd runs.
func (f *Fleet) noEtcd() error {
	for _, inst := range f.Instances() {
		if f.runs(inst.ID, "etcd-member.service") {
			return errors.New("etcd runs on " + inst.ID)
		}
	}
	return nil
}

// startFresh is the operator's word that the cluster is gone for good: what comes next
// is another one, and an application that starts from nothing.
func (f *Fleet) startFresh(ctx context.Context) {
	f.t.Helper()
	f.Writer.Stop()
	f.Anew()
	f.startWriter()
	f.exec(ctx, f.Host(f.Instances()[0].ID), "/opt/bin/quorumd", "bootstrap", "--fresh", "--yes")
}
