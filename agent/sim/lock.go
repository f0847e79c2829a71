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
	queue   []place
}

// place is a leased key of the leaving queue.
type place struct {
	instance policy.InstanceID
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
	l := policy.Lock{Revision: c.rev, Slots: c.lock.slots, Holders: slices.Clone(c.lock.holders)}
	for _, p := range c.lock.queue {
		l.Leaving = append(l.Leaving, policy.Waiter{Instance: p.instance, Revision: p.revision})
	}
	return l
}

// enqueue puts a node's leased key, or renews it.
func (c *cluster) enqueue(id policy.InstanceID) (gen int) {
	for i := range c.lock.queue {
		if c.lock.queue[i].instance == id {
			c.lock.queue[i].gen++
			return c.lock.queue[i].gen
		}
	}
	c.rev++
	c.lock.queue = append(c.lock.queue, place{instance: id, revision: c.rev})
	c.lockChanged()
	return 0
}

// dequeue deletes a node's key; gen < 0: whatever its lease.
func (c *cluster) dequeue(id policy.InstanceID, gen int) {
	n := len(c.lock.queue)
	c.lock.queue = slices.DeleteFunc(c.lock.queue, func(p place) bool {
		return p.instance == id && (gen < 0 || p.gen == gen)
	})
	if len(c.lock.queue) != n {
		c.rev++
		c.lockChanged()
	}
}

// take is the transaction that takes the slot.
func (c *cluster) take(m *machine, a policy.TakeSlot, rec policy.Record) error {
	if c.noSpace {
		return errNoSpace
	}
	if len(c.lock.holders) >= c.lock.slots || (len(c.lock.queue) > 0 && c.lock.queue[0].instance != m.id) {
		return errCompare
	}
	c.rev++
	c.lock.holders = append(c.lock.holders, policy.Hold{
		Instance: m.id, Boot: string(rune('a' + m.boot)), Member: rec.Member, Cluster: rec.Cluster,
		Reason: a.Reason, Phase: policy.Granted, Since: m.clock(), Revision: c.rev,
	})
	c.dequeue(m.id, -1)
	c.lockChanged()
	return nil
}

func (c *cluster) markActing(revision int64) error {
	if c.noSpace {
		return errNoSpace
	}
	for i, h := range c.lock.holders {
		if h.Revision == revision {
			c.rev++
			c.lock.holders[i].Phase, c.lock.holders[i].Revision = policy.Acting, c.rev
			c.lockChanged()
			return nil
		}
	}
	return errCompare
}

func (c *cluster) release(revision int64) error {
	if c.noSpace {
		return errNoSpace
	}
	n := len(c.lock.holders)
	c.lock.holders = slices.DeleteFunc(c.lock.holders, func(h policy.Hold) bool { return h.Revision == revision })
	if len(c.lock.holders) == n {
		return errCompare
	}
	c.rev++
	c.lockChanged()
	return nil
}
