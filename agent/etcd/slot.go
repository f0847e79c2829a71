package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// attempts bounds how often a transaction is built anew because what it compared
// had changed.
const attempts = 4

var errLockBusy = fmt.Errorf("the lock keeps changing: %w", errRefused)

// step is what is to be done about the lock as it was seen.
type step struct {
	done bool // nothing
	// Otherwise the operations, if the comparisons still hold.
	cmps []clientv3.Cmp
	ops  []clientv3.Op
}

// outcome is what became of a step.
type outcome struct {
	ok bool // its comparisons held
	// lost: a try got no answer; it may have arrived, or yet arrive.
	lost bool
	now  *lockView // the lock as it is then; nil where that takes another look
}

// change does what plan says, in one transaction on what it says it of. That is
// the lock as this client saw it last, so that a change that was foreseen takes one
// call; a refusal, and that nothing is left to do, are believed only of a fresh
// look. A comparison that fails brings that look along.
//
// A transaction whose answer was lost may be applied at any time after, also when
// its effect was there and is undone again. So what a plan compares must be
// something that the transaction itself changes for good. And a refusal that follows
// such a try is none: the try may have succeeded and been undone, or succeed yet. Its
// class is NoAnswer.
func (c *Client) change(ctx context.Context, plan func(*lockView) (step, error)) error {
	v, fresh, via := c.seenView(), false, ""
	late := false
	for range attempts {
		if v == nil {
			var err error
			if v, via, err = read(ctx, c, c.look); err != nil {
				return err
			}
			fresh = true
		}
		s, err := plan(v)
		if s.done || err != nil {
			if fresh && late && err != nil {
				return &lateError{err}
			}
			if fresh {
				return err
			}
			v = nil
			continue
		}
		out, err := c.commit(ctx, via, s)
		if err != nil || out.ok {
			return err
		}
		v, fresh, late = out.now, true, late || out.lost
	}
	if late {
		return &lateError{errLockBusy}
	}
	return errLockBusy
}

// commit runs a step's transaction.
func (c *Client) commit(ctx context.Context, via string, s step) (out outcome, err error) {
	err = c.write(ctx, via, func(ctx context.Context, e *endpoint) error {
		known := c.standings()
		look := c.lookOps(known)
		resp, err := e.cl.Txn(ctx).If(s.cmps...).Then(slices.Concat(s.ops, look)...).Else(look...).Commit()
		if err != nil {
			out.lost = out.lost || mayHaveArrived(err)
			return err
		}
		if out.ok = resp.Succeeded; out.ok {
			// It is done, whatever can be made of the rest.
			if v, err := c.parse(resp, len(s.ops)); err == nil && c.found(ctx, e, v, known) == nil {
				out.now = v
			}
			return nil
		}
		if out.now, err = c.parse(resp, 0); err != nil {
			return err
		}
		return c.found(ctx, e, out.now, known)
	})
	return out, err
}

func unchanged(key string, mod int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", mod)
}

// TakeSlot takes a slot for this instance: from the head of the queue for the
// reason, or at once where nobody queues ahead; then it is one transaction. In the
// phase acting it is refused with ErrTurnPassed if a slot was taken by anyone
// since take.Turn. A hold of this instance's own that is still at take.Revision
// becomes what was asked for in place, so that nobody waits behind himself; at any
// other revision it is not touched: ErrHoldChanged. It is done when this instance
// holds a slot as asked for already, in this boot.
func (c *Client) TakeSlot(ctx context.Context, take policy.Take) error {
	want := policy.Hold{
		Instance: c.cfg.Self.Instance, Machine: c.cfg.Self.Machine, Boot: c.cfg.Self.Boot,
		Member: take.Member, Cluster: take.Cluster, Reason: take.Reason, Phase: take.Phase,
		Client: take.Client, Why: take.Why, Since: time.Now(),
	}
	if err := c.change(ctx, func(v *lockView) (step, error) { return c.planTake(v, want, take) }); err != nil {
		return fmt.Errorf("take slot: %w", err)
	}
	return nil
}

