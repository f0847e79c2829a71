package etcd

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

var errWatchClosed = errors.New("watch ended")

// Watch calls poke when any of the cluster's quorumd keys changes (a node that
// joins announces itself there, and the lock is there), until ctx ends or the
// watch breaks. It is only a hint to look at once: whoever rests on it alone sees
// nothing while a member is cut off.
func (c *Client) Watch(ctx context.Context, poke func()) error {
	_, url, err := read(ctx, c, func(ctx context.Context, e *endpoint) (struct{}, error) {
		_, err := e.cl.Get(ctx, c.slotsKey(), clientv3.WithCountOnly())
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
	for resp := range e.cl.Watch(ctx, c.prefix(), clientv3.WithPrefix()) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch keys through %s: %w", url, err)
		}
		poke()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errWatchClosed
}
