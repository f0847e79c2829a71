package sim

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	real "github.com/quorumd/quorumd/agent"
	"github.com/quorumd/quorumd/agent/policy"
)

// The tests of this file run the real loop (package agent) on the simulator's
// world, and hold what it does against the same [Checker] as the model of the
// loop. Where model and loop drift apart, one of the two is caught.
//
// Virtual time is testing/synctest's. It fixes the clock, not the order in which
// goroutines wake, so nothing here depends on more than what must hold.

// stage is the world with real agents on its machines. Its lock makes the world
// one thing that happens at a time, as its own heap of events does.
type stage struct {
	t     *testing.T
	began time.Time
	wake  chan struct{}
	wg    sync.WaitGroup
	ctx   context.Context
	spoil func(p *parts, all *real.Parts) // makes a part of the real agent wrong; nil: none
	loops int                             // agents on each machine: one, unless that is what is broken

	mu   sync.Mutex
	w    *world
	next time.Duration // when the pump looks next
}

// newStage makes a group of three on which nothing goes wrong by itself.
func newStage(t *testing.T, launchBefore bool) *stage {
	s := &stage{t: t, began: time.Now(), wake: make(chan struct{}, 1), loops: 1}
	s.w = newWorld(Options{Seed: 1, Full: true, plan: &plan{
		desired: 3, launchHook: 2 * time.Minute, terminateHook: 5 * time.Minute, launchBefore: launchBefore,
		expiresTo: policy.Abandon, rate: 20, skewed: true, fleetlock: !launchBefore,
		reboot: policy.RebootConfig{Services: true, PauseBetween: time.Minute},
	}})
	s.w.drive = s.drive
	return s
}

// run plays the world until story ends, and then ends everything.
func (s *stage) run(story func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.ctx = ctx
	s.wg.Go(func() { s.pump(ctx) })
	story()
	cancel()
	s.wg.Wait()
}

// pump lets the world's events happen when their time has come.
func (s *stage) pump(ctx context.Context) {
	for {
		next := time.Hour
		s.do(func() {
			if h := s.w.queue.heap; len(h) > 0 {
				next = h[0].at - s.w.now
			}
			s.next = s.w.now + next
		})
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-time.After(next):
		}
	}
}

// do does something in the world, now.
func (s *stage) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(s.began)
	for len(s.w.queue.heap) > 0 && s.w.queue.heap[0].at <= now {
		e := s.w.queue.pop()
		s.w.now = e.at
		e.run()
	}
	s.w.now = now
	f()
	if h := s.w.queue.heap; len(h) > 0 && h[0].at < s.next {
		select {
		case s.wake <- struct{}{}: // there is an event sooner than the pump expects
		default:
		}
	}
}

// drive starts the real loop on a machine. It is called by the world, under the lock.
func (s *stage) drive(a *agent) (halt func()) {
	ctx, cancel := context.WithCancel(s.ctx)
	for range s.loops {
		p := &parts{s: s, a: a}
		all := real.Parts{Metadata: p, Group: p, Hooks: p, Tags: p, Finder: p, Members: p, Lock: p,
			States: unitStates{p}, Unit: p, Disk: p, Peers: p, Version: p, Pulse: p, Snapshot: p, Notify: p}
		all.Machine, all.Services, all.Scripts = p, p, p
		all.Wants = map[policy.WantSource]real.WantWatcher{}
		for src := range a.m.wants() {
			all.Wants[src] = p.want(src)
		}
		a.ask = p.ask
		if s.spoil != nil {
			s.spoil(p, &all)
		}
		clock := epoch.Add(a.m.skew)
		p.loop = real.New(real.Options{
			Self: a.view.Self, Policy: s.w.cfg, Record: a.m.disk.record,
			ClientURL: func(host string) string { return "https://" + host + ":2379" },
			Log:       slog.New(&tap{p: p}),
			Now:       func() time.Time { return clock.Add(time.Since(s.began)) },
		}, all)
		s.wg.Go(func() {
			if err := p.loop.Run(ctx); err != nil {
				s.t.Errorf("%s: Run: %v", a.m.id, err)
			}
		})
	}
	return cancel
}

// tap hears from a loop's own log when it begins an action and when that is over:
// the lines are written by the loop's goroutine, between the pass that decided
// and the next, so the published pass is the one that decided.
type tap struct{ p *parts }

func (h *tap) Enabled(context.Context, slog.Level) bool { return true }
func (h *tap) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *tap) WithGroup(string) slog.Handler            { return h }
func (h *tap) Handle(_ context.Context, r slog.Record) error {
	p := h.p
	switch r.Message {
	case "acting":
		pass := p.loop.Published()
		d := pass.Decision
		p.s.do(func() {
			p.reason, p.began = d.Verdicts[d.Concern].Reason, p.s.w.now
			p.a.say("-> %s (%s) %+v", d.Action.Kind(), p.reason, d.Action)
			p.s.w.actions++
			p.s.w.tell(Began{
				Instance: p.a.m.id, Action: d.Action, Reason: p.reason, Member: pass.View.Record.Member != 0,
				LockKnown: pass.View.Lock.Fresh(pass.At, p.s.w.cfg.ActWithin),
			})
		})
	case "acted", "action failed":
		p.s.do(func() { p.s.w.tell(Ended{Instance: p.a.m.id}) })
	}
	return nil
}

