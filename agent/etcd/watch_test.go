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
		if err := other.TakeSlot(ctx, policy.HoldLeaving, list.Via, list.Cluster); err != nil {
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
