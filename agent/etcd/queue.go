package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"

	"github.com/quorumd/quorumd/agent/policy"
)

// KeepQueued keeps this instance's place in the queue for a reason until ctx
// ends, then gives it up. It calls poke, from this goroutine, when what the
// instance waits for changed: the place ahead of its own, or at the head the
// holder. Each waiter watches that one key only, so a hand-over wakes one
// instance however many wait. An instance that holds the slot does not queue.
//
// The place has a lease, so that a machine that dies does not hold up the queue.
// If the lease is lost the place is taken anew, at the end. It returns nil when
// the place was kept to the end and given up, else the last obstacle.
func (c *Client) KeepQueued(ctx context.Context, reason policy.HoldReason, poke func()) error {
	q := &queueing{c: c, reason: reason, key: c.queueKey(reason), poke: poke}
	c.lease.join()
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
			c.cfg.Log.Warn("keeping a place in the queue", "reason", string(reason), "error", rerr.Error())
		}
		err = rerr
		select {
		case <-ctx.Done():
		case <-time.After(c.timing.retry):
		}
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
	c      *Client
	reason policy.HoldReason
	key    string
	poke   func()

	looked  bool
	waiting target    // what was watched last
	changed bool      // the watch saw it change
	renewed time.Time // when the lease was last known to live
}

// target is the one key a waiter watches, as it was seen. Nothing to wait for:
// no key.
type target struct {
	key string
	mod int64
}

// round looks at the lock, sees to the place, and returns when it is time to
// look again.
func (q *queueing) round(ctx context.Context) error {
	if time.Since(q.renewed) >= q.c.timing.renew {
		if err := q.renew(ctx); err != nil {
			return err
		}
	}
	seen, via, err := read(ctx, q.c, q.c.readLock)
	if err != nil {
		return err
	}
	if ready, err := q.settle(ctx, via, seen); err != nil || !ready {
		return err
	}
	now := q.target(seen)
	// Also when all is again as it was: a slot that was taken and given back
	// between two looks is news to who found it taken.
	if q.changed || q.looked && now != q.waiting || !q.looked && now.key == "" {
		q.poke()
	}
	q.looked, q.waiting, q.changed = true, now, false
	return q.wait(ctx, via, now, seen.rev)
}

// settle makes the own place what it must be, in one transaction on what was
// seen: there, under the present lease; or not there, for a holder. It reports
// false when the lock must be read again.
func (q *queueing) settle(ctx context.Context, via string, seen lockView) (ready bool, err error) {
	c := q.c
	queue := seen.queue
	if q.reason == policy.HoldLeaving {
		queue = seen.leaving
	}
	var mine place // zero: none; then its revision is 0, as etcd compares
	if i := own(queue, c.cfg.Self.Instance); i >= 0 {
		mine = queue[i]
	}
	unchanged := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(q.key), "=", mine.mod)}
	if _, holds := seen.holdOf(c.cfg.Self.Instance); holds {
		if mine.mod == 0 {
			return true, nil
		}
		_, err := c.commit(ctx, via, unchanged, []clientv3.Op{clientv3.OpDelete(q.key)})
		return false, err
	}
	id, err := c.leaseID(ctx, via)
	if err != nil {
		return false, err
	}
	if mine.mod != 0 && mine.lease == id {
		return true, nil
	}
	// Not while becoming a holder: TakeSlot deletes the place in the same
	// transaction that writes the holder, and it must not come back.
	if len(seen.holds) == 0 {
		unchanged = append(unchanged, none(c.holdersPrefix()))
	} else {
		h := seen.holds[0]
		unchanged = append(unchanged, clientv3.Compare(clientv3.ModRevision(c.holderKey(h.Slot)), "=", h.Revision))
	}
	// A place left by this instance's agent before it restarted is taken over
	// where it is: a put keeps the create revision, which is the order.
	value := encode(wireWaiter{
		Version: wireVersion, Instance: string(c.cfg.Self.Instance), Boot: c.cfg.Self.Boot,
		Reason: string(q.reason), Since: time.Now().UTC(),
	})
	_, err = c.commit(ctx, via, unchanged, []clientv3.Op{clientv3.OpPut(q.key, value, clientv3.WithLease(id))})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		c.lease.lost(id)
		return false, nil
	}
	return false, err
}

// target gives the key to watch: a holder's own hold; the place ahead; at the
// head the holder, if any.
func (q *queueing) target(seen lockView) target {
	self := q.c.cfg.Self.Instance
	if h, ok := seen.holdOf(self); ok {
		return target{q.c.holderKey(h.Slot), h.Revision}
	}
	ahead := seen.leaving
	if q.reason != policy.HoldLeaving {
		ahead = append(ahead[:len(ahead):len(ahead)], seen.queue...)
	}
	if i := own(ahead, self); i >= 0 {
		ahead = ahead[:i]
	}
	if n := len(ahead); n > 0 {
		return target{ahead[n-1].key, ahead[n-1].mod}
	}
	if len(seen.holds) > 0 {
		return target{q.c.holderKey(seen.holds[0].Slot), seen.holds[0].Revision}
	}
	return target{}
}