// settled waits until the world is as it should be, for a while on end.
func (s *stage) settled(what string) {
	s.t.Helper()
	var wrong []string
	for good := 0; good < 30; good++ {
		time.Sleep(time.Second)
		broken := false
		s.do(func() {
			if wrong = s.w.wrong(); len(wrong) > 0 {
				good = 0
			}
			broken = len(s.w.check.broken) > 0
		})
		if broken {
			return // said at the end
		}
		if time.Since(s.began) > 2*time.Hour {
			s.t.Errorf("%s: not settled: %s", what, strings.Join(wrong, "; "))
			return
		}
	}
	s.do(func() { s.w.tell(Settled{Wrong: wrong}) })
}

// story is a first cluster; then its leader's node is terminated and replaced;
// then two others are, at the same time; then all three are updated at once, while the
// group sends one of them away.
func (s *stage) story() {
	s.settled("first cluster")
	gone := func() *machine { return s.w.current().host(s.w.current().leader) }
	s.do(func() {
		if c := s.w.current(); c != nil && c.leader != 0 {
			s.w.groupTerminates(gone())
		}
	})
	time.Sleep(time.Minute)
	s.settled("one replaced")
	s.do(func() {
		for _, i := range s.w.group.items[:min(2, len(s.w.group.items))] {
			s.w.group.terminate(i)
		}
	})
	time.Sleep(time.Minute)
	s.settled("two replaced")
	s.do(func() { s.w.updateAll(nil) })
	time.Sleep(time.Minute)
	s.settled("three updated")
	s.do(func() { s.w.updateAll(nil); s.w.groupTerminates(s.w.any()) })
	time.Sleep(time.Minute)
	s.settled("updated, and one replaced")
}

// TestRealLoop: three real agents form a cluster and replace its members, and the
// checker has nothing to say against it.
func TestRealLoop(t *testing.T) {
	for name, before := range map[string]bool{"replacement before": true, "replacement after": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, before)
				s.run(s.story)
				if n := len(s.w.machines); n != 7 {
					t.Errorf("%d machines were launched, want 7", n)
				}
				// Two of the three may have been rebooted when the third one goes.
				if s.w.reboots < 5 {
					t.Errorf("%d reboots", s.w.reboots)
				}
				// Bootstrap, four leaves and four joins take some 80 actions, a reboot 7.
				if s.w.actions > 300 {
					t.Errorf("%d actions", s.w.actions)
				}
				t.Logf("%d actions, %d reboots, %s of virtual time", s.w.actions, s.w.reboots, time.Since(s.began))
				report(t, s.w.result())
			})
		})
	}
}

// TestRealLoopBroken: a part or a loop that is wrong is caught by its own invariant.
func TestRealLoopBroken(t *testing.T) {
	for _, b := range []struct {
		name  string
		want  Invariant
		loops int
		parts func(*parts, *real.Parts)
	}{
		// What a loop without its guard of one action in flight looks like from outside.
		{"two actions at once", OneAction, 2, nil},
		{"a lock that is always granted", OneDisrupted, 1, func(p *parts, all *real.Parts) { all.Lock = openLock{p} }},
	} {
		t.Run(b.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, true)
				s.loops, s.spoil = b.loops, b.parts
				s.run(s.story)
				for _, v := range s.w.check.Violations() {
					if v.Invariant == b.want {
						return
					}
				}
				t.Errorf("not caught by %s: %v", b.want, s.w.check.Violations())
			})
		})
	}
}

// openLock says at any time that this node holds the slot, and yes to all that is done to it.
type openLock struct{ *parts }

func (l openLock) TakeSlot(ctx context.Context, _ policy.Take) error     { return l.yes(ctx) }
func (l openLock) MarkActing(ctx context.Context, _ int64) error         { return l.yes(ctx) }
func (l openLock) ReleaseHold(ctx context.Context, _ int, _ int64) error { return l.yes(ctx) }
func (l openLock) yes(ctx context.Context) error {
	return l.call(ctx, func() error { return nil })
}

func (l openLock) Lock(context.Context) (policy.Lock, error) {
	hold := policy.Hold{Instance: l.a.m.id, Reason: policy.HoldLeaving, Phase: policy.Acting, Revision: 1}
	return policy.Lock{Slots: 1, Holders: []policy.Hold{hold}}, nil
}

var errOff = errors.New("the machine is off")
