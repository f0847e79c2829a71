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
)

// lease is the one lease of this process, under all its places.
type lease struct {
	grant sync.Mutex // held while one is granted, so that it is one
	mu    sync.Mutex
	id    clientv3.LeaseID
	users map[line]int
}

func (l *lease) join(in line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users == nil {
		l.users = make(map[line]int)
	}
	l.users[in]++
}

// part ends one use, for a place in a line. others: somebody still keeps that place, for
// another reason. last: nobody uses the lease any more, and it is forgotten.
func (l *lease) part(from line) (id clientv3.LeaseID, others, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lessLocked(from)
	id, others, last = l.id, l.users[from] > 0, len(l.users) == 0
	if last {
		l.id = clientv3.NoLease
	}
	return id, others, last
}

// hand ends one use without an end of the place, or of the lease.
func (l *lease) hand(in line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lessLocked(in)
}

func (l *lease) lessLocked(in line) {
	if l.users[in]--; l.users[in] == 0 {
		delete(l.users, in)
	}
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

// keepAlive renews the lease, if there is one. One that etcd no longer knows is
// forgotten.
func (c *Client) keepAlive(ctx context.Context) error {
	id := c.lease.current()
	if id == clientv3.NoLease {
		return nil
	}
	err := c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
		_, err := e.cl.KeepAliveOnce(clientv3.WithRequireLeader(ctx), id)
		return err
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		c.cfg.Log.Warn("the place in the queue was lost", "lease", strconv.FormatInt(int64(id), 16))
		c.lease.lost(id)
		return nil
	}
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	return nil
}

// revoke ends a lease, and with it every place under it.
func (c *Client) revoke(ctx context.Context, id clientv3.LeaseID) error {
	return c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
		_, err := e.cl.Revoke(ctx, id)
		if errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil
		}
		return err
	})
}