func (c *Client) planTake(v *lockView, want policy.Hold, take policy.Take) (step, error) {
	if v.cluster != want.Cluster {
		return step{}, fmt.Errorf("this is cluster %s, not %s: %w", v.cluster, want.Cluster, errRefused)
	}
	h, holds := v.holdOf(want.Instance)
	switch {
	case holds && asWanted(h.Hold, want):
		return step{done: true}, nil
	case holds && h.Revision != take.Revision:
		return step{}, fmt.Errorf("%w: this node's is at revision %d, not %d", ErrHoldChanged, h.Revision, take.Revision)
	case holds:
		return c.planConvert(v, h, want), nil
	case take.Revision != 0:
		return step{}, fmt.Errorf("%w: this node's is gone", ErrHoldChanged)
	case take.Phase == policy.Acting && v.turn != take.Turn:
		return step{}, fmt.Errorf("%w: at revision %d, not %d", ErrTurnPassed, v.turn, take.Turn)
	case len(v.holds) >= v.slots:
		return step{}, fmt.Errorf("%w by %s", ErrSlotTaken, v.holds[0].Instance)
	}
	return c.planFreeSlot(v, want)
}

func asWanted(h, want policy.Hold) bool {
	return h.Boot == want.Boot && h.Member == want.Member && h.Cluster == want.Cluster &&
		h.Reason == want.Reason && h.Phase == want.Phase && h.Client == want.Client
}

// planConvert changes an own hold in place. A holder waits nowhere.
func (c *Client) planConvert(v *lockView, h hold, want policy.Hold) step {
	k := c.keys()
	s := step{
		cmps: []clientv3.Cmp{unchanged(k.holder(h.Slot), h.Revision)},
		ops:  []clientv3.Op{clientv3.OpPut(k.holder(h.Slot), encodeHold(want, 0))},
	}
	for _, l := range lines {
		if v.line(l).own.waits() {
			s.ops = append(s.ops, clientv3.OpDelete(k.place(l, want.Instance)))
		}
	}
	return s
}

// planFreeSlot takes a slot that is free. The key turn is written with every slot
// that is taken, and compared: so the holders are no more than were seen, and the
// transaction cannot be applied a second time, however late.
func (c *Client) planFreeSlot(v *lockView, want policy.Hold) (step, error) {
	k, mine := c.keys(), lineOf(want.Reason)
	slot := 0
	for _, h := range v.holds { // sorted by slot
		if h.Slot == slot {
			slot++
		}
	}
	mark := encode(wireWaiter{
		Version: wireVersion, Instance: string(want.Instance), Boot: want.Boot, Reason: string(want.Reason), Since: want.Since.UTC(),
	})
	s := step{
		cmps: []clientv3.Cmp{unchanged(k.turn(), v.turn), unchanged(k.holder(slot), 0)},
		ops:  []clientv3.Op{clientv3.OpPut(k.holder(slot), encodeHold(want, 0)), clientv3.OpPut(k.turn(), mark)},
	}
	if c.cfg.Group != policy.MembersGroup {
		s.cmps = append(s.cmps, unchanged(k.slots(), v.slotsMod))
	}
	if mine == queueLine {
		if !v.leaving.empty() {
			return step{}, fmt.Errorf("%w: %s is leaving", ErrNotHead, v.leaving.waiters()[0].Instance)
		}
		s.cmps = append(s.cmps, unchanged(k.tail(leavingLine), v.leaving.tail))
	}
	for _, l := range lines {
		if own := v.line(l).own; l != mine && own.waits() {
			s.ops = append(s.ops, clientv3.OpDelete(k.place(l, want.Instance)))
		}
	}
	err := c.planTurn(&s, v.line(mine), mine, want)
	return s, err
}

// planTurn adds what makes it this instance's turn in its queue: it is at the head,
// or nobody queues. The place of one who holds stays, without a lease, until the
// hold ends: who is behind watches it, and is woken once, when the slot is free.
func (c *Client) planTurn(s *step, lv *lineView, l line, want policy.Hold) error {
	k := c.keys()
	key := k.place(l, want.Instance)
	switch {
	case lv.own.waits() && !lv.head:
		return fmt.Errorf("%w: %s is ahead", ErrNotHead, lv.ahead.instance)
	case lv.own.waits():
		s.cmps = append(s.cmps, unchanged(key, lv.own.mod))
		s.ops = append(s.ops,
			clientv3.OpPut(key, encode(wireWaiter{
				Version: wireVersion, Instance: string(want.Instance), Boot: want.Boot,
				Reason: string(want.Reason), Since: want.Since.UTC(), Holding: true,
			})),
			k.endTail(l, lv.own.created))
	case !lv.empty():
		return fmt.Errorf("%w: %s is ahead", ErrNotHead, lv.waiters()[0].Instance)
	default:
		s.cmps = append(s.cmps, unchanged(key, lv.own.mod), unchanged(k.tail(l), lv.tail))
		if lv.own.mod != 0 { // left of a hold that is no more
			s.ops = append(s.ops, clientv3.OpDelete(key))
		}
		if lv.tail != 0 { // left by one whose lease ran out
			s.ops = append(s.ops, clientv3.OpDelete(k.tail(l)))
		}
	}
	return nil
}

