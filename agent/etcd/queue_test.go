package etcd

import (
	"context"
	"slices"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

// Waiters are served in order; a hand-over wakes the next one and nobody else.
func testFIFO(t *testing.T, lt *lockTest) {
	names := []string{"i-1", "i-2", "i-3"}
	holder := lt.client(t, "i-0")
	ctx, cluster := soon(t), clusterID(t, holder)
	must(t, holder.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
	type waiter struct {
		c     *Client
		pokes func() int32
		stop  func() error
	}
	var ws []waiter
	for _, n := range names {
		c := lt.client(t, n)
		pokes, stop := queued(t, c, policy.HoldLeaving)
		ws = append(ws, waiter{c, pokes.Load, stop})
	}
	if got := waiters(lockOf(t, holder).Leaving); got != "i-1 i-2 i-3" {
		t.Fatalf("queue %q", got)
	}
	if err := ws[1].c.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)); err == nil {
		t.Fatal("slot taken twice")
	}
	for i, w := range ws {
		before := make([]int32, len(ws))
		for j := range ws {
			before[j] = ws[j].pokes()
		}
		l := lockOf(t, holder)
		must(t, holder.ReleaseHold(ctx, 0, l.Holders[0].Revision))
		eventually(t, names[i]+" is woken", func() bool { return w.pokes() > before[i] })
		for j := i + 1; j < len(ws); j++ {
			if got := ws[j].pokes(); got != before[j] {
				t.Errorf("hand-over to %s woke %s", names[i], names[j])
			}
			if err := ws[j].c.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)); err == nil {
				t.Fatalf("%s took the slot out of turn", names[j])
			}
		}
		must(t, w.c.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
		// A holder does not queue, though its KeepQueued still runs.
		l = lockOf(t, holder)
		if want := waiters(l.Leaving); len(l.Leaving) != len(ws)-i-1 {
			t.Errorf("queue %q while %s holds", want, names[i])
		}
		must(t, w.stop())
		if l := lockOf(t, holder); len(l.Holders) != 1 || l.Holders[0].Instance != policy.InstanceID(names[i]) {
			t.Fatalf("holders %+v after %s left the queue", l.Holders, names[i])
		}
	}
}

// Whoever leaves goes ahead of all others.
func testLeavingFirst(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	aPokes, _ := queued(t, a, rebooting)
	_, stop := queued(t, b, policy.HoldLeaving)
	l := lockOf(t, a)
	if waiters(l.Queue) != "i-a" || waiters(l.Leaving) != "i-b" {
		t.Fatalf("queues %+v", l)
	}
	if err := a.TakeSlot(ctx, granted(rebooting, 1, cluster)); err == nil || Classify(err) != Refused {
		t.Fatalf("reboot ahead of who leaves: %v", err)
	}
	// a was at the head at first: it was told so, and watches holds end. That somebody
	// is leaving, or takes the slot, does not wake it.
	eventually(t, "a is told that it is its turn", func() bool { return aPokes.Load() == 1 })
	must(t, b.TakeSlot(ctx, granted(policy.HoldLeaving, 2, cluster)))
	must(t, stop())
	before := aPokes.Load()
	must(t, a.ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))
	eventually(t, "a is woken", func() bool { return aPokes.Load() > before })
	must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))

	// Taken and given back at once, perhaps between two looks: still news.
	c := lt.client(t, "i-c")
	cPokes, _ := queued(t, c, rebooting)
	must(t, a.ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))
	eventually(t, "c is woken", func() bool { return cPokes.Load() > 0 })
	before = cPokes.Load()
	if l := lockOf(t, c); len(l.Holders) != 0 || waiters(l.Queue) != "i-c" && waiters(l.Queue) != "i-c i-a" {
		t.Errorf("lock %+v", l)
	}
	must(t, b.TakeSlot(ctx, granted(policy.HoldLeaving, 2, cluster)))
	must(t, b.ReleaseHold(ctx, 0, lockOf(t, b).Holders[0].Revision))
	eventually(t, "c is woken again", func() bool { return cPokes.Load() > before })
}

