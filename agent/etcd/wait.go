package etcd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"
)

// target is what a waiter watches; no key: nothing.
type target struct {
	key, end string
	from     int64 // the first revision of interest
	puts     bool  // also that something was written, not only that it is gone
	place    int64 // it is the place ahead of the own one, which was created then
	turn     bool  // a slot is free and it is our turn: the next move is our own
}

func (t target) same(o target) bool { return t.key == o.key && t.end == o.end && t.turn == o.turn }

// wait returns when the target changed, the member that watches it was lost, or
// another look is due, which bounds how long a lost watch could go unseen. It
// renews the lease meanwhile.
func (q *queueing) wait(ctx context.Context, via string, t target, v *lockView) error {
	look, renew := time.NewTimer(q.c.timing.look), time.NewTimer(time.Until(q.renewed.Add(q.c.timing.renew)))
	defer look.Stop()
	defer renew.Stop()
	// Who was told that it is his turn mostly takes the slot: it is watched only if
	// he does not do so soon.
	open := time.NewTimer(0)
	if t.turn {
		open.Reset(q.c.timing.share)
	}
	if t.key == "" {
		open.Stop()
	}
	defer open.Stop()
	var w watching
	defer w.close()
	for {
		seen, news := q.c.latest()
		if seen.rev > v.rev && !q.target(seen).same(t) { // the caller, too, looks now and then
			q.view = seen
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			return nil
		case <-news:
		case <-renew.C:
			if err := q.renew(ctx); err != nil || q.c.lease.current() == clientv3.NoLease {
				return err
			}
			renew.Reset(q.c.timing.renew)
		case <-open.C:
			if err := w.open(ctx, q.c, via, t); err != nil {
				return err
			}
		case resp, ok := <-w.events:
			if q.woke(t, resp) || !ok || resp.CompactRevision != 0 {
				return nil
			}
			if err := resp.Err(); err != nil && w.ctx.Err() == nil {
				return fmt.Errorf("%s: watch %s: %w", w.e.url, t.key, err)
			}
		}
	}
}

// woke pokes if what the watch says is what was waited for.
func (q *queueing) woke(t target, resp clientv3.WatchResponse) bool {
	for _, ev := range resp.Events {
		if t.place != 0 {
			was := ev.Kv // written anew: by one who took a slot, or who renewed his place
			if ev.Type == mvccpb.DELETE {
				was = ev.PrevKv
			}
			served := was != nil && was.Lease == 0
			if ev.Type != mvccpb.DELETE && !served {
				continue
			}
			if served { // a slot is taken from the head only: so that is here now
				q.c.headNow(q.line, t.place)
			}
		}
		q.woken = ev.Kv.ModRevision
		q.poke()
		return true
	}
	return false
}

// watching is one watch through one member.
type watching struct {
	c      *Client
	e      *endpoint
	events clientv3.WatchChan
	ctx    context.Context // of the watch: ends with its connection
	stop   context.CancelFunc
	conn   sync.WaitGroup
}

func (w *watching) open(ctx context.Context, c *Client, via string, t target) (err error) {
	if via == "" {
		urls := c.order()
		if len(urls) == 0 {
			return errNoEndpoints
		}
		via = urls[0] // it answered last
	}
	if w.e, err = c.acquire(via); err != nil {
		return err
	}
	w.c = c
	w.ctx, w.stop = context.WithCancel(ctx)
	// etcd's client resumes a watch for ever, on this member only. The lock has
	// others to ask: leave as soon as the connection is no longer up.
	w.conn.Go(func() {
		defer w.stop()
		cc := w.e.cl.ActiveConnection()
		if cc.GetState() == connectivity.Ready {
			cc.WaitForStateChange(w.ctx, connectivity.Ready)
		}
	})
	opts := []clientv3.OpOption{clientv3.WithRev(t.from), clientv3.WithPrevKV()}
	if t.end != "" {
		opts = append(opts, clientv3.WithRange(t.end))
	}
	if !t.puts {
		opts = append(opts, clientv3.WithFilterPut())
	}
	// A leaderless member ends the watch instead of staying silent.
	w.events = w.e.cl.Watch(clientv3.WithRequireLeader(w.ctx), t.key, opts...)
	return nil
}

func (w *watching) close() {
	if w.e == nil {
		return
	}
	w.stop()
	w.conn.Wait()
	w.c.release(w.e)
}
