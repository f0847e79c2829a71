package etcd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

const rebooting = policy.HoldRebooting

// The lock's rules share one cluster, each under a cluster name of its own. They are
// the same for members, whose queue is listed, and for workers, whose is not.
func TestLock(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	for name, f := range map[string]func(*testing.T, *lockTest){
		"lifeOfAHold": testLifeOfAHold, "repeats": testRepeats, "comparisons": testComparisons,
		"placeComparisons": testPlaceComparisons, "atOnce": testAtOnce,
		"race": testRace, "fifo": testFIFO, "leavingFirst": testLeavingFirst, "givenUp": testGivenUp,
		"leaseLoss": testLeaseLoss, "otherReason": testOtherReason, "takeover": testTakeover, "agentStops": testAgentStops, "malformed": testMalformed,
		"watcherLost": testRenewal, "slots": testSlots, "groups": testGroups,
	} {
		for _, group := range []string{policy.MembersGroup, "web"} {
			t.Run(name+"/"+group, func(t *testing.T) {
				t.Parallel()
				f(t, &lockTest{cl: cl, name: name + "." + group, group: group, admin: admin(t, cl.Member("i-a"))})
			})
		}
	}
}

// granted is what mostly is asked for.
func granted(reason policy.HoldReason, m policy.MemberID, c policy.ClusterID) policy.Take {
	return policy.Take{Reason: reason, Phase: policy.Granted, Member: m, Cluster: c}
}

// at is the same for a hold of one's own that is at a revision.
func at(revision int64, t policy.Take) policy.Take { t.Revision = revision; return t }

type lockTest struct {
	cl    *etcdproc.Cluster
	name  string
	group string
	admin *clientv3.Client
}

// client makes an agent's client for any instance, beside the first member.
func (lt *lockTest) client(t *testing.T, instance string) *Client {
	t.Helper()
	return clientOf(t, lt.cl.Member("i-a"), lt.cl.ClientURLs(), func(c *Config) {
		c.Cluster, c.Group = lt.name, lt.group
		c.Self.Instance = policy.InstanceID(instance)
		c.Self.Boot = "boot-of-" + instance
	})
}

func lockOf(t *testing.T, c *Client) policy.Lock {
	t.Helper()
	l, err := c.Lock(soon(t))
	must(t, err)
	return l
}

func waiters(ws []policy.Waiter) string {
	var ids []string
	for _, w := range ws {
		ids = append(ids, string(w.Instance))
	}
	return strings.Join(ids, " ")
}

// keep runs KeepQueued until the returned function is called, which gives its
// error. pokes counts.
func keep(t *testing.T, c *Client, reason policy.HoldReason) (pokes *atomic.Int32, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	pokes = new(atomic.Int32)
	done := make(chan error, 1)
	go func() { done <- c.KeepQueued(ctx, policy.KeepQueued{Reason: reason}, func() { pokes.Add(1) }) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return pokes, stop
}

// queued starts KeepQueued and waits until the place is there.
func queued(t *testing.T, c *Client, reason policy.HoldReason) (*atomic.Int32, func() error) {
	t.Helper()
	pokes, stop := keep(t, c, reason)
	eventually(t, string(c.cfg.Self.Instance)+" is queued", func() bool {
		l := lockOf(t, c)
		return slices.ContainsFunc(append(l.Leaving, l.Queue...), func(w policy.Waiter) bool {
			return w.Instance == c.cfg.Self.Instance
		})
	})
	return pokes, stop
}

func testLifeOfAHold(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	if d := cmp.Diff(policy.Lock{Group: lt.group, Slots: 1}, lockOf(t, a), cmpopts.IgnoreFields(policy.Lock{}, "Revision")); d != "" {
		t.Errorf("empty lock (-want +got):\n%s", d)
	}
	must(t, a.TakeSlot(ctx, granted(policy.HoldLeaving, 0xfedcba9876543210, cluster)))
	l := lockOf(t, b)
	want := policy.Hold{
		Slot: 0, Instance: "i-a", Machine: "machine-of-i-a", Boot: "boot-of-i-a",
		Member: 0xfedcba9876543210, Cluster: cluster, Reason: policy.HoldLeaving, Phase: policy.Granted,
		Revision: l.Revision,
	}
	if d := cmp.Diff([]policy.Hold{want}, l.Holders, cmpopts.IgnoreFields(policy.Hold{}, "Since", "Revision")); d != "" {
		t.Errorf("granted (-want +got):\n%s", d)
	}
	if time.Since(l.Holders[0].Since) > time.Minute {
		t.Errorf("since %s", l.Holders[0].Since)
	}
	if err := b.TakeSlot(ctx, granted(policy.HoldLeaving, 2, cluster)); !errors.Is(err, ErrSlotTaken) || Classify(err) != Refused {
		t.Errorf("taken slot: %v", err)
	}
	granted := l.Holders[0].Revision
	must(t, a.MarkActing(ctx, granted))
	l = lockOf(t, b)
	if h := l.Holders[0]; h.Phase != policy.Acting || h.Revision <= granted {
		t.Errorf("acting: %+v", h)
	}
	if err := b.ReleaseHold(ctx, 0, granted); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("release at an old revision: %v", err)
	}
	// A leaving hold may be released by anyone.
	must(t, b.ReleaseHold(ctx, 0, l.Holders[0].Revision))
	if err := a.MarkActing(ctx, granted); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("mark a released hold: %v", err)
	}
	if l := lockOf(t, a); len(l.Holders) != 0 {
		t.Errorf("after release: %+v", l)
	}
}

