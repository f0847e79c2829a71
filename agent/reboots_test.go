package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

// system is the part of the world that is about reboots.
type system struct {
	*world
	login   policy.Login
	want    chan policy.Want
	scripts func(ctx context.Context) error // nil: there are none
}

// withSystem gives a world in which an update wants a reboot as soon as the test
// says so.
func withSystem(w *world) *system {
	s := &system{world: w, want: make(chan policy.Want, 1)}
	w.more = func(p *Parts) {
		p.Machine, p.Scripts = s, s
		p.Wants = map[policy.WantSource]WantWatcher{policy.WantUpdateEngine: WantFunc(s.watch)}
	}
	return s
}

func (s *system) Any(policy.ScriptsWhen) bool { return s.scripts != nil }

func (s *system) watch(ctx context.Context, report func(policy.Want, error)) error {
	report(policy.Want{}, nil)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case w := <-s.want:
			report(w, nil)
		}
	}
}

func (s *system) Login(context.Context) (policy.Login, error) {
	time.Sleep(latency)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.login, nil
}
func (s *system) WatchLogin(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }
func (s *system) Reboot(context.Context) error {
	err := s.note("reboot")
	if err == nil {
		s.set(func() { s.login.GoingDown = true })
	}
	return err
}
func (s *system) Run(ctx context.Context, when policy.ScriptsWhen) error {
	_ = s.note(string(when))
	if s.scripts != nil {
		return s.scripts(ctx)
	}
	return nil
}

func TestReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withSystem(newWorld())
		a, stop := s.run(t, nil)
		defer stop()
		time.Sleep(time.Minute)
		began := time.Now()
		s.want <- policy.Want{Wanted: true, Why: "version 2"}
		for !slices.Contains(s.actions(), "reboot") && time.Since(began) < time.Minute {
			time.Sleep(time.Millisecond)
		}
		// Every call takes 1 ms here; the rest is the loop's own.
		if took := time.Since(began); took > time.Second {
			t.Errorf("the reboot began after %s", took)
		}
		time.Sleep(time.Minute)
		want := []string{"take-slot", "pre-reboot", "move-leader", "mark-acting", "reboot"}
		if d := cmp.Diff(want, s.actions()); d != "" {
			t.Errorf("did (-want +got):\n%s", d)
		}
		if r := reasons(a)[policy.ConcernReboot]; r != policy.Rebooting {
			t.Errorf("then says %s", r)
		}
		if r := a.Published().View.Record.Rebooted; r == nil || !slices.Equal(r.For, []string{"update-engine"}) || r.Boot != "b1" {
			t.Errorf("wrote down %+v", r)
		}
	})
}

// What logind refuses is tried again, under the same hold.
func TestRebootRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withSystem(newWorld())
		s.fail["reboot"] = errors.New("no")
		_, stop := s.run(t, nil)
		defer stop()
		s.want <- policy.Want{Wanted: true}
		time.Sleep(time.Minute)
		want := []string{"take-slot", "pre-reboot", "move-leader", "mark-acting", "reboot", "reboot"}
		if d := cmp.Diff(want, s.actions()); d != "" {
			t.Errorf("did (-want +got):\n%s", d)
		}
	})
}

// Scripts that run are ended when the node is told to go: it does not wait for them.
func TestScriptsEndForALeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withSystem(newWorld())
		ended := false
		s.scripts = func(ctx context.Context) error { <-ctx.Done(); ended = true; return ctx.Err() }
		_, stop := s.run(t, nil)
		defer stop()
		s.want <- policy.Want{Wanted: true}
		time.Sleep(time.Minute)
		if got := s.actions(); !slices.Equal(got, []string{"take-slot", "pre-reboot"}) {
			t.Fatalf("did %v", got)
		}
		s.set(func() { s.target, s.state, s.desired = policy.TargetTerminated, policy.StateTerminatingWait, 2 })
		time.Sleep(10 * time.Second)
		if got := s.actions(); !ended || !slices.Contains(got, "remove-member") {
			t.Errorf("scripts ended %t; did %v", ended, got)
		}
	})
}

