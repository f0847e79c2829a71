//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/lab"
)

const holders = "/quorumd/" + group + "/lock/" + policy.MembersGroup + "/holders/"

// hold is what etcd says of the lock's holder.
type hold struct {
	Instance, Boot, Reason, Phase string
	ended                         bool
}

func (h hold) rebooting() bool {
	return h.Reason == string(policy.HoldRebooting) || h.Reason == string(policy.HoldFleetLock)
}
func (h hold) acting() bool { return h.Phase == string(policy.Acting) }

// holder of the lock; the zero hold if it is free. Any member may tell that has a leader.
func (f *Fleet) holder(ctx context.Context) (h hold, err error) {
	for _, url := range f.Endpoints() {
		var again error
		if h, again = f.holderAt(ctx, url); again == nil {
			return h, nil
		}
		err = errors.Join(err, again)
	}
	return h, err
}

func (f *Fleet) holderAt(ctx context.Context, url string) (h hold, err error) {
	client, err := f.client(url)
	if err != nil {
		return h, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found, err := client.Get(ctx, holders, clientv3.WithPrefix())
	if err != nil || len(found.Kvs) == 0 {
		return h, err
	}
	return h, json.Unmarshal(found.Kvs[0].Value, &h)
}

// holdsLock waits until a reboot's hold of an instance is in a phase.
func (f *Fleet) holdsLock(ctx context.Context, id string, phase policy.HoldPhase) {
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%s to hold the lock, %s", id, phase), func(ctx context.Context) error {
		h, err := f.holder(ctx)
		if err == nil && h.Instance == id && h.rebooting() && h.Phase == string(phase) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("the hold is %+v", h))
	})
}

// turns looks on while machines reboot: at the history of the lock, and at which of
// them are off. What it holds against what is one-sided: an order of things that a
// correct fleet cannot seem to break, however late either is seen.
type turns struct {
	f      *Fleet
	hosts  map[string]*lab.Host // by instance
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu    sync.Mutex
	holds []hold
	boots map[string][]string // of each instance, in order
	errs  []error
}

// watchTurns begins with the machines of now.
func (f *Fleet) watchTurns(ctx context.Context) *turns {
	f.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	w := &turns{f: f, hosts: map[string]*lab.Host{}, cancel: cancel, boots: map[string][]string{}}
	for _, inst := range f.Instances() {
		w.hosts[inst.ID] = f.Host(inst.ID)
	}
	client, err := f.client(f.Endpoints()...)
	f.must(err)
	now, err := client.Get(ctx, holders, clientv3.WithPrefix())
	f.must(err)
	events := client.Watch(ctx, holders, clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(now.Header.Revision+1))
	w.tasks.Go(func() {
		defer client.Close()
		for resp := range events {
			if err := resp.Err(); err != nil && ctx.Err() == nil {
				w.wrong(fmt.Errorf("the watch of the lock: %w", err))
			}
			for _, e := range resp.Events {
				w.took(ctx, e)
			}
		}
	})
	w.tasks.Go(func() { w.lookOn(ctx) })
	f.t.Cleanup(func() {
		cancel()
		w.tasks.Wait()
	})
	return w
}

func (w *turns) wrong(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
}

