package agent

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// timeline gives a function that notes when it is called, and what it noted.
func timeline() (note func(), at func() []time.Duration) {
	began := time.Now()
	var mu sync.Mutex
	var all []time.Duration
	note = func() {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, time.Since(began))
	}
	return note, func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func wantTimes(t *testing.T, when string, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: at %v, want %v", when, got, want)
	}
}

// The first is at once, those in a pause are one at its end, and none is lost.
func TestSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		note, at := timeline()
		s := seldom(100*ms, note)
		s.now()
		for range 3 {
			time.Sleep(20 * ms)
			s.now()
		}
		time.Sleep(300 * ms)
		wantTimes(t, "a burst", at(), 0, 100*ms)
		s.now()
		wantTimes(t, "after a pause", at(), 0, 100*ms, 360*ms)
		s.now()
		s.stop()
		time.Sleep(time.Second)
		s.now()
		wantTimes(t, "stopped", at(), 0, 100*ms, 360*ms)
	})
}

// A shorter interval counts from the last poll; a kick does not wait.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const s = time.Second
		note, at := timeline()
		o := newObserver("x", 10*s, func(context.Context) { note() })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { o.run(ctx); close(done) }()
		time.Sleep(1 * s)
		o.pace(3 * s)
		time.Sleep(3 * s) // 4
		wantTimes(t, "sooner", at(), 0, 3*s)
		o.pace(10 * s)
		o.pace(0) // never
		time.Sleep(20 * s)
		wantTimes(t, "never", at(), 0, 3*s)
		o.pace(5 * s) // 24
		synctest.Wait()
		wantTimes(t, "long due", at(), 0, 3*s, 24*s)
		o.now()
		synctest.Wait()
		wantTimes(t, "kicked", at(), 0, 3*s, 24*s, 24*s)
		cancel()
		<-done
	})
}

// A look at the lock that began before an action of this node's had ended, and shows less
// than that did, does not undo it.
func TestOlderLook(t *testing.T) {
	old := policy.Lock{Revision: 6}
	now := time.Unix(1000, 0)
	lock := &slowLock{look: old}
	a := New(Options{Now: func() time.Time { return now }}, Parts{Lock: lock})
	a.board.view.Members = policy.Observed(policy.MemberList{}, now)
	lock.during = func() { // the action ends while the look is under way
		now = now.Add(time.Second)
		a.shown.Store(&shownLock{revision: 7, ended: now})
		put(a.board, "lock", func(v *policy.View) *policy.Fact[policy.Lock] { return &v.Lock }, policy.Lock{Revision: 7}, now, nil)
	}
	a.observeLock(t.Context())
	if got := a.board.snapshot().Lock.Value.Revision; got != 7 {
		t.Errorf("it shows revision %d", got)
	}
	lock.during = func() {} // another cluster's: its revisions are its own
	now = now.Add(time.Second)
	a.observeLock(t.Context())
	if got := a.board.snapshot().Lock.Value.Revision; got != 6 {
		t.Errorf("afterwards it shows revision %d", got)
	}
}

type anyLock = Lock

type slowLock struct {
	anyLock
	look   policy.Lock
	during func()
}

func (l *slowLock) Lock(context.Context) (policy.Lock, error) {
	l.during()
	return l.look, nil
}