// Every write whose answer was lost may be repeated.
func testRepeats(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))
	rev := lockOf(t, a).Holders[0].Revision
	must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))
	if got := lockOf(t, a).Holders[0].Revision; got != rev {
		t.Errorf("repeated take moved the revision from %d to %d", rev, got)
	}
	must(t, a.MarkActing(ctx, rev))
	must(t, a.MarkActing(ctx, rev))
	if err := a.MarkActing(ctx, rev-1); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("mark at a revision before the hold: %v", err)
	}
	// A second reason changes the hold in place.
	acting := lockOf(t, a).Holders[0].Revision
	for _, revision := range []int64{0, rev} {
		if err := a.TakeSlot(ctx, at(revision, granted(policy.HoldLeaving, 1, cluster))); !errors.Is(err, ErrHoldChanged) || Classify(err) != Refused {
			t.Errorf("second reason of a hold as it was at %d: %v", revision, err)
		}
	}
	must(t, a.TakeSlot(ctx, at(acting, granted(policy.HoldLeaving, 1, cluster))))
	must(t, a.TakeSlot(ctx, at(acting, granted(policy.HoldLeaving, 1, cluster))))
	h := lockOf(t, a).Holders[0]
	if h.Reason != policy.HoldLeaving || h.Phase != policy.Granted || h.Revision <= rev {
		t.Errorf("second reason: %+v", h)
	}
	if err := a.MarkActing(ctx, rev); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("mark at the revision of the first reason: %v", err)
	}
	must(t, a.ReleaseHold(ctx, 0, h.Revision))
	must(t, a.ReleaseHold(ctx, 0, h.Revision))
	must(t, b.TakeSlot(ctx, granted(rebooting, 2, cluster)))
	must(t, a.ReleaseHold(ctx, 0, h.Revision)) // b's: ours is gone, b's stays
	if l := lockOf(t, a); len(l.Holders) != 1 || l.Holders[0].Instance != "i-b" {
		t.Errorf("holders %+v, want i-b", l.Holders)
	}
	if err := a.TakeSlot(ctx, at(h.Revision, granted(rebooting, 1, cluster))); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("a hold that is gone became another: %v", err)
	}
	if err := a.TakeSlot(ctx, granted(rebooting, 1, cluster+1)); Classify(err) != Refused {
		t.Errorf("take in another cluster: %v", err)
	}
}

