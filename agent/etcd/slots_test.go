package etcd

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

// A free slot that nobody queues for is taken in one transaction, also straight
// into acting; that only while nobody took one since what was seen.
func testAtOnce(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	seen := lockOf(t, a)
	must(t, b.TakeSlot(ctx, granted(rebooting, 2, cluster)))
	must(t, b.ReleaseHold(ctx, 0, b.Seen().Holders[0].Revision))
	acting := policy.Take{
		Reason: policy.HoldFleetLock, Phase: policy.Acting, Member: 1, Cluster: cluster,
		Client: "978a225b", Why: "an update", Turn: seen.Turn,
	}
	if err := a.TakeSlot(ctx, acting); !errors.Is(err, ErrTurnPassed) || Classify(err) != Refused {
		t.Fatalf("straight into acting on what was seen before another's turn: %v", err)
	}
	acting.Turn = lockOf(t, a).Turn
	must(t, a.TakeSlot(ctx, acting))
	must(t, a.TakeSlot(ctx, acting))
	l := lockOf(t, b)
	if h := l.Holders[0]; h.Phase != policy.Acting || h.Client != "978a225b" || h.Why != "an update" || l.Turn != h.Revision {
		t.Errorf("lock %+v", l)
	}
	if d := cmp.Diff(l.Holders, a.Seen().Holders); d != "" {
		t.Errorf("seen by the taker, without asking (-asked +seen):\n%s", d)
	}
	// A take is not repeated by who asks for something else, and not by a late copy.
	other := acting
	other.Client = "another"
	if err := a.TakeSlot(ctx, other); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("the hold of another client: %v", err)
	}
	must(t, a.TakeSlot(ctx, at(l.Holders[0].Revision, other)))
	must(t, a.ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))
	if err := a.TakeSlot(ctx, acting); !errors.Is(err, ErrTurnPassed) {
		t.Errorf("a released slot was taken again by the same call: %v", err)
	}
}

// Slots may be changed at any time. One more lets the next in, whoever gives one
// back wakes the next, and with fewer than there are holders nobody gets one until
// enough are given back.
func testSlots(t *testing.T, lt *lockTest) {
	a := lt.client(t, "i-0")
	ctx, cluster := soon(t), clusterID(t, a)
	if lt.group == policy.MembersGroup {
		if err := a.SetSlots(ctx, 2); Classify(err) != Refused {
			t.Errorf("two members may be disrupted at once: %v", err)
		}
		_, err := lt.admin.Put(ctx, a.keys().slots(), `{"version":1,"slots":2}`)
		must(t, err)
		if l := lockOf(t, a); l.Slots != 1 {
			t.Errorf("%d slots", l.Slots)
		}
		return
	}
	for _, n := range []int{0, -1, MaxSlots + 1} {
		if err := a.SetSlots(ctx, n); Classify(err) != Refused {
			t.Errorf("%d slots: %v", n, err)
		}
	}
	must(t, a.SetSlots(ctx, 2))
	must(t, a.SetSlots(ctx, 2))
	var cs []*Client
	var pokes []func() int32
	for i := range 5 {
		c := lt.client(t, fmt.Sprintf("i-%d", i+1))
		c.timing.look = 200 * time.Millisecond // how soon a change of slots is noticed
		n, _ := queued(t, c, rebooting)
		cs, pokes = append(cs, c), append(pokes, n.Load)
		if i < 2 {
			must(t, c.TakeSlot(ctx, granted(rebooting, 0, cluster)))
		}
	}
	take := func(i int) error { return cs[i].TakeSlot(ctx, granted(rebooting, 0, cluster)) }
	held := func(want ...string) {
		t.Helper()
		var got []string
		for _, h := range lockOf(t, a).Holders {
			got = append(got, fmt.Sprintf("%d %s", h.Slot, h.Instance))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("holders (-want +got):\n%s", d)
		}
	}
	release := func(i int) {
		t.Helper()
		for _, h := range lockOf(t, cs[i]).Holders {
			if h.Instance == cs[i].cfg.Self.Instance {
				must(t, cs[i].ReleaseHold(ctx, h.Slot, h.Revision))
			}
		}
	}
	woken := func(i int, f func()) {
		t.Helper()
		before := pokes[i]()
		f()
		eventually(t, fmt.Sprintf("i-%d is woken", i+1), func() bool { return pokes[i]() > before })
	}
	held("0 i-1", "1 i-2")
	if err := take(2); !errors.Is(err, ErrSlotTaken) {
		t.Errorf("a third of two slots: %v", err)
	}
	// Whichever holder ends, not only the one directly ahead.
	woken(2, func() { release(0) })
	if err := take(3); !errors.Is(err, ErrNotHead) {
		t.Errorf("out of turn: %v", err)
	}
	must(t, take(2))
	held("0 i-3", "1 i-2")
	if !lookOf(t, cs[3]).queue.head { // the caller looks when it is poked
		t.Error("i-4 is not at the head")
	}
	woken(3, func() { must(t, a.SetSlots(ctx, 3)) })
	must(t, take(3))
	held("0 i-3", "1 i-2", "2 i-4")
	must(t, a.SetSlots(ctx, 1))
	release(2)
	release(1)
	if err := take(4); !errors.Is(err, ErrSlotTaken) {
		t.Errorf("slot 0 is free, but one of one slot is held: %v", err)
	}
	held("2 i-4")
	woken(4, func() { release(3) })
	must(t, take(4))
	held("0 i-5")
}

