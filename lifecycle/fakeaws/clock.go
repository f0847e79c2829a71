package fakeaws

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Clock is all the emulator knows of time.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once, after d, in a goroutine that is not the caller's
	// of AfterFunc.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a call that AfterFunc has planned.
type Timer interface {
	// Stop reports whether it kept the call from starting.
	Stop() bool
}

// RealClock is the machine's clock. Inside a testing/synctest bubble it is the
// bubble's.
type RealClock struct{}

func (RealClock) Now() time.Time { return time.Now() }

func (RealClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// ManualClock is a clock that stands still until Advance moves it.
// Its methods may be called from several goroutines.
type ManualClock struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a timer is added or removed
	now     time.Time
	seq     uint64
	timers  manualTimers
}

// NewManualClock returns a clock that stands at start.
func NewManualClock(start time.Time) *ManualClock {
	return &ManualClock{now: start, changed: make(chan struct{})}
}

func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *ManualClock) AfterFunc(d time.Duration, f func()) Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	t := &manualTimer{clock: c, at: c.now.Add(d), seq: c.seq, f: f}
	heap.Push(&c.timers, t)
	c.signal()
	return t
}

// Advance moves the clock by d and makes every call that falls due on the way,
// in order of time and in the caller's goroutine; each sees the time at which it was due.
// Calls planned by these calls are made too if they fall due within d.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now.Add(d)
	for len(c.timers) > 0 && !c.timers[0].at.After(end) {
		t := heap.Pop(&c.timers).(*manualTimer)
		if t.at.After(c.now) {
			c.now = t.at
		}
		c.signal()
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	if end.After(c.now) {
		c.now = end
	}
	c.mu.Unlock()
}

// AwaitTimers returns when at least n calls are planned, or with ctx's error. A test
// uses it to know that another goroutine has begun to wait on the clock.
func (c *ManualClock) AwaitTimers(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		have, changed := len(c.timers), c.changed
		c.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Timers returns the number of planned calls.
func (c *ManualClock) Timers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

// signal wakes AwaitTimers; c.mu is held.
func (c *ManualClock) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

type manualTimer struct {
	clock *ManualClock
	at    time.Time
	seq   uint64 // breaks ties: planned first, called first
	f     func()
	index int // in the heap; -1 once popped or stopped
}

func (t *manualTimer) Stop() bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&c.timers, t.index)
	c.signal()
	return true
}

type manualTimers []*manualTimer

func (h manualTimers) Len() int { return len(h) }

func (h manualTimers) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}

func (h manualTimers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *manualTimers) Push(x any) {
	t := x.(*manualTimer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *manualTimers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