// lookOn notes every boot, and that never two of the machines are off.
func (w *turns) lookOn(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for two := false; ; {
		var off []string
		for _, id := range slices.Sorted(maps.Keys(w.hosts)) {
			boot := w.hosts[id].BootID()
			if boot == "" {
				off = append(off, id)
				continue
			}
			w.mu.Lock()
			if b := w.boots[id]; len(b) == 0 || b[len(b)-1] != boot {
				w.boots[id] = append(b, boot)
			}
			w.mu.Unlock()
		}
		if len(off) > 1 && !two {
			two = true
			w.wrong(fmt.Errorf("%v are off at once", off))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// took is one change of the lock.
func (w *turns) took(ctx context.Context, e *clientv3.Event) {
	value := e.Kv.Value
	if e.Type == clientv3.EventTypeDelete {
		if e.PrevKv == nil {
			w.wrong(fmt.Errorf("%s was given back, and etcd does not say by whom", e.Kv.Key))
			return
		}
		value = e.PrevKv.Value
	}
	var h hold
	if err := json.Unmarshal(value, &h); err != nil {
		w.wrong(err)
		return
	}
	h.ended = e.Type == clientv3.EventTypeDelete
	w.f.t.Logf("lock: %s %s %s, ended: %t", h.Instance, h.Reason, h.Phase, h.ended)
	w.mu.Lock()
	n := len(w.holds)
	if n > 0 && !w.holds[n-1].ended {
		w.holds[n-1] = h
	} else {
		w.holds = append(w.holds, h)
	}
	w.mu.Unlock()
	host := w.hosts[h.Instance]
	switch {
	case host == nil || !h.rebooting() || !h.acting():
	case !h.ended:
		w.tasks.Go(func() { w.mustNotLead(ctx, h.Instance) })
	default:
		if boot := host.BootID(); boot == h.Boot || boot == "" {
			w.wrong(fmt.Errorf("%s gave the lock back before it had rebooted: boot id %q, then %q", h.Instance, h.Boot, boot))
		}
	}
}

// mustNotLead: leadership was moved away before the hold became acting.
func (w *turns) mustNotLead(ctx context.Context, id string) {
	leader, err := w.f.Observer.Leader(ctx)
	if err == nil && leader == id {
		w.wrong(fmt.Errorf("%s is about to reboot, and its member leads", id))
	}
}

// rebooted waits until these have been rebooted and the lock is free, and nobody wants a
// reboot any more. Each was rebooted once, under one hold, and nobody else was.
func (w *turns) rebooted(ctx context.Context, ids ...string) {
	f := w.f
	f.t.Helper()
	f.until(ctx, fmt.Sprintf("%v to be rebooted, and the lock to be free", ids), func(context.Context) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.errs) > 0 {
			return nil
		}
		var missing error
		for _, id := range ids {
			if w.turnsOf(id) == 0 {
				missing = errors.Join(missing, fmt.Errorf("%s was not", id))
			}
		}
		if n := len(w.holds); n > 0 && !w.holds[n-1].ended {
			missing = errors.Join(missing, fmt.Errorf("held: %+v", w.holds[n-1]))
		}
		return missing
	})
	f.quiet(ctx)
	w.cancel()
	w.tasks.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	f.must(errors.Join(w.errs...))
	for id, boots := range w.boots {
		want := 0
		if slices.Contains(ids, id) {
			want = 1
		}
		if len(boots) != want+1 || w.turnsOf(id) != want {
			f.t.Errorf("%s has had the boot ids %v and the lock for a reboot %d times; it was to be rebooted %d times", id, boots, w.turnsOf(id), want)
		}
	}
}

// turnsOf counts the holds under which an instance was to reboot, and that have ended.
func (w *turns) turnsOf(id string) (n int) {
	for _, h := range w.holds {
		if h.Instance == id && h.rebooting() && h.acting() && h.ended {
			n++
		}
	}
	return n
}

// quiet waits until nobody has the lock or wants a reboot.
func (f *Fleet) quiet(ctx context.Context) {
	f.t.Helper()
	f.until(ctx, "nobody to want a reboot, and the lock to be free", func(ctx context.Context) error {
		for _, inst := range f.Instances() {
			s, err := f.status(ctx, inst.ID)
			if got := s.Reason("reboot"); err != nil || got != string(policy.RebootNotWanted) {
				return errors.Join(err, fmt.Errorf("the reason of %s is %q", inst.ID, got))
			}
		}
		h, err := f.holder(ctx)
		if err == nil && h.Instance != "" {
			err = fmt.Errorf("the hold is %+v", h)
		}
		return err
	})
}