// A place whose lease is lost is taken anew; leaving revokes the lease.
func testLeaseLoss(t *testing.T, lt *lockTest) {
	c := lt.client(t, "i-a")
	c.timing.renew = 200 * time.Millisecond
	ctx := soon(t)
	_, stop := queued(t, c, policy.HoldLeaving)
	_, stopOther := queued(t, c, rebooting)
	first, lost := lockOf(t, c).Leaving[0].Revision, c.lease.current()
	ttl, err := lt.admin.TimeToLive(ctx, lost)
	if err != nil || ttl.GrantedTTL < 60 {
		t.Fatalf("lease of %d s, %v", ttl.GrantedTTL, err)
	}
	_, err = lt.admin.Revoke(ctx, lost)
	must(t, err)
	eventually(t, "the place is there again", func() bool {
		l := lockOf(t, c)
		return len(l.Leaving) == 1 && l.Leaving[0].Revision > first && len(l.Queue) == 1
	})
	again := c.lease.current()
	must(t, stopOther()) // the lease stays with the other place
	if l := lockOf(t, c); len(l.Leaving) != 1 || len(l.Queue) != 0 {
		t.Errorf("after one queue was left: %+v", l)
	}
	must(t, stop())
	if l := lockOf(t, c); len(l.Leaving)+len(l.Queue) != 0 {
		t.Errorf("after both were left: %+v", l)
	}
	if ttl, err := lt.admin.TimeToLive(ctx, again); err == nil && ttl.TTL > 0 {
		t.Errorf("lease still lives for %d s", ttl.TTL)
	}
}

// in is how many keep a place in a line.
func (l *lease) in(line line) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.users[line]
}

// Who waits for another reason than before keeps the place that the first one made.
func testOtherReason(t *testing.T, lt *lockTest) {
	c := lt.client(t, "i-a")
	_, stop := queued(t, c, rebooting)
	place := lockOf(t, c).Queue[0].Revision
	_, stopOther := keep(t, c, policy.HoldFleetLock)
	eventually(t, "both keep the place", func() bool { return c.lease.in(queueLine) == 2 })
	must(t, stop())
	if l := lockOf(t, c); len(l.Queue) != 1 || l.Queue[0].Revision != place {
		t.Errorf("after the first reason: %+v", l.Queue)
	}
	must(t, stopOther())
	if l := lockOf(t, c); len(l.Queue) != 0 {
		t.Errorf("after both: %+v", l.Queue)
	}
}

// An agent that restarted finds its place where it was.
func testTakeover(t *testing.T, lt *lockTest) {
	before := lt.client(t, "i-a")
	ctx := soon(t)
	_, err := lt.admin.Grant(ctx, 60)
	must(t, err)
	old, err := lt.admin.Grant(ctx, 60)
	must(t, err)
	_, err = lt.admin.Put(ctx, before.keys().place(leavingLine, "i-a"),
		encode(wireWaiter{Version: 1, Instance: "i-a"}), clientv3.WithLease(old.ID))
	must(t, err)
	rev := lockOf(t, before).Leaving[0].Revision
	other := lt.client(t, "i-b")
	_, _ = queued(t, other, policy.HoldLeaving)

	after := lt.client(t, "i-a")
	_, stop := queued(t, after, policy.HoldLeaving)
	eventually(t, "the place has a new lease", func() bool {
		resp, err := lt.admin.Get(ctx, after.keys().place(leavingLine, "i-a"))
		return err == nil && len(resp.Kvs) == 1 && resp.Kvs[0].Lease != int64(old.ID) &&
			resp.Kvs[0].Lease == int64(after.lease.current())
	})
	if l := lockOf(t, after); l.Leaving[0].Revision != rev || waiters(l.Leaving) != "i-a i-b" {
		t.Errorf("queue %+v, want the place at %d kept", l.Leaving, rev)
	}
	must(t, stop())
}