// endTail removes a queue's tail if the place made at that revision, which is at the
// head, is also the last: then nobody queues behind it.
func (k keys) endTail(l line, created int64) clientv3.Op {
	return clientv3.OpTxn([]clientv3.Cmp{unchanged(k.tail(l), created)}, []clientv3.Op{clientv3.OpDelete(k.tail(l))}, nil)
}

// MarkActing turns this instance's hold into an acting one if it is still at the
// revision; else ErrHoldChanged. It is the last look before a disruption. It is
// done when an earlier call with this revision did it.
func (c *Client) MarkActing(ctx context.Context, revision int64) error {
	self := c.cfg.Self
	err := c.change(ctx, func(v *lockView) (step, error) {
		h, ok := v.holdOf(self.Instance)
		switch {
		case !ok:
			return step{}, fmt.Errorf("%w: it is gone", ErrHoldChanged)
		case h.Phase == policy.Acting && h.Boot == self.Boot && h.from == revision:
			return step{done: true}, nil
		case h.Revision != revision:
			return step{}, fmt.Errorf("%w: revision is %d, not %d", ErrHoldChanged, h.Revision, revision)
		}
		h.Phase, h.Boot = policy.Acting, self.Boot
		key := c.keys().holder(h.Slot)
		return step{
			cmps: []clientv3.Cmp{unchanged(key, revision)},
			ops:  []clientv3.Op{clientv3.OpPut(key, encodeHold(h.Hold, revision))},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("mark hold acting: %w", err)
	}
	return nil
}

// ReleaseHold deletes the hold of a slot, anybody's, if it is still at the
// revision; else ErrHoldChanged. It is done when that hold is gone, also when
// another has taken its place.
func (c *Client) ReleaseHold(ctx context.Context, slot int, revision int64) error {
	if revision <= 0 {
		return errors.New("release hold: no revision given")
	}
	k := c.keys()
	err := c.change(ctx, func(v *lockView) (step, error) {
		i := slices.IndexFunc(v.holds, func(h hold) bool { return h.Slot == slot })
		if i < 0 || v.holds[i].created > revision {
			return step{done: true}, nil
		}
		h := v.holds[i]
		if h.Revision != revision {
			return step{}, fmt.Errorf("%w: revision is %d, not %d", ErrHoldChanged, h.Revision, revision)
		}
		return step{
			cmps: []clientv3.Cmp{unchanged(k.holder(slot), revision)},
			ops: []clientv3.Op{
				clientv3.OpDelete(k.holder(slot)),
				clientv3.OpDelete(k.place(leavingLine, h.Instance)),
				clientv3.OpDelete(k.place(queueLine, h.Instance)),
			},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("release hold of slot %d: %w", slot, err)
	}
	return nil
}

// SetSlots sets how many may hold the lock of this workers' group at once, 1 to
// [MaxSlots]; before the first time it is one. Holders stay, also when they are
// more: then nobody takes a slot until enough of them are given back.
func (c *Client) SetSlots(ctx context.Context, slots int) error {
	if c.cfg.Group == policy.MembersGroup {
		return fmt.Errorf("set slots: the group %s always has one: %w", policy.MembersGroup, errRefused)
	}
	if err := checkSlots(slots); err != nil {
		return fmt.Errorf("set slots: %w: %w", err, errRefused)
	}
	key := c.keys().slots()
	err := c.change(ctx, func(v *lockView) (step, error) {
		if v.slots == slots {
			return step{done: true}, nil
		}
		return step{
			cmps: []clientv3.Cmp{unchanged(key, v.slotsMod)},
			ops:  []clientv3.Op{clientv3.OpPut(key, encode(wireSlots{wireVersion, slots}))},
		}, nil
	})
	if err != nil {
		return fmt.Errorf("set slots: %w", err)
	}
	return nil
}
