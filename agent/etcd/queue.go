package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// KeepQueued keeps this instance's place in the queue for a reason until ctx ends, then
// gives it up, unless the cause says that it stays ([policy.ErrAgentStops],
// [policy.ErrHandedOn]). It calls poke, from this goroutine, when what the
// instance waits for changed: the place ahead of its own, or at the head a hold.
// Each waiter watches one thing only, so a hand-over wakes one instance however
// many wait. An instance that holds a slot does not queue.
//
// The place has a lease, so that a machine that dies does not hold up the queue.
// If the lease is lost the place is taken anew, at the end. It returns nil when
// the place was kept to the end and given up, or stays, else the last obstacle.
func (c *Client) KeepQueued(ctx context.Context, place policy.KeepQueued, poke func()) error {
	l := lineOf(place.Reason)
	q := &queueing{c: c, duty: place, line: l, key: c.keys().place(l, c.cfg.Self.Instance), poke: poke}
	c.lease.join(l)
	var err error
	for ctx.Err() == nil {
		rerr := q.round(ctx)
		if rerr == nil {
			err = nil
			continue
		}
		if ctx.Err() != nil {
			break // the end of ctx is no obstacle
		}
		if err == nil || err.Error() != rerr.Error() {
			c.cfg.Log.Warn("keeping a place in the queue", "reason", string(place.Reason), "error", rerr.Error())
		}
		err = rerr
		select {
		case <-ctx.Done():
		case <-time.After(c.timing.retry):
		}
	}
	if cause := context.Cause(ctx); errors.Is(cause, policy.ErrHandedOn) || l == queueLine && errors.Is(cause, policy.ErrAgentStops) {
		c.lease.hand(l)
		return nil
	}
	// The place must go also now that ctx has ended, else others would wait for
	// the lease to run out. Bounded: this may be because etcd is away.
	lctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timing.leave)
	defer cancel()
	if lerr := q.leave(lctx); lerr != nil {
		err = errors.Join(err, lerr)
	}
	if err != nil {
		return fmt.Errorf("keep place in queue: %w", err)
	}
	return nil
}

// queueing is one run of KeepQueued.
type queueing struct {
	c    *Client
	duty policy.KeepQueued
	line line
	key  string
	poke func()

	looked  bool
	waiting target           // what was waited for last
	woken   int64            // the revision of the event that ended that, 0: none did
	view    *lockView        // a look of this client's since then, if there was one
	lease   clientv3.LeaseID // under which the place was last put
	renewed time.Time        // when it was last known to live
}

// round looks at the lock, sees to the place, and returns when it is time to
// look again.
func (q *queueing) round(ctx context.Context) error {
	if time.Since(q.renewed) >= q.c.timing.renew {
		if err := q.renew(ctx); err != nil {
			return err
		}
	}
	v, via, err := q.settled(ctx)
	if err != nil {
		return err
	}
	now := q.target(v)
	// An event has poked already. Otherwise a look may find that it is our turn, or one
	// of our own what a lost watch did not tell; a caller's told him itself.
	missed := q.looked && q.view == nil && !now.same(q.waiting)
	if q.woken == 0 && (now.turn && !q.waiting.turn || missed) {
		q.poke()
	}
	q.looked, q.waiting, q.woken, q.view = true, now, 0, nil
	return q.wait(ctx, via, now, v)
}

