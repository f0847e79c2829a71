package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// attempts bounds how often a transaction is built anew because what it compared
// had changed.
const attempts = 4

var errLockBusy = fmt.Errorf("the lock keeps changing: %w", errRefused)

// TakeSlot takes the slot for this instance, in the phase granted: from the head
// of the queue for the reason, or at once where nobody queues ahead. It is done
// when this instance holds the slot already, with this identity and reason; a
// hold of its own from before (another boot, member or reason) becomes this one
// in place, so that nobody waits behind himself.
func (c *Client) TakeSlot(ctx context.Context, reason policy.HoldReason, member policy.MemberID, cluster policy.ClusterID) error {
	want := policy.Hold{
		Instance: c.cfg.Self.Instance, Machine: c.cfg.Self.Machine, Boot: c.cfg.Self.Boot,
		Member: member, Cluster: cluster, Reason: reason, Phase: policy.Granted, Since: time.Now(),
	}
	for range attempts {
		seen, via, err := read(ctx, c, c.readLock)
		if err != nil {
			return fmt.Errorf("take slot: %w", err)
		}
		if seen.cluster != cluster {
			return fmt.Errorf("take slot: %s is of cluster %s, not %s: %w", via, seen.cluster, cluster, errRefused)
		}
		done, err := c.takeSeen(ctx, via, seen, want)
		if err != nil {
			return fmt.Errorf("take slot: %w", err)
		}
		if done {
			return nil
		}
	}
	return fmt.Errorf("take slot: %w", errLockBusy)
}

// takeSeen takes the slot if the lock is still as seen; false: it is not.
func (c *Client) takeSeen(ctx context.Context, via string, seen lockView, want policy.Hold) (bool, error) {
	if h, ok := seen.holdOf(want.Instance); ok {
		if h.Boot == want.Boot && h.Member == want.Member && h.Cluster == want.Cluster && h.Reason == want.Reason {
			return true, nil
		}
		key := c.holderKey(h.Slot)
		return c.commit(ctx, via,
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", h.Revision)},
			append(c.leaveQueues(), clientv3.OpPut(key, encodeHold(want))))
	}
	if len(seen.holds) > 0 {
		return false, fmt.Errorf("%w by %s", ErrSlotTaken, seen.holds[0].Instance)
	}
	turn, err := c.turn(seen, want)
	if err != nil {
		return false, err
	}
	return c.commit(ctx, via,
		append(turn, none(c.holdersPrefix())),
		append(c.leaveQueues(), clientv3.OpPut(c.holderKey(0), encodeHold(want))))
}

// turn gives what must still hold for it to be this instance's turn.
func (c *Client) turn(seen lockView, want policy.Hold) ([]clientv3.Cmp, error) {
	leaving := want.Reason == policy.HoldLeaving
	var cmps []clientv3.Cmp
	queue := seen.queue
	if leaving {
		queue = seen.leaving
	} else {
		if len(seen.leaving) > 0 {
			return nil, fmt.Errorf("%w: %s is leaving", ErrNotHead, seen.leaving[0].Instance)
		}
		cmps = append(cmps, none(c.queuePrefix(policy.HoldLeaving)))
	}
	switch i := own(queue, want.Instance); {
	case i == 0:
		// Whoever comes later gets a later revision, so an unchanged place at
		// the head stays at the head.
		return append(cmps, clientv3.Compare(clientv3.CreateRevision(queue[0].key), "=", queue[0].Revision)), nil
	case len(queue) > 0:
		return nil, fmt.Errorf("%w: %s is", ErrNotHead, queue[0].Instance)
	}
	return append(cmps, none(c.queuePrefix(want.Reason))), nil
}

// none compares that there is no key with a prefix: an absent key's create
// revision is 0, no other's is.
func none(prefix string) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(prefix), "=", 0).WithPrefix()
}

// leaveQueues deletes this instance's places; a holder waits nowhere.
func (c *Client) leaveQueues() []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpDelete(c.queueKey(policy.HoldLeaving)),
		clientv3.OpDelete(c.queueKey("")),
	}
}

// commit runs one transaction; false: a comparison failed.
func (c *Client) commit(ctx context.Context, via string, cmps []clientv3.Cmp, ops []clientv3.Op) (bool, error) {
	var ok bool
	err := c.write(ctx, via, func(ctx context.Context, e *endpoint) error {
		resp, err := e.cl.Txn(ctx).If(cmps...).Then(ops...).Commit()
		if err == nil {
			ok = resp.Succeeded
		}
		return err
	})
	return ok, err
}

// MarkActing turns this instance's hold into an acting one if it is still at the
// revision; else ErrHoldChanged. It is the last look before a disruption. It is
// done when an earlier call with this revision did it.
func (c *Client) MarkActing(ctx context.Context, revision int64) error {
	for range attempts {
		seen, via, err := read(ctx, c, c.readLock)
		if err != nil {
			return fmt.Errorf("mark hold acting: %w", err)
		}
		done, err := c.markSeen(ctx, via, seen, revision)
		if err != nil {
			return fmt.Errorf("mark hold acting: %w", err)
		}
		if done {
			return nil
		}
	}
	return fmt.Errorf("mark hold acting: %w", errLockBusy)
}

// markSeen marks the hold if the lock is still as seen; false: it is not.
func (c *Client) markSeen(ctx context.Context, via string, seen lockView, revision int64) (bool, error) {
	h, ok := seen.holdOf(c.cfg.Self.Instance)
	if !ok {
		return false, fmt.Errorf("%w: it is gone", ErrHoldChanged)
	}
	// The same hold, one step on, in this boot: our own doing.
	if h.Phase == policy.Acting && h.Boot == c.cfg.Self.Boot && h.created <= revision && revision < h.Revision {
		return true, nil
	}
	if h.Revision != revision {
		return false, fmt.Errorf("%w: revision is %d, not %d", ErrHoldChanged, h.Revision, revision)
	}
	h.Phase, h.Boot = policy.Acting, c.cfg.Self.Boot
	key := c.holderKey(h.Slot)
	return c.commit(ctx, via,
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", revision)},
		[]clientv3.Op{clientv3.OpPut(key, encodeHold(h.Hold))})
}

// ReleaseHold deletes the hold of a slot, anybody's, if it is still at the
// revision; else ErrHoldChanged. It is done when that hold is gone, also when
// another has taken its place.
func (c *Client) ReleaseHold(ctx context.Context, slot int, revision int64) error {
	if revision <= 0 {
		return errors.New("release hold: no revision given")
	}
	key := c.holderKey(slot)
	err := c.write(ctx, "", func(ctx context.Context, e *endpoint) error {
		resp, err := e.cl.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(clientv3.OpDelete(key)).
			Else(clientv3.OpGet(key)).Commit()
		if err != nil || resp.Succeeded {
			return err
		}
		kvs := resp.Responses[0].GetResponseRange().GetKvs()
		if len(kvs) == 0 || kvs[0].CreateRevision > revision {
			return nil
		}
		return fmt.Errorf("%w: revision is %d, not %d", ErrHoldChanged, kvs[0].ModRevision, revision)
	})
	if err != nil {
		return fmt.Errorf("release hold of slot %d: %w", slot, err)
	}
	return nil
}
