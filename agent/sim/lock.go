package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// lock is the keyspace of the disruption lock.
type lock struct {
	slots   int
	holders []policy.Hold
	queue   []place // both queues, in the order of their keys' creation
	turn    int64
}

// place is a leased key of one of the two queues.
type place struct {
	instance policy.InstanceID
	boot     string
	duty     policy.KeepQueued // what for
	revision int64
	gen      int // of the lease: a late expiry of an old one is void
}

// leaseTTL is how long a queue key outlives its agent.
const leaseTTL = 60 * time.Second

var errCompare = errors.New("the compare of the transaction failed")

func (c *cluster) lockChanged() {
	c.version++
	c.report()
	c.w.touch(policy.SourceLock)
}

func (c *cluster) readLock() policy.Lock {
	l := policy.Lock{Group: policy.MembersGroup, Revision: c.rev, Slots: c.lock.slots, Holders: slices.Clone(c.lock.holders), Turn: c.lock.turn}
	for _, p := range c.lock.queue {
		w := policy.Waiter{Instance: p.instance, Reason: p.duty.Reason, Client: p.duty.Client, Boot: p.boot, Revision: p.revision}
		if p.duty.Leaves() {
			l.Leaving = append(l.Leaving, w)
		} else {
			l.Queue = append(l.Queue, w)
		}
	}
	return l
}

// enqueue puts a node's leased key, or renews it.
func (c *cluster) enqueue(id policy.InstanceID, boot string, duty policy.KeepQueued) (gen int) {
	for i := range c.lock.queue {
		if p := &c.lock.queue[i]; p.instance == id && p.duty.Leaves() == duty.Leaves() {
			p.gen++
			p.boot, p.duty = boot, duty
			return p.gen
		}
	}
	if slices.ContainsFunc(c.lock.holders, func(h policy.Hold) bool { return h.Instance == id }) {
		return 0 // a holder waits nowhere
	}
	c.rev++
	c.lock.queue = append(c.lock.queue, place{instance: id, boot: boot, duty: duty, revision: c.rev})
	c.lockChanged()
	return 0
}

// dequeue deletes a node's key; gen < 0: whatever its lease.
func (c *cluster) dequeue(id policy.InstanceID, leaving bool, gen int) {
	n := len(c.lock.queue)
	c.lock.queue = slices.DeleteFunc(c.lock.queue, func(p place) bool {
		return p.instance == id && p.duty.Leaves() == leaving && (gen < 0 || p.gen == gen)
	})
	if len(c.lock.queue) != n {
		c.rev++
		c.lockChanged()
	}
}

// take is the transaction that takes the slot, or converts the taker's own hold.
func (c *cluster) take(a *agent, act policy.TakeSlot, applied func()) error {
	if c.noSpace {
		return errNoSpace
	}
	t, id := act.Take, a.m.id
	want := policy.Hold{
		Instance: id, Boot: a.view.Self.Boot, Member: t.Member, Cluster: t.Cluster, Reason: t.Reason, Phase: t.Phase,
		Client: t.Client, Why: t.Why, Since: a.m.clock(),
	}
	for i, h := range c.lock.holders {
		if h.Instance != id {
			continue
		}
		if h.Boot == want.Boot && h.Reason == want.Reason && h.Phase == want.Phase && h.Client == want.Client {
			return nil
		}
		if h.Revision != t.Revision {
			return errCompare
		}
		applied()
		c.rev++
		want.Revision = c.rev
		c.lock.holders[i] = want
		c.lockChanged()
		return nil
	}
	if t.Revision != 0 || len(c.lock.holders) >= c.lock.slots || !c.turnOf(id, t.Reason == policy.HoldLeaving) {
		return errCompare
	}
	if t.Phase == policy.Acting && t.Turn != c.lock.turn {
		return errCompare
	}
	applied()
	c.rev++
	c.lock.turn, want.Revision = c.rev, c.rev
	c.lock.holders = append(c.lock.holders, want)
	c.dequeue(id, true, -1)
	c.dequeue(id, false, -1)
	c.lockChanged()
	return nil
}

// turnOf: nobody is ahead of this node in its queue; leavers go first.
func (c *cluster) turnOf(id policy.InstanceID, leaving bool) bool {
	for _, p := range c.lock.queue {
		if p.duty.Leaves() && !leaving {
			return false
		}
	}
	for _, p := range c.lock.queue {
		if p.duty.Leaves() == leaving {
			return p.instance == id
		}
	}
	return true
}

func (c *cluster) markActing(revision int64, applied func()) error {
	if c.noSpace {
		return errNoSpace
	}
	for i, h := range c.lock.holders {
		if h.Revision == revision {
			applied()
			c.rev++
			c.lock.holders[i].Phase, c.lock.holders[i].Revision = policy.Acting, c.rev
			c.lockChanged()
			return nil
		}
	}
	return errCompare
}

func (c *cluster) release(revision int64, applied func()) error {
	if c.noSpace {
		return errNoSpace
	}
	if !slices.ContainsFunc(c.lock.holders, func(h policy.Hold) bool { return h.Revision == revision }) {
		return errCompare
	}
	applied()
	c.lock.holders = slices.DeleteFunc(c.lock.holders, func(h policy.Hold) bool { return h.Revision == revision })
	c.rev++
	c.lockChanged()
	return nil
}