// settled gives a look at the lock in which the own place is as it must be.
func (q *queueing) settled(ctx context.Context) (*lockView, string, error) {
	c, v, via := q.c, q.view, ""
	if q.woken != 0 && v == nil {
		// Who was poked looks at the lock to see why; what it sees is as good.
		v = c.seenSince(ctx, q.woken, c.timing.share)
	}
	if seen := c.seenView(); !q.looked && !seen.holding(c.cfg.Self.Instance) {
		var err error
		if v, err = q.enqueue(ctx, via); err != nil {
			return nil, "", err
		}
	}
	for range attempts {
		if v == nil {
			var err error
			if v, via, err = read(ctx, c, c.look); err != nil {
				return nil, "", err
			}
		}
		if ahead := v.line(q.line).ahead; ahead.created != 0 && ahead.mod == 0 && v.rev-ahead.created > replayed {
			v = nil // too far back: look whether that place is still there
			continue
		}
		s, absent, err := q.plan(ctx, via, v)
		switch {
		case err != nil:
			return nil, "", err
		case s.done:
			return v, via, nil
		case absent:
			v, err = q.enqueue(ctx, via)
		default:
			var out outcome
			out, err = c.commit(ctx, via, s)
			v = out.now
		}
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			c.lease.lost(q.lease)
			v, err = nil, nil
		}
		if err != nil {
			return nil, "", err
		}
	}
	return nil, "", errLockBusy
}

func (v *lockView) holding(id policy.InstanceID) bool {
	if v == nil {
		return false
	}
	_, ok := v.holdOf(id)
	return ok
}

// plan says what must be done about the own place as it was seen: nothing; or it is
// absent and has to be made.
func (q *queueing) plan(ctx context.Context, via string, v *lockView) (s step, absent bool, err error) {
	c, lv := q.c, v.line(q.line)
	drop := func(key string, p place) step {
		return step{cmps: []clientv3.Cmp{unchanged(key, p.mod)}, ops: []clientv3.Op{clientv3.OpDelete(key)}}
	}
	switch holds := v.holding(c.cfg.Self.Instance); {
	case holds && lv.own.waits(), !holds && lv.own.mod != 0 && !lv.own.waits():
		return drop(q.key, lv.own), false, nil
	case holds:
		return step{done: true}, false, nil
	case lv.own.mod == 0:
		return step{}, true, nil
	case lv.orphan.mod != 0:
		return drop(c.keys().place(q.line, lv.orphan.instance), lv.orphan), false, nil
	}
	id, err := c.leaseID(ctx, via)
	if err != nil || lv.own.lease == id && q.says(lv.own) {
		return step{done: true}, false, err
	}
	q.lease = id
	since := lv.own.since
	if since.IsZero() {
		since = time.Now()
	}
	// A place left by this instance's agent before it restarted is taken over where
	// it is: a put keeps the create revision, which is the order. Not one by which
	// a slot was taken meanwhile: that put it anew.
	return step{
		cmps: []clientv3.Cmp{unchanged(q.key, lv.own.mod)},
		ops:  []clientv3.Op{clientv3.OpPut(q.key, q.value(since), clientv3.WithLease(id))},
	}, false, nil
}

// says reports whether a place tells for what and whom it is kept. Of two reasons at one
// time each tells its own when it looks, which is seldom.
func (q *queueing) says(p place) bool { return p.reason == q.duty.Reason && p.client == q.duty.Client }

func (q *queueing) value(since time.Time) string {
	return encode(wireWaiter{
		Version: wireVersion, Instance: string(q.c.cfg.Self.Instance), Boot: q.c.cfg.Self.Boot,
		Reason: string(q.duty.Reason), Since: since.UTC(), Client: q.duty.Client,
	})
}

// enqueue makes the own place if there is none, and with it becomes the one that
// the queue's tail names. It gives the lock as it is then.
func (q *queueing) enqueue(ctx context.Context, via string) (*lockView, error) {
	c, k := q.c, q.c.keys()
	id, err := c.leaseID(ctx, via)
	if err != nil {
		return nil, err
	}
	q.lease = id
	value := q.value(time.Now())
	var now *lockView
	err = c.write(ctx, via, func(ctx context.Context, e *endpoint) error {
		known := c.standings()
		look := c.lookOps(known)
		place := []clientv3.Op{
			clientv3.OpPut(q.key, value, clientv3.WithLease(id)),
			clientv3.OpPut(k.tail(q.line), value, clientv3.WithPrevKV()),
		}
		resp, err := e.cl.Txn(ctx).If(unchanged(q.key, 0)).Then(slices.Concat(place, look)...).Else(look...).Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			if now, err = c.parse(resp, 0); err != nil {
				return err
			}
			return c.found(ctx, e, now, known)
		}
		if now, err = c.parse(resp, len(place)); err != nil {
			return err
		}
		prev := resp.Responses[1].GetResponsePut().GetPrevKv()
		return q.enqueued(ctx, e, now, known, prev.GetValue(), prev.GetModRevision())
	})
	return now, err
}

