package agent

import (
	"errors"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// board holds the newest facts. Observers write to it, a pass copies it.
type board struct {
	mu   sync.Mutex
	view policy.View
	poke chan struct{} // capacity 1: coalesces
	log  *slog.Logger
}

func newBoard(v policy.View, log *slog.Logger) *board {
	v.Health = make(map[policy.MemberID]policy.Fact[policy.Health])
	v.Peers = make(map[policy.InstanceID]policy.Fact[policy.Peer])
	v.Wants = make(map[policy.WantSource]policy.Fact[policy.Want])
	v.Receipts = make(map[string]policy.Receipt)
	return &board{view: v, poke: make(chan struct{}, 1), log: log}
}

// wake makes the loop run a pass soon.
func (b *board) wake() {
	select {
	case b.poke <- struct{}{}:
	default:
	}
}

// heed forgets who woke the loop until now: the pass that follows sees what they wrote.
func (b *board) heed() {
	select {
	case <-b.poke:
	default:
	}
}

// change runs f on the view under the lock, and wakes the loop.
func (b *board) change(f func(v *policy.View)) {
	b.mu.Lock()
	f(&b.view)
	b.mu.Unlock()
	b.wake()
}

// snapshot copies the view: a pass must not see it change.
func (b *board) snapshot() policy.View {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.view
	v.Health = maps.Clone(v.Health)
	v.Peers = maps.Clone(v.Peers)
	v.Wants = maps.Clone(v.Wants)
	v.Receipts = maps.Clone(v.Receipts)
	v.Requests = append([]policy.Request(nil), v.Requests...)
	return v
}

// renew gives the fact that an observation which began at began leads to. A
// failure keeps the last known value and its time.
func renew[T any](old policy.Fact[T], value T, began time.Time, err error) policy.Fact[T] {
	if err != nil {
		old.Err = err.Error()
		return old
	}
	return policy.Observed(value, began)
}

// put stores one observation and says once, not at every poll, when a source
// begins or ceases to answer.
func put[T any](b *board, name string, at func(v *policy.View) *policy.Fact[T], value T, began time.Time, err error) (changed bool) {
	b.mu.Lock()
	f := at(&b.view)
	old := *f
	*f = renew(old, value, began, err)
	now := *f
	b.mu.Unlock()
	b.wake()
	b.say(name, old.Err, now.Err, old.Ever(), err)
	return !reflect.DeepEqual(old.Value, now.Value) || !old.Ever()
}

// putIn is put for one of many facts of a kind.
func putIn[K comparable, T any](b *board, name string, of func(v *policy.View) map[K]policy.Fact[T], key K, value T, began time.Time, err error) {
	var old, now policy.Fact[T]
	b.change(func(v *policy.View) {
		all := of(v)
		old = all[key]
		now = renew(old, value, began, err)
		all[key] = now
	})
	b.say(name, old.Err, now.Err, old.Ever(), err)
}

func (b *board) say(name, was, is string, ever bool, err error) {
	switch {
	case is != "" && was == "":
		attrs := []any{"fact", name, "error", is}
		var right interface{ Permission() string }
		if errors.As(err, &right) {
			attrs = append(attrs, "permission", right.Permission())
		}
		b.log.Warn("cannot observe", attrs...)
	case is == "" && was != "":
		b.log.Info("observed again", "fact", name)
	case is == "" && !ever:
		b.log.Debug("first observed", "fact", name)
	}
}
