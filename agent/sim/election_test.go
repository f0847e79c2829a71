package sim

import (
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// quietPlan is a world on which nothing goes wrong by itself.
func quietPlan(n int) *plan {
	return &plan{desired: n, launchHook: 2 * time.Minute, terminateHook: 5 * time.Minute, launchBefore: true,
		expiresTo: policy.Abandon, rate: 20, skewed: true, latency: true, gap: 1000 * time.Hour}
}

// story is a world with a cluster of n, on which only what a test does goes wrong.
func story(t *testing.T, seed uint64, n int) *world {
	t.Helper()
	return told(t, Options{Seed: seed}, n)
}

// told is a story by a variant of the policy.
func told(t *testing.T, opt Options, n int) *world {
	t.Helper()
	opt.Full, opt.plan, opt.Audit, opt.Length = true, quietPlan(n), 7, 24*time.Hour
	w := newWorld(opt)
	w.run(10 * time.Minute)
	if c := w.current(); c == nil || c.leader == 0 || c.voters() != n {
		t.Fatalf("no cluster of %d after 10 minutes", n)
	}
	return w
}

// restarts counts what agents did to etcd for plans since a line of the transcript: what
// is still frozen when there is a leader is restarted alone, later.
func (w *world) restarts(since int) (n int) {
	for _, l := range w.lines[since:] {
		if l.what != "-> %s (%s) %+v" {
			continue
		}
		switch act := l.args[2].(type) {
		case policy.RestartEtcd:
			if act.Plan != "frozen" {
				n++
			}
		case policy.StopEtcd:
			n++
		}
	}
	return n
}

// until lets the world go on until something holds, at most for a while.
func (w *world) until(most time.Duration, ok func() bool) (took time.Duration, held bool) {
	began := w.now
	for w.now < began+most {
		if ok() {
			return w.now - began, true
		}
		w.run(w.now + 100*time.Millisecond)
		if len(w.check.broken) > 0 {
			return w.now - began, false
		}
	}
	return most, false
}

func (w *world) show(t *testing.T, since int) {
	t.Helper()
	for _, v := range w.check.Violations() {
		t.Error(v)
	}
	if t.Failed() {
		for _, l := range w.lines[since:] {
			t.Log(l)
		}
	}
}

// TestLeaderRegained: what is stuck gets a leader in time, by no more restarts than
// needed.
func TestLeaderRegained(t *testing.T) {
	after := policy.DefaultConfig().Force.After
	for _, c := range []struct {
		name     string
		voters   int
		strike   func(w *world)
		within   time.Duration // beyond the waiting time
		restarts int           // at most
	}{
		{"majority frozen", 3, func(w *world) { w.freezeVoters(0) }, 30 * time.Second, 2},
		{"all frozen", 3, func(w *world) { w.freezeVoters(9) }, 40 * time.Second, 3},
		{"majority of five frozen", 5, func(w *world) { w.freezeVoters(0) }, 30 * time.Second, 2},
		{"all of five frozen", 5, func(w *world) { w.freezeVoters(9) }, 50 * time.Second, 4},
		{"elections fail until all were stopped", 3, func(w *world) { w.wedge(false) }, 90 * time.Second, 6},
		{"the same of five", 5, func(w *world) { w.wedge(false) }, 2 * time.Minute, 10},
		{"a majority frozen, one more host off", 5, func(w *world) {
			w.freezeVoters(0)
			for _, m := range w.alive() {
				if m.etcd.running && !m.etcd.paused {
					m.powerOff()
					return
				}
			}
		}, time.Minute, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(10) {
				w := story(t, seed, c.voters)
				since := len(w.lines)
				c.strike(w)
				cl := w.current()
				took, ok := w.until(after+c.within+15*time.Second, func() bool { return cl.leader != 0 && !cl.wedged })
				if !ok {
					t.Errorf("seed %d: no leader after %s", seed, took)
				}
				w.run(w.now + 2*time.Minute)
				if n := w.restarts(since); n == 0 || n > c.restarts {
					t.Errorf("seed %d: %d restarts and stops, want 1 to %d", seed, n, c.restarts)
				}
				t.Logf("seed %d: %s", seed, took)
				w.show(t, since)
				if t.Failed() {
					return
				}
			}
		})
	}
}
