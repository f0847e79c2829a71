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

const rebooting = policy.HoldReason("reboot")

// The lock's rules share one cluster, each under a cluster name of its own.
func TestLock(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	for name, f := range map[string]func(*testing.T, *lockTest){
		"lifeOfAHold": testLifeOfAHold, "repeats": testRepeats, "comparisons": testComparisons,
		"placeComparisons": testPlaceComparisons,
		"race":             testRace, "fifo": testFIFO, "leavingFirst": testLeavingFirst,
		"leaseLoss": testLeaseLoss, "takeover": testTakeover, "malformed": testMalformed,
		"watcherLost": testRenewal,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, &lockTest{cl: cl, name: name, admin: admin(t, cl.Member("i-a"))})
		})
	}
}

type lockTest struct {
	cl    *etcdproc.Cluster
	name  string
	admin *clientv3.Client
}

// client makes an agent's client for any instance, beside the first member.
func (lt *lockTest) client(t *testing.T, instance string) *Client {
	t.Helper()
	return clientOf(t, lt.cl.Member("i-a"), lt.cl.ClientURLs(), func(c *Config) {
		c.Cluster = lt.name
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
	go func() { done <- c.KeepQueued(ctx, reason, func() { pokes.Add(1) }) }()
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
	if d := cmp.Diff(policy.Lock{Slots: 1}, lockOf(t, a), cmpopts.IgnoreFields(policy.Lock{}, "Revision")); d != "" {
		t.Errorf("empty lock (-want +got):\n%s", d)
	}
	must(t, a.TakeSlot(ctx, policy.HoldLeaving, 0xfedcba9876543210, cluster))
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
	if err := b.TakeSlot(ctx, policy.HoldLeaving, 2, cluster); !errors.Is(err, ErrSlotTaken) || Classify(err) != Refused {
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
	must(t, a.TakeSlot(ctx, rebooting, 1, cluster))
	rev := lockOf(t, a).Holders[0].Revision
	must(t, a.TakeSlot(ctx, rebooting, 1, cluster))
	if got := lockOf(t, a).Holders[0].Revision; got != rev {
		t.Errorf("repeated take moved the revision from %d to %d", rev, got)
	}
	must(t, a.MarkActing(ctx, rev))
	must(t, a.MarkActing(ctx, rev))
	if err := a.MarkActing(ctx, rev-1); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("mark at a revision before the hold: %v", err)
	}
	// A second reason changes the hold in place.
	must(t, a.TakeSlot(ctx, policy.HoldLeaving, 1, cluster))
	h := lockOf(t, a).Holders[0]
	if h.Reason != policy.HoldLeaving || h.Phase != policy.Granted || h.Revision <= rev {
		t.Errorf("second reason: %+v", h)
	}
	if err := a.MarkActing(ctx, rev); !errors.Is(err, ErrHoldChanged) {
		t.Errorf("mark at the revision of the first reason: %v", err)
	}
	must(t, a.ReleaseHold(ctx, 0, h.Revision))
	must(t, a.ReleaseHold(ctx, 0, h.Revision))
	must(t, b.TakeSlot(ctx, rebooting, 2, cluster))
	must(t, a.ReleaseHold(ctx, 0, h.Revision)) // b's: ours is gone, b's stays
	if l := lockOf(t, a); len(l.Holders) != 1 || l.Holders[0].Instance != "i-b" {
		t.Errorf("holders %+v, want i-b", l.Holders)
	}
	if err := a.TakeSlot(ctx, rebooting, 1, cluster+1); Classify(err) != Refused {
		t.Errorf("take in another cluster: %v", err)
	}
}

// What was seen is compared: with each comparison left out, its case would take
// the slot.
func testComparisons(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	take := func(c *Client, reason policy.HoldReason, seen lockView) bool {
		t.Helper()
		ok, err := c.takeSeen(ctx, "", seen, policy.Hold{
			Instance: c.cfg.Self.Instance, Boot: c.cfg.Self.Boot, Cluster: cluster, Reason: reason, Phase: policy.Granted,
		})
		must(t, err)
		return ok
	}
	look := func() lockView {
		t.Helper()
		v, _, err := read(ctx, a, a.readLock)
		must(t, err)
		return v
	}
	free := func() {
		t.Helper()
		_, err := lt.admin.Delete(ctx, a.lockPrefix(), clientv3.WithPrefix())
		must(t, err)
	}
	queue := func(c *Client, reason policy.HoldReason) {
		t.Helper()
		_, err := lt.admin.Put(ctx, c.queueKey(reason), encode(wireWaiter{Version: 1, Instance: string(c.cfg.Self.Instance)}))
		must(t, err)
	}

	seen := look()
	must(t, a.TakeSlot(ctx, rebooting, 1, cluster))
	if take(b, rebooting, seen) {
		t.Error("slot taken although it was no longer empty")
	}
	free()
	seen = look()
	queue(a, rebooting)
	if take(b, rebooting, seen) {
		t.Error("slot taken past a queue that was empty when seen")
	}
	free()
	queue(b, rebooting)
	seen = look()
	free()
	queue(a, rebooting)
	queue(b, rebooting)
	if take(b, rebooting, seen) {
		t.Error("slot taken from a place that is no longer at the head")
	}
	free()
	queue(b, rebooting)
	seen = look()
	queue(a, policy.HoldLeaving)
	if take(b, rebooting, seen) {
		t.Error("slot taken for a reboot although somebody is leaving")
	}
	free()
	seen = look()
	queue(a, rebooting)
	if !take(b, policy.HoldLeaving, seen) {
		t.Error("slot not taken by who is leaving, ahead of the ordinary queue")
	}

	// Holds that were released meanwhile come back by no transaction.
	seen = look()
	free()
	if take(b, rebooting, seen) {
		t.Error("reason changed of a hold that was gone")
	}
	if ok, err := b.markSeen(ctx, "", seen, seen.holds[0].Revision); ok || err != nil {
		t.Errorf("marked a hold that was gone: %v, %v", ok, err)
	}
}

// The same of the places in the queue: a place does not come back beside the
// hold that its instance took meanwhile, and is not written over another's.
func testPlaceComparisons(t *testing.T, lt *lockTest) {
	a, b := lt.client(t, "i-a"), lt.client(t, "i-b")
	ctx, cluster := soon(t), clusterID(t, a)
	q := &queueing{c: a, reason: rebooting, key: a.queueKey(rebooting), poke: func() {}}
	look := func() lockView {
		t.Helper()
		v, _, err := read(ctx, a, a.readLock)
		must(t, err)
		return v
	}
	settle := func(seen lockView) string {
		t.Helper()
		_, err := q.settle(ctx, "", seen)
		must(t, err)
		return waiters(lockOf(t, a).Queue)
	}
	free := look()
	must(t, a.TakeSlot(ctx, rebooting, 1, cluster))
	if got := settle(free); got != "" {
		t.Errorf("queue %q beside one's own hold, taken when the slot was free", got)
	}
	must(t, a.ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))
	must(t, b.TakeSlot(ctx, rebooting, 1, cluster))
	others := look()
	must(t, b.ReleaseHold(ctx, 0, lockOf(t, b).Holders[0].Revision))
	must(t, a.TakeSlot(ctx, rebooting, 1, cluster))
	if got := settle(others); got != "" {
		t.Errorf("queue %q beside one's own hold, taken when it was another's", got)
	}
	must(t, a.ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))

	empty := look()
	if got := settle(empty); got != "i-a" {
		t.Fatalf("queue %q", got)
	}
	before := look().queue[0].mod
	settle(empty)
	if after := look().queue[0].mod; after != before {
		t.Error("a place was written over by one who had not seen it")
	}
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
				switch err := c.TakeSlot(ctx, rebooting, 1, cluster); {
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
	good := encodeHold(policy.Hold{Instance: "i-x", Phase: policy.Acting})
	for key, value := range map[string]string{
		a.holderKey(0):                     `{"version":1`,
		a.holdersPrefix() + "x":            good,
		a.holdersPrefix() + "1":            strings.Replace(good, `"version":1`, `"version":2`, 1),
		a.holdersPrefix() + "2":            strings.Replace(good, "acting", "asleep", 1),
		a.holdersPrefix() + "3":            strings.Replace(good, `"member":"0"`, `"member":"xyz"`, 1),
		a.queuePrefix(rebooting) + "i-y":   `{"version":1,"instance":"i-z"}`,
		a.queuePrefix("leaving") + "i-y/z": `null`,
	} {
		_, err := lt.admin.Put(ctx, key, value)
		must(t, err)
		for what, err := range map[string]error{
			"read": errOf(a.Lock(ctx)), "take": a.TakeSlot(ctx, rebooting, 1, cluster), "mark": a.MarkActing(ctx, 1),
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
	_, err := lt.admin.Put(ctx, a.holderKey(0), strings.Replace(good, "{", `{"colour":"blue",`, 1))
	must(t, err)
	_, err = lt.admin.Put(ctx, a.lockPrefix()+"notes", "by an operator")
	must(t, err)
	if l := lockOf(t, a); len(l.Holders) != 1 || l.Holders[0].Instance != "i-x" {
		t.Errorf("holders %+v", l.Holders)
	}
}

func errOf[T any](_ T, err error) error { return err }
