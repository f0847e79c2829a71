//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// swappers are the sizes at which a lock on one key can be waited for.
var swappers = []int{100, 400}

// swapKey holds a semaphore as tools of this field keep it: how many may hold, and
// who does. Whoever wants it reads it, swaps it if there is room, and else watches
// until it changes. So everybody is woken by everybody.
const swapKey = "bench/semaphore"

type semaphore struct {
	Max     int      `json:"max"`
	Holders []string `json:"holders"`
}

type swapper struct {
	*clientv3.Client
	id string
}

// swap changes the semaphore by f if nobody else did meanwhile; f says whether there
// is anything to change. It gives the revision of what it saw.
func (s swapper) swap(ctx context.Context, f func(*semaphore) bool) (done bool, rev int64, err error) {
	resp, err := s.Get(ctx, swapKey)
	if err != nil {
		return false, 0, err
	}
	sem, mod := semaphore{Max: 1}, int64(0)
	if len(resp.Kvs) == 1 {
		mod = resp.Kvs[0].ModRevision
		if err := json.Unmarshal(resp.Kvs[0].Value, &sem); err != nil {
			return false, 0, err
		}
	}
	if !f(&sem) {
		return false, resp.Header.Revision, nil
	}
	value, err := json.Marshal(sem)
	if err != nil {
		return false, 0, err
	}
	put, err := s.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(swapKey), "=", mod)).
		Then(clientv3.OpPut(swapKey, string(value))).Commit()
	if err != nil {
		return false, 0, err
	}
	return put.Succeeded, resp.Header.Revision, nil
}

func (s swapper) acquire(ctx context.Context) error {
	var events clientv3.WatchChan
	for {
		done, rev, err := s.swap(ctx, func(sem *semaphore) bool {
			if len(sem.Holders) >= sem.Max {
				return false
			}
			sem.Holders = append(sem.Holders, s.id)
			return true
		})
		if done || err != nil {
			return err
		}
		if events == nil { // one watch for all the time that it waits
			wctx, cancel := context.WithCancel(ctx)
			defer cancel()
			events = s.Watch(wctx, swapKey, clientv3.WithRev(rev+1))
		}
		resp, ok := <-events
		for more := true; more && ok; { // of all that happened meanwhile one look tells
			select {
			case resp, ok = <-events:
			default:
				more = false
			}
		}
		if !ok || resp.Err() != nil {
			return errors.Join(errors.New("the watch ended"), resp.Err(), ctx.Err())
		}
	}
}

func (s swapper) release(ctx context.Context) error {
	for {
		done, _, err := s.swap(ctx, func(sem *semaphore) bool {
			sem.Holders = slices.DeleteFunc(sem.Holders, func(h string) bool { return h == s.id })
			return true
		})
		if done || err != nil {
			return err
		}
	}
}

// serveSwappers is serveQueue with such a lock.
func serveSwappers(ctx context.Context, c *bare, waiters int) (*handOvers, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("not within 10 minutes"))
	defer cancel()
	h := &handOvers{}
	var holding atomic.Int32
	urls := c.urls()
	newSwapper := func(i int, count *calls) (swapper, error) {
		client, err := clientv3.New(clientv3.Config{
			Endpoints: urls[i%len(urls) : i%len(urls)+1], Logger: zap.NewNop(),
			DialOptions: []grpc.DialOption{grpc.WithStatsHandler(count)},
		})
		return swapper{client, "i-" + string(rune('a'+i%26)) + time.Duration(i).String()}, err
	}
	first, err := newSwapper(0, &calls{})
	if err != nil {
		return nil, err
	}
	defer first.Close()
	if err := first.acquire(ctx); err != nil {
		return nil, err
	}
	served := make(chan error, waiters)
	var all []swapper
	began := time.Now()
	for i := range waiters {
		h.each = append(h.each, &calls{})
		s, err := newSwapper(i+1, h.each[i])
		if err != nil {
			return nil, err
		}
		defer s.Close()
		all = append(all, s)
	}
	for _, s := range all {
		go func() {
			err := s.acquire(ctx)
			if err == nil && holding.Add(1) != 1 {
				err = errors.New("two hold the lock at once")
			}
			holding.Add(-1)
			if err == nil {
				err = s.release(ctx)
			}
			served <- err
		}()
	}
	asks := func(c *calls) bool { return c.rpcs.Load() < 2 } // a read and a watch
	for ctx.Err() == nil && slices.ContainsFunc(h.each, asks) {
		_ = leaveAlone(ctx, 5*time.Millisecond)
	}
	_ = leaveAlone(ctx, 500*time.Millisecond)
	h.queueing = time.Since(began)
	began = time.Now()
	if err := first.release(ctx); err != nil {
		return nil, err
	}
	for range all {
		if serr := <-served; serr != nil {
			err = errors.Join(err, serr)
			cancel()
		}
	}
	h.serving = time.Since(began)
	return h, err
}
