package etcd

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

// writes keeps every transaction that a client sends.
type writes struct {
	mu  sync.Mutex
	all []*pb.TxnRequest
	// lose, if set, says of one that its answer gets lost.
	lose func(*pb.TxnRequest) bool
}

func (w *writes) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	txn, ok := req.(*pb.TxnRequest)
	if !ok {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	w.mu.Lock()
	w.all = append(w.all, txn)
	lose := w.lose != nil && w.lose(txn)
	w.mu.Unlock()
	err := invoke(ctx, method, req, reply, cc, opts...)
	if lose && err == nil {
		return status.Error(codes.Unavailable, "the answer was lost")
	}
	return err
}

func (w *writes) dial(c *Config) {
	c.DialOptions = append(c.DialOptions, grpc.WithChainUnaryInterceptor(w.intercept))
}

// TestLate: every write of a hold's whole life, by both ways to take one, arrives
// again when all is over, in any order: nothing comes back. A client that slept, a
// network that kept a packet and a proxy that repeats do no more than this.
func TestLate(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	for _, group := range []string{policy.MembersGroup, "web"} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			lt := &lockTest{cl: cl, name: "late." + group, group: group, admin: admin(t, cl.Member("i-a"))}
			var w writes
			a := clientOf(t, cl.Member("i-a"), cl.ClientURLs(), func(c *Config) { c.Cluster, c.Group = lt.name, group }, w.dial)
			ctx, cluster := soon(t), clusterID(t, a)
			own := func() int64 { t.Helper(); return lockOf(t, a).Holders[0].Revision }
			live := func(queue bool) {
				stop := func() error { return nil }
				if queue {
					_, stop = queued(t, a, rebooting)
				}
				must(t, a.TakeSlot(ctx, granted(rebooting, 1, cluster)))
				must(t, stop())
				must(t, a.MarkActing(ctx, own()))
				must(t, a.TakeSlot(ctx, at(own(), granted(policy.HoldLeaving, 1, cluster))))
				must(t, a.ReleaseHold(ctx, 0, own()))
			}
			live(false)
			live(true)
			_, stop := queued(t, a, policy.HoldLeaving) // gives up
			must(t, stop())
			live(false)
			before := lockOf(t, lt.client(t, "i-b"))
			w.mu.Lock()
			all := w.all
			w.mu.Unlock()
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 1))
			kv := pb.NewKVClient(lt.admin.ActiveConnection())
			for range 3 {
				r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, txn := range all {
					_, _ = kv.Txn(ctx, txn) // those under a lease that is gone are refused
				}
			}
			after := lockOf(t, lt.client(t, "i-b"))
			after.Revision = before.Revision
			if d := cmp.Diff(before, after); d != "" || len(after.Holders)+len(after.Queue)+len(after.Leaving) != 0 {
				t.Errorf("seed %d: %d writes arrived again (-before +after):\n%s", seed, len(all), d)
			}
		})
	}

	// A refusal is none while a try that got no answer might still succeed.
	lt := &lockTest{cl: cl, name: "late", group: "web", admin: admin(t, cl.Member("i-a"))}
	w := writes{lose: func(txn *pb.TxnRequest) bool { return len(txn.Compare) > 0 }}
	a := clientOf(t, cl.Member("i-a"), cl.ClientURLs(), func(c *Config) { c.Cluster, c.Group = lt.name, "web" }, w.dial)
	ctx, cluster := soon(t), clusterID(t, a)
	lockOf(t, a)
	must(t, lt.client(t, "i-b").TakeSlot(ctx, granted(rebooting, 1, cluster)))
	count := 0
	w.lose = func(txn *pb.TxnRequest) bool { count++; return count == 1 }
	if err := a.TakeSlot(ctx, granted(rebooting, 1, cluster)); !errors.Is(err, ErrSlotTaken) || Classify(err) != NoAnswer {
		t.Errorf("refused after a lost try: %v (%s)", err, Classify(err))
	}

	// Nor is it one that the lock kept changing.
	must(t, lt.client(t, "i-b").ReleaseHold(ctx, 0, lockOf(t, a).Holders[0].Revision))
	count = 0
	w.lose = func(*pb.TxnRequest) bool {
		count++
		_, err := lt.admin.Put(ctx, a.keys().slots(), encode(wireSlots{wireVersion, 2 + count%2}))
		return err == nil && count == 2
	}
	if err := a.TakeSlot(ctx, granted(rebooting, 1, cluster)); !errors.Is(err, errLockBusy) || Classify(err) != NoAnswer {
		t.Errorf("kept from it after a lost try: %v (%s)", err, Classify(err))
	}
}
