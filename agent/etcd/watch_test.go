package etcd

import (
	"context"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

// TestWatch: whatever changes under the cluster's prefix pokes, and the end of the
// context ends the watch.
func TestWatch(t *testing.T) {
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{})
	watcher, other := clientOf(t, cl.Member("i-a"), cl.ClientURLs()), clientOf(t, cl.Member("i-a"), cl.ClientURLs())
	list, err := other.Members(soon(t))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	poked := make(chan struct{}, 16)
	done := make(chan error, 1)
	go func() {
		done <- watcher.Watch(ctx, func() {
			select {
			case poked <- struct{}{}:
			default:
			}
		})
	}()
	// The watch may begin after the first change: change until it is seen.
	deadline := time.After(20 * time.Second)
	for seen := false; !seen; {
		if err := other.TakeSlot(ctx, policy.Take{Reason: policy.HoldLeaving, Phase: policy.Granted, Member: list.Via, Cluster: list.Cluster}); err != nil {
			t.Fatal(err)
		}
		l, err := other.Lock(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.ReleaseHold(ctx, 0, l.Holders[0].Revision); err != nil {
			t.Fatal(err)
		}
		select {
		case <-poked:
			seen = true
		case <-time.After(50 * time.Millisecond):
		case err := <-done:
			t.Fatal(err)
		case <-deadline:
			t.Fatal("no poke")
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("the watch ended without a reason")
	}
}

// TestWatchOfWorker: a worker is told when its group's slots change, and not of every
// hold of a lock that thousands may share.
func TestWatchOfWorker(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{})
	web := func(c *Config) { c.Group = "web" }
	watcher, other := clientOf(t, cl.Member("i-a"), cl.ClientURLs(), web), clientOf(t, cl.Member("i-a"), cl.ClientURLs(), web)
	ctx, cancel := context.WithCancel(t.Context())
	poked, done := make(chan struct{}, 100), make(chan error, 1)
	go func() { done <- watcher.Watch(ctx, func() { poked <- struct{}{} }) }()
	slots := 1
	setSlots := func() { slots++; must(t, other.SetSlots(ctx, slots)) }
	for seen := false; !seen; { // the watch may begin after the first change
		setSlots()
		select {
		case <-poked:
			seen = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	must(t, other.TakeSlot(ctx, granted(rebooting, 0, clusterID(t, other))))
	must(t, other.ReleaseHold(ctx, 0, other.Seen().Holders[0].Revision))
	setSlots()
	<-poked // in order: a hold's would have come before
	cancel()
	<-done
	if n := len(poked); n != 0 {
		t.Errorf("poked %d times more than slots changed", n)
	}
}