// What was seen is compared: with each comparison left out, its case would take
// the slot.
func testComparisons(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	take := func(c *Client, reason policy.HoldReason, seen *lockView) bool {
		t.Helper()
		s, err := c.planTake(seen, policy.Hold{
			Instance: c.cfg.Self.Instance, Boot: c.cfg.Self.Boot, Cluster: cluster, Reason: reason, Phase: policy.Granted,
		}, policy.Take{Revision: heldAt(seen, c)})
		must(t, err)
		out, err := c.commit(ctx, "", s)
		must(t, err)
		return out.ok
	}
	look := func(c *Client) *lockView { t.Helper(); return lookOf(t, c) }
	free := func() {
		t.Helper()
		_, err := lt.admin.Delete(ctx, string(a.keys()), clientv3.WithPrefix())
		must(t, err)
		for _, c := range []*Client{a, b} {
			c.seen, c.standing = nil, standings{} // which no revision that went back has
		}
	}
	queue := func(c *Client, reason policy.HoldReason) { t.Helper(); lt.queue(t, c, reason) }

	seen := look(b)
	must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))
	if take(b, rebooting, seen) {
		t.Error("slot taken although it was no longer empty")
	}
	must(t, a.ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))
	if take(b, rebooting, seen) {
		t.Error("slot taken although somebody held it since it was seen free")
	}
	free()
	seen = look(b)
	queue(a, rebooting)
	if take(b, rebooting, seen) {
		t.Error("slot taken past a queue that was empty when seen")
	}
	free()
	queue(b, rebooting)
	seen = look(b)
	free()
	queue(a, rebooting)
	queue(b, rebooting)
	if take(b, rebooting, seen) {
		t.Error("slot taken from a place that is no longer at the head")
	}
	free()
	queue(b, rebooting)
	seen = look(b)
	queue(a, policy.HoldLeaving)
	if take(b, rebooting, seen) {
		t.Error("slot taken for a reboot although somebody is leaving")
	}
	free()
	queue(a, rebooting)
	if !take(b, policy.HoldLeaving, look(b)) {
		t.Error("slot not taken by who is leaving, ahead of the ordinary queue")
	}

	// Holds that were released meanwhile come back by no transaction.
	seen = look(b)
	free()
	if take(b, rebooting, seen) {
		t.Error("reason changed of a hold that was gone")
	}
	b.seen = seen
	if err := b.MarkActing(ctx, seen.holds[0].Revision); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("marked a hold that was gone: %v", err)
	}
	if l := lockOf(t, b); len(l.Holders) != 0 {
		t.Errorf("holders %+v", l.Holders)
	}
}

func lookOf(t *testing.T, c *Client) *lockView {
	t.Helper()
	v, _, err := read(soon(t), c, c.look)
	must(t, err)
	return v
}

func heldAt(v *lockView, c *Client) int64 {
	h, _ := v.holdOf(c.cfg.Self.Instance)
	return h.Revision
}

// queue makes a place as an agent of another process would.
func (lt *lockTest) queue(t *testing.T, c *Client, reason policy.HoldReason) {
	t.Helper()
	id, err := lt.admin.Grant(soon(t), 60)
	must(t, err)
	l, value := lineOf(reason), encode(wireWaiter{Version: 1, Instance: string(c.cfg.Self.Instance)})
	_, err = lt.admin.Txn(soon(t)).Then(
		clientv3.OpPut(c.keys().place(l, c.cfg.Self.Instance), value, clientv3.WithLease(id.ID)),
		clientv3.OpPut(c.keys().tail(l), value)).Commit()
	must(t, err)
}