// Groups do not see each other, but for those who ask for all.
func testGroups(t *testing.T, lt *lockTest) {
	a := lt.client(t, "i-a")
	lt.group = "other"
	b, c := lt.client(t, "i-b"), lt.client(t, "i-c")
	ctx, cluster := soon(t), clusterID(t, a)
	must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))
	must(t, b.TakeSlot(ctx, granted(rebooting, 0, cluster)))
	must(t, b.SetSlots(ctx, 2))
	must(t, c.TakeSlot(ctx, granted(policy.HoldLeaving, 0, cluster)))
	for i := range 3 {
		lt.queue(t, lt.client(t, fmt.Sprintf("i-%d", 3-i)), rebooting)
	}
	own, other := lockOf(t, a), lockOf(t, b)
	all, err := a.Locks(ctx)
	must(t, err)
	if len(all) != 2 {
		t.Fatalf("locks %+v", all)
	}
	if all[0].Group > all[1].Group {
		t.Errorf("groups %s, %s", all[0].Group, all[1].Group)
	}
	for _, l := range all {
		want := own
		if l.Group == "other" {
			want = other
			if waiters(l.Queue) != "i-3 i-2 i-1" || len(l.Holders) != 2 {
				t.Errorf("other: %+v", l)
			}
			want.Queue = l.Queue // one's own look does not list it
		}
		want.Revision = l.Revision
		if d := cmp.Diff(want, l); d != "" {
			t.Errorf("%s (-own look +all):\n%s", l.Group, d)
		}
	}
}

// Who waits finds the next one ahead when the one ahead gives up, dies, or is not
// there any more from the beginning; and whoever takes the last place's slot leaves a
// queue that can be passed at once.
func testGivenUp(t *testing.T, lt *lockTest) {
	h := lt.client(t, "i-h")
	ctx, cluster := soon(t), clusterID(t, h)
	lt.queue(t, lt.client(t, "i-0"), rebooting) // the tail names it also when it is gone
	_, err := lt.admin.Delete(ctx, h.keys().place(queueLine, "i-0"))
	must(t, err)
	must(t, h.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
	var cs []*Client
	var pokes []func() int32
	var stops []func() error
	for i := range 4 {
		c := lt.client(t, fmt.Sprintf("i-%d", i+1))
		n, stop := queued(t, c, rebooting)
		cs, pokes, stops = append(cs, c), append(pokes, n.Load), append(stops, stop)
	}
	must(t, stops[1]()) // gives up
	id := cs[0].lease.current()
	if ahead := lookOf(t, cs[2]).queue.ahead; ahead.instance != "i-1" {
		t.Errorf("ahead of i-3 is %+v", ahead)
	}
	cs[0].lease.lost(id) // the agent is gone, and its lease with it
	_, err = lt.admin.Revoke(ctx, id)
	must(t, err)
	must(t, stops[0]())
	if v := lookOf(t, cs[2]); !v.queue.head {
		t.Errorf("i-3 is not at the head: %+v", v.queue)
	}
	before := pokes[3]()
	must(t, h.ReleaseHold(ctx, 0, lockOf(t, h).Holders[0].Revision))
	eventually(t, "i-3 is woken", func() bool { return pokes[2]() > 0 })
	if err := cs[3].TakeSlot(ctx, granted(rebooting, 1, cluster)); !errors.Is(err, ErrNotHead) {
		t.Errorf("out of turn: %v", err)
	}
	must(t, cs[2].TakeSlot(ctx, granted(rebooting, 1, cluster)))
	must(t, stops[2]())
	must(t, cs[2].ReleaseHold(ctx, 0, cs[2].Seen().Holders[0].Revision))
	eventually(t, "i-4 is woken", func() bool { return pokes[3]() > before })
	must(t, cs[3].TakeSlot(ctx, granted(rebooting, 1, cluster)))
	must(t, stops[3]())
	must(t, cs[3].ReleaseHold(ctx, 0, cs[3].Seen().Holders[0].Revision))
	if l := lockOf(t, h); len(l.Queue) != 0 {
		t.Errorf("queue %+v", l.Queue)
	}
	// A lone waiter that gives up leaves nothing behind either.
	_, stop := queued(t, cs[0], rebooting)
	must(t, stop())
	must(t, h.TakeSlot(ctx, granted(rebooting, 1, cluster)))
}