// After the reboot the hold of the boot before is given back when the node is well.
func TestBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withSystem(newWorld())
		s.lock.Holders = []policy.Hold{{Instance: "i-a", Boot: "b0", Member: 1, Cluster: 77, Reason: policy.HoldRebooting, Phase: policy.Acting, Revision: 9}}
		a, stop := s.run(t, nil)
		defer stop()
		time.Sleep(time.Minute)
		if d := cmp.Diff([]string{"post-reboot", "release-hold"}, s.actions()); d != "" {
			t.Errorf("did (-want +got):\n%s", d)
		}
		if r := reasons(a)[policy.ConcernReboot]; r != policy.RebootNotWanted {
			t.Errorf("then says %s", r)
		}
	})
}

func TestFleetLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withSystem(newWorld())
		a, stop := s.run(t, nil)
		defer stop()
		time.Sleep(time.Minute)
		for range 3 {
			began := time.Now()
			if ans, err := a.PreReboot(t.Context(), "z", "default"); err != nil || !ans.OK {
				t.Fatalf("pre-reboot: %+v, %v", ans, err)
			}
			if ans, err := a.PreReboot(t.Context(), "z", "default"); err != nil || !ans.OK {
				t.Fatalf("pre-reboot again: %+v, %v", ans, err)
			}
			if ans, err := a.PreReboot(t.Context(), "y", "default"); err != nil || ans.OK || ans.Reason != policy.OtherClient {
				t.Fatalf("another client: %+v, %v", ans, err)
			}
			if ans, err := a.SteadyState(t.Context(), "z", "default"); err != nil || !ans.OK {
				t.Fatalf("steady-state: %+v, %v", ans, err)
			}
			if took := time.Since(began); took > 100*time.Millisecond {
				t.Errorf("took %s", took)
			}
		}
		want := []string{"move-leader", "take-slot", "release-hold", "take-slot", "release-hold", "take-slot", "release-hold"}
		if d := cmp.Diff(want, s.actions()); d != "" {
			t.Errorf("did (-want +got):\n%s", d)
		}
	})
}

// A grant whose outcome is not known is no grant, and none while the others cannot do
// without this node.
func TestFleetLockRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withSystem(newWorld())
		a, stop := s.run(t, nil)
		defer stop()
		time.Sleep(time.Minute)
		s.set(func() { s.desired = 4 })
		time.Sleep(2 * time.Minute)
		if ans, err := a.PreReboot(t.Context(), "z", "default"); err != nil || ans.OK || ans.Reason != policy.VotersMissing {
			t.Errorf("with a voter missing: %+v, %v", ans, err)
		}
		if ans, err := a.SteadyState(t.Context(), "z", "default"); err != nil || !ans.OK {
			t.Errorf("steady-state: %+v, %v", ans, err)
		}
		s.set(func() { s.desired = 3; s.block["take-slot"] = make(chan struct{}) })
		time.Sleep(time.Minute)
		if ans, err := a.PreReboot(t.Context(), "z", "default"); err == nil || ans.OK {
			t.Errorf("with an etcd that does not answer: %+v, %v", ans, err)
		}
		close(s.block["take-slot"])
	})
}

// A source that is not content with a reboot does not get another one, however late
// after the start it speaks.
func TestRebootInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := withSystem(newWorld())
		s.record.Rebooted = &policy.Rebooted{Boot: "b0", For: []string{"sentinel"}}
		more := s.more
		s.more = func(p *Parts) {
			more(p)
			p.Wants[policy.WantSentinel] = WantFunc(func(ctx context.Context, report func(policy.Want, error)) error {
				time.Sleep(10 * time.Second)
				report(policy.Want{Wanted: true}, nil)
				<-ctx.Done()
				return ctx.Err()
			})
		}
		a, stop := s.run(t, nil)
		defer stop()
		time.Sleep(time.Minute)
		if got := s.actions(); len(got) > 0 {
			t.Errorf("did %v", got)
		}
		if r := reasons(a)[policy.ConcernReboot]; r != policy.RebootInVain {
			t.Errorf("says %s", r)
		}
	})
}