// The same of the places in the queue: a place that was given up, or taken over by
// who holds a slot by now, is not written to.
func testPlaceComparisons(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	q := &queueing{c: a, duty: policy.KeepQueued{Reason: rebooting}, line: queueLine, key: a.keys().place(queueLine, "i-a"), poke: func() {}}
	settle := func(seen *lockView) string {
		t.Helper()
		s, absent, err := q.plan(ctx, "", seen)
		must(t, err)
		if absent {
			_, err = q.enqueue(ctx, "")
		} else if !s.done {
			_, err = a.commit(ctx, "", s)
		}
		must(t, err)
		return waiters(lockOf(t, a).Queue)
	}
	lt.queue(t, a, rebooting) // by the agent before it restarted
	before := lookOf(t, a)
	must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))
	if got := settle(before); got != "" {
		t.Errorf("queue %q: a place came back beside one's own hold", got)
	}
	if own := lookOf(t, a).queue.own; own.mod == 0 || own.waits() {
		t.Errorf("the holder's place is %+v", own)
	}
	must(t, a.ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))
	if got := settle(before); got != "" {
		t.Errorf("queue %q: a place came back after the hold it was for", got)
	}
	if got := settle(lookOf(t, a)); got != "i-a" {
		t.Fatalf("queue %q", got)
	}
	absent, mod := &lockView{}, lookOf(t, a).queue.own.mod
	settle(absent)
	if after := lookOf(t, a).queue.own.mod; after != mod {
		t.Error("a place was written over by one who had not seen it")
	}

	// A holder does not queue: a place that he made nevertheless goes. And what is
	// left of a hold that somebody deleted by hand goes too, also another's.
	must(t, b.TakeSlot(ctx, granted(policy.HoldLeaving, 1, cluster)))
	lt.queue(t, b, rebooting)
	qb := &queueing{c: b, duty: policy.KeepQueued{Reason: rebooting}, line: queueLine, key: b.keys().place(queueLine, "i-b"), poke: func() {}}
	_, _, err := qb.settled(ctx)
	must(t, err)
	if got := waiters(lockOf(t, a).Queue); got != "i-a" {
		t.Errorf("queue %q while i-b holds", got)
	}
	must(t, b.ReleaseHold(ctx, 0, lockOf(t, b).Holders[0].Revision))
	must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))
	_, err = lt.admin.Delete(ctx, a.keys().holder(0))
	must(t, err)
	lt.queue(t, b, rebooting)
	_, _, err = qb.settled(ctx)
	must(t, err)
	if v := lookOf(t, b); len(v.queue.places) != 1 || !v.queue.head {
		t.Errorf("places %+v", v.queue)
	}
	must(t, b.TakeSlot(ctx, granted(rebooting, 1, cluster)))
}

// Many at once: one gets it.
func testRace(t *testing.T, lt *lockTest) {
	ctx := soon(t)
	var clients []*Client
	for _, n := range []string{"i-1", "i-2", "i-3", "i-4", "i-5", "i-6"} {
		clients = append(clients, lt.client(t, n))
	}
	cluster := clusterID(t, clients[0])
	for range 5 {
		var won atomic.Int32
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				switch err := c.TakeSlot(ctx, granted(rebooting, 1, cluster)); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, ErrSlotTaken) && !errors.Is(err, ErrNotHead):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d took the one slot", won.Load())
		}
		must(t, clients[0].ReleaseHold(ctx, 0, lockOf(t, clients[0]).Holders[0].Revision))
	}
}

func testMalformed(t *testing.T, lt *lockTest) {
	a := lt.client(t, "i-a")
	ctx, cluster := soon(t), clusterID(t, a)
	good, k := encodeHold(policy.Hold{Instance: "i-x", Phase: policy.Acting}, 0), a.keys()
	for key, value := range map[string]string{
		k.holder(0):                 `{"version":1`,
		k.holders() + "x":           good,
		k.holders() + "1":           strings.Replace(good, `"version":1`, `"version":2`, 1),
		k.holders() + "2":           strings.Replace(good, "acting", "asleep", 1),
		k.holders() + "3":           strings.Replace(good, `"member":"0"`, `"member":"xyz"`, 1),
		k.line(leavingLine) + "i-y": `{"version":1,"instance":"i-z"}`,
		k.line(queueLine) + "i-a":   `{"version":1}`,
		k.tail(queueLine):           `{"version":1,"instance":7}`,
	} {
		_, err := lt.admin.Put(ctx, key, value)
		must(t, err)
		for what, err := range map[string]error{
			"read": errOf(a.Lock(ctx)), "take": a.TakeSlot(ctx, granted(rebooting, 1, cluster)), "mark": a.MarkActing(ctx, 1),
		} {
			var m *MalformedKeyError
			if !errors.As(err, &m) || m.Key != key || Classify(err) != CannotTell {
				t.Errorf("%s with %s = %s: %v", what, key, value, err)
			}
		}
		_, err = lt.admin.Delete(ctx, key)
		must(t, err)
	}
	// What a newer agent of the same version adds is no obstacle.
	_, err := lt.admin.Put(ctx, k.holder(0), strings.Replace(good, "{", `{"colour":"blue",`, 1))
	must(t, err)
	_, err = lt.admin.Put(ctx, string(k)+"notes", "by an operator")
	must(t, err)
	if l := lockOf(t, a); len(l.Holders) != 1 || l.Holders[0].Instance != "i-x" {
		t.Errorf("holders %+v", l.Holders)
	}
}

func errOf[T any](_ T, err error) error { return err }