// enqueued notes who is ahead of a new place: whom the tail named before. Whether
// that one is still there is not known yet.
func (q *queueing) enqueued(ctx context.Context, e *endpoint, v *lockView, known standings, value []byte, created int64) error {
	c, lv := q.c, v.line(q.line)
	st := standing{created: lv.own.created, head: created == 0, aheadCreated: created}
	if !st.head {
		w, err := decodeWaiter(value)
		if err != nil {
			return &MalformedKeyError{c.keys().tail(q.line), err}
		}
		st.ahead = w.Instance
	}
	if lv.all || st.ahead == c.cfg.Self.Instance { // one's own place of before is gone
		return c.found(ctx, e, v, known)
	}
	c.stood(q.line, st)
	lv.head, lv.ahead = st.head, place{instance: st.ahead, created: created}
	for i, l := range lines {
		if l != q.line && !v.stand(v.line(l), known[i]) {
			return c.find(ctx, e, v, l)
		}
	}
	c.saw(v)
	return nil
}

// replayed is how many revisions back a watch may start. A short way is cheaper
// than a look, for etcd replays them to many watchers at once.
const replayed = 1000

// target gives what to wait for: a holder for nothing; else the place ahead, or at
// the head a hold to end, or if a rebooter finds leaving nodes ahead, one of theirs.
func (q *queueing) target(v *lockView) target {
	c, k, lv := q.c, q.c.keys(), v.line(q.line)
	switch {
	case v.holding(c.cfg.Self.Instance):
		return target{}
	case !lv.head:
		// With one slot, the one ahead taking it is no news: what counts is that its
		// place is gone, with the hold. With more the next may be ours then.
		from := v.rev + 1
		if lv.ahead.mod == 0 {
			from = lv.ahead.created + 1
		}
		return target{key: k.place(q.line, lv.ahead.instance), from: from, puts: v.slots > 1, place: lv.own.created}
	case q.line == queueLine && !v.leaving.empty():
		return target{key: k.holders(), end: clientv3.GetPrefixRangeEnd(k.line(leavingLine)), from: v.rev + 1}
	}
	return target{
		key: k.holders(), end: clientv3.GetPrefixRangeEnd(k.holders()), from: v.rev + 1,
		turn: len(v.holds) < v.slots,
	}
}

// renew renews the lease.
func (q *queueing) renew(ctx context.Context) error {
	if err := q.c.keepAlive(ctx); err != nil {
		return err
	}
	q.renewed = time.Now()
	return nil
}

// leave gives the place up, and the lease when nobody else uses it.
func (q *queueing) leave(ctx context.Context) error {
	c := q.c
	id, others, last := c.lease.part(q.line)
	if id == clientv3.NoLease || others {
		return nil
	}
	known := c.standings()
	st := known[slices.Index(lines[:], q.line)]
	var err error
	if st.created != 0 || !last {
		// Not the place of one who holds a slot by now: that has no lease.
		ops := []clientv3.Op{clientv3.OpDelete(q.key)}
		if st.head && st.created != 0 {
			ops = append(ops, c.keys().endTail(q.line, st.created))
		}
		err = c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
			_, err := e.cl.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(q.key), "=", id)).Then(ops...).Commit()
			return err
		})
	}
	if last {
		err = errors.Join(err, c.revoke(ctx, id))
	}
	if err != nil {
		return fmt.Errorf("leave queue: %w", err)
	}
	return nil
}