// The place of an agent that stops is left to its lease, and tells the next agent of the
// instance for whom it is kept; one that is not wanted any more goes at once, and so does one
// in the leaving queue.
func testAgentStops(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	run := func(c *Client, duty policy.KeepQueued) (stop func(cause error)) {
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.KeepQueued(ctx, duty, func() {}) }()
		eventually(t, string(c.cfg.Self.Instance)+" is queued", func() bool {
			l := lockOf(t, c)
			return slices.ContainsFunc(append(l.Leaving, l.Queue...), func(w policy.Waiter) bool { return w.Instance == c.cfg.Self.Instance })
		})
		return func(cause error) { cancel(cause); must(t, <-done) }
	}
	fleetlock := policy.KeepQueued{Reason: policy.HoldFleetLock, Client: "a client"}
	stop := run(a, fleetlock)
	first := lockOf(t, a).Queue[0]
	stopB := run(b, policy.KeepQueued{Reason: rebooting})
	stop(policy.ErrAgentStops)

	a = lt.client(t, "i-a") // the agent's next process
	l := lockOf(t, a)
	if len(l.Queue) == 0 || l.Queue[0] != first || first.Client != "a client" || first.Boot != "boot-of-i-a" {
		t.Fatalf("queue %+v, want first %+v", l.Queue, first)
	}
	stop = run(a, fleetlock)
	eventually(t, "the place is taken over", func() bool {
		own := lookOf(t, a).queue.own
		return own.lease == a.lease.current() && own.waits()
	})
	if l := lockOf(t, a); l.Queue[0] != first {
		t.Errorf("queue %+v, want first %+v", l.Queue, first)
	}
	// Whom it is kept for is told anew, where the place is; also where the one wait ends
	// before the other has begun.
	stopC := run(a, policy.KeepQueued{Reason: policy.HoldFleetLock, Client: "another client"})
	stop(policy.ErrHandedOn)
	eventually(t, "the place is another client's", func() bool { return lockOf(t, a).Queue[0].Client == "another client" })
	if l := lockOf(t, a); l.Queue[0].Revision != first.Revision {
		t.Errorf("queue %+v, want the place at %d kept", l.Queue, first.Revision)
	}
	stopC(policy.ErrHandedOn)
	stopC = run(a, fleetlock)
	eventually(t, "the place is the first client's again", func() bool { return lockOf(t, a).Queue[0].Client == "a client" })
	if l := lockOf(t, a); l.Queue[0].Revision != first.Revision {
		t.Errorf("queue %+v, want the place at %d kept", l.Queue, first.Revision)
	}
	stopB(nil)
	stopC(nil)
	// Where it is not seen that the place still waits, it tells nobody's client.
	for _, w := range lockOf(t, a).Queue {
		if w.Client != "" || w.Boot != "" {
			t.Errorf("a place that is gone: %+v", w)
		}
	}
	if own := lookOf(t, a).queue.own; own.mod != 0 {
		t.Errorf("%+v was given up", own)
	}
	run(a, policy.KeepQueued{Reason: policy.HoldLeaving})(policy.ErrAgentStops)
	if own := lookOf(t, a).leaving.own; own.mod != 0 {
		t.Errorf("%+v in the leaving queue: a node that is ended must not hold it up", own)
	}
}

// A look at the lock comes now and then, whatever the watch says.
func testRenewal(t *testing.T, lt *lockTest) {
	c := lt.client(t, "i-a")
	c.timing.renew, c.timing.look = 100*time.Millisecond, 100*time.Millisecond
	_, _ = queued(t, c, policy.HoldLeaving)
	_, err := lt.admin.Delete(soon(t), c.keys().place(leavingLine, "i-a"))
	must(t, err)
	eventually(t, "a deleted place is there again", func() bool { return len(lockOf(t, c).Leaving) == 1 })
}

// A waiter whose member dies or hangs goes on through another, and is woken.
func TestQueueSurvivesItsMember(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	waiter, holder := clientOf(t, cl.Member("i-c"), cl.ClientURLs()), clientOf(t, cl.Member("i-b"), cl.ClientURLs())
	ctx, cluster := soon(t), clusterID(t, holder)
	lead(t, holder, cl.Member("i-c"))
	holder.setLast(cl.Member("i-c").ClientURL)
	must(t, holder.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
	waiter.setLast(cl.Member("i-a").ClientURL)
	pokes, stop := queued(t, waiter, policy.HoldLeaving)
	cl.Member("i-a").Kill()
	must(t, holder.ReleaseHold(ctx, 0, lockOf(t, holder).Holders[0].Revision))
	within(t, 5*time.Second, "waking", func() {
		eventually(t, "the waiter is woken", func() bool { return pokes.Load() > 0 })
	})
	must(t, waiter.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
	must(t, stop())

	// Without anybody to ask, leaving the queue is bounded and says so.
	waiter.timing.leave, waiter.timing.call = time.Second, 500*time.Millisecond
	must(t, waiter.ReleaseHold(ctx, 0, lockOf(t, waiter).Holders[0].Revision))
	_, stop = queued(t, waiter, policy.HoldLeaving)
	cl.Member("i-b").Pause()
	cl.Member("i-c").Pause()
	within(t, 3*time.Second, "leaving the queue without etcd", func() {
		// Of the member that was killed the last that is known may be how a connection ended
		// in that moment, which proves nothing (handshakeFailed).
		if err := stop(); Classify(err) != NoAnswer && Classify(err) != CannotTell {
			t.Errorf("left the queue without etcd: %v", err)
		}
	})
	cctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	within(t, time.Second, "a call bounded by its context", func() {
		if _, err := waiter.Lock(cctx); Classify(err) != NoAnswer {
			t.Errorf("lock without etcd: %v", err)
		}
	})
}