// wait returns when the target changed, the member that watches it was lost, or
// the lease is due. The last also bounds how long a lost watch could go unseen.
func (q *queueing) wait(ctx context.Context, via string, t target, rev int64) error {
	ctx, cancel := context.WithDeadline(ctx, q.renewed.Add(q.c.timing.renew))
	defer cancel()
	if t.key == "" {
		// The turn is ours and TakeSlot will write the holder: seen by watching it.
		t.key = q.c.holderKey(0)
	}
	e, err := q.c.acquire(via)
	if err != nil {
		return err
	}
	defer q.c.release(e)

	wctx, stop := context.WithCancel(ctx)
	var conn sync.WaitGroup
	defer conn.Wait()
	defer stop()
	// etcd's client resumes a watch for ever, on this member only. The lock has
	// others to ask: leave as soon as the connection is no longer up.
	conn.Go(func() {
		defer stop()
		cc := e.cl.ActiveConnection()
		if cc.GetState() == connectivity.Ready {
			cc.WaitForStateChange(wctx, connectivity.Ready)
		}
	})
	// A leaderless member ends the watch instead of staying silent.
	for resp := range e.cl.Watch(clientv3.WithRequireLeader(wctx), t.key, clientv3.WithRev(rev+1)) {
		if len(resp.Events) > 0 {
			q.changed = true
			return nil
		}
		if err := resp.Err(); err != nil && wctx.Err() == nil {
			return fmt.Errorf("%s: watch %s: %w", e.url, t.key, err)
		}
	}
	return nil
}

// renew renews the lease, if there is one.
func (q *queueing) renew(ctx context.Context) error {
	id := q.c.lease.current()
	if id != clientv3.NoLease {
		err := q.c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
			_, err := e.cl.KeepAliveOnce(clientv3.WithRequireLeader(ctx), id)
			return err
		})
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			q.c.cfg.Log.Warn("the place in the queue was lost", "lease", strconv.FormatInt(int64(id), 16))
			q.c.lease.lost(id)
		} else if err != nil {
			return fmt.Errorf("renew lease: %w", err)
		}
	}
	q.renewed = time.Now()
	return nil
}

// leave gives the place up: with the lease when nobody else uses it, else alone.
func (q *queueing) leave(ctx context.Context) error {
	c := q.c
	id, last := c.lease.part()
	if id == clientv3.NoLease {
		return nil
	}
	err := c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
		if last {
			_, err := e.cl.Revoke(ctx, id)
			if errors.Is(err, rpctypes.ErrLeaseNotFound) {
				return nil
			}
			return err
		}
		_, err := e.cl.Txn(ctx).
			If(clientv3.Compare(clientv3.LeaseValue(q.key), "=", id)).
			Then(clientv3.OpDelete(q.key)).Commit()
		return err
	})
	if err != nil {
		return fmt.Errorf("leave queue: %w", err)
	}
	return nil
}

// lease is the one lease of this process, under all its places.
type lease struct {
	grant sync.Mutex // held while one is granted, so that it is one
	mu    sync.Mutex
	id    clientv3.LeaseID
	users int
}

func (l *lease) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users++
}

// part ends one use; last: nobody uses the lease any more, and it is forgotten.
func (l *lease) part() (id clientv3.LeaseID, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users--
	id, last = l.id, l.users == 0
	if last {
		l.id = clientv3.NoLease
	}
	return id, last
}

func (l *lease) current() clientv3.LeaseID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

func (l *lease) set(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id = id
}

// lost forgets a lease that etcd no longer knows.
func (l *lease) lost(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id == id {
		l.id = clientv3.NoLease
	}
}

// leaseID gives the lease, granted if there is none. A grant whose answer is lost
// leaves one that nobody uses; it runs out by itself.
func (c *Client) leaseID(ctx context.Context, via string) (clientv3.LeaseID, error) {
	c.lease.grant.Lock()
	defer c.lease.grant.Unlock()
	if id := c.lease.current(); id != clientv3.NoLease {
		return id, nil
	}
	var id clientv3.LeaseID
	err := c.write(ctx, via, func(ctx context.Context, e *endpoint) error {
		resp, err := e.cl.Grant(ctx, int64(c.timing.ttl/time.Second))
		if err == nil {
			id = resp.ID
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("grant lease: %w", err)
	}
	c.lease.set(id)
	return id, nil
}
