package etcd

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

var errWatchClosed = errors.New("watch ended")

// Watch calls poke when keys change that this node should look at soon, until ctx
// ends or the watch breaks: for a member, a node that joins (it announces itself
// there) and the members' lock. For a worker it is only how many slots its group
// has: there may be thousands, and what a waiter has to know KeepQueued tells it.
// It is only a hint to look at once: whoever rests on it alone sees nothing while a
// member is cut off.
func (c *Client) Watch(ctx context.Context, poke func()) error {
	_, url, err := read(ctx, c, func(ctx context.Context, e *endpoint) (struct{}, error) {
		_, err := e.cl.Get(ctx, c.keys().slots(), clientv3.WithCountOnly())
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("watch keys: %w", err)
	}
	e, err := c.acquire(url)
	if err != nil {
		return fmt.Errorf("watch keys: %w", err)
	}
	defer c.release(e)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	var joins clientv3.WatchChan
	lock := c.keys().slots()
	var opts []clientv3.OpOption
	if c.cfg.Group == policy.MembersGroup {
		joins = e.cl.Watch(ctx, c.joinPrefix(), clientv3.WithPrefix())
		lock, opts = string(c.keys()), append(opts, clientv3.WithPrefix())
	}
	changes := e.cl.Watch(ctx, lock, opts...)
	for {
		var resp clientv3.WatchResponse
		var ok bool
		select {
		case resp, ok = <-joins:
		case resp, ok = <-changes:
		}
		switch err := resp.Err(); {
		case ok && err == nil:
			poke()
		case ctx.Err() != nil:
			return ctx.Err()
		case ok:
			return fmt.Errorf("watch keys through %s: %w", url, err)
		default:
			return errWatchClosed
		}
	}
}
