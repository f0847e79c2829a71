//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/quorumd/quorumd/agent/etcd"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// handOvers is what it cost to serve a number of waiters, each of which holds the
// lock for no longer than it takes to give it back.
type handOvers struct {
	queueing time.Duration // until all wait
	serving  time.Duration // from the first release to the last
	cpu      time.Duration // of etcd, all members together, in all that time
	each     []*calls      // of each waiter
}

// calls are RPCs as gRPC counts them, each watch stream being one, and watch events.
// Leases are apart: a node has one, for all that it waits for, and renews it for as
// long as it waits.
type calls struct{ rpcs, leases, events atomic.Int64 }

// count gives a number of each waiter.
func (h *handOvers) count(of func(*calls) *atomic.Int64) (ns []float64) {
	for _, c := range h.each {
		ns = append(ns, float64(of(c).Load()))
	}
	return ns
}

func rpcs(c *calls) *atomic.Int64   { return &c.rpcs }
func leases(c *calls) *atomic.Int64 { return &c.leases }
func events(c *calls) *atomic.Int64 { return &c.events }

// ms is a time by the number of waiters.
func (h *handOvers) ms(d time.Duration) []float64 {
	return []float64{float64(d.Microseconds()) / 1000 / float64(len(h.each))}
}

type method struct{}

func (*calls) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, method{}, info.FullMethodName)
}

func (c *calls) HandleRPC(ctx context.Context, s stats.RPCStats) {
	name, _ := ctx.Value(method{}).(string)
	switch s := s.(type) {
	case *stats.Begin:
		if strings.HasPrefix(name, "/etcdserverpb.Lease/") {
			c.leases.Add(1)
		} else {
			c.rpcs.Add(1)
		}
	case *stats.InPayload:
		if resp, ok := s.Payload.(*pb.WatchResponse); ok {
			c.events.Add(int64(len(resp.Events)))
		}
	}
}

func (*calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*calls) HandleConn(context.Context, stats.ConnStats)                       {}

// measureLock has ever more nodes of one group wait for the lock at once, and
// beside it clients of a lock as the field has it: one key that everybody watches
// and tries to swap. FleetLock's pair is measured through the same etcd.
func measureLock(ctx context.Context, b *bench) error {
	var perTake, cpu []float64
	for _, n := range b.waiters {
		h, err := b.onBare(ctx, func(c *bare) (*handOvers, error) { return serveQueue(ctx, c, n) })
		if err != nil {
			return fmt.Errorf("%d waiters: %w", n, err)
		}
		b.addHandOvers(fmt.Sprintf("%d waiters", n), h)
		perTake = append(perTake, (h.queueing+h.serving).Seconds()/float64(n))
		cpu = append(cpu, h.cpu.Seconds()/float64(n))
	}
	if len(perTake) > 1 {
		last := len(perTake) - 1
		b.add("lock", fmt.Sprintf("time a waiter, %d over %d waiters", b.waiters[last], b.waiters[0]), "x",
			[]float64{perTake[last] / perTake[0]}).atMost(1.5)
		b.add("lock", fmt.Sprintf("etcd's CPU time a waiter, %d over %d waiters", b.waiters[last], b.waiters[0]), "x",
			[]float64{cpu[last] / cpu[0]}).atMost(1.5)
	}
	for _, n := range swappers {
		h, err := b.onBare(ctx, func(c *bare) (*handOvers, error) { return serveSwappers(ctx, c, n) })
		if err != nil {
			return fmt.Errorf("%d clients of a lock on one key: %w", n, err)
		}
		name := fmt.Sprintf("%d waiters, one key swapped: ", n)
		b.add("lock", name+"RPCs an acquisition", "", h.count(rpcs))
		b.add("lock", name+"watch events an acquisition", "", h.count(events))
		b.add("lock", name+"time an acquisition", "ms", h.ms(h.serving))
	}
	if _, err := b.onBare(ctx, func(c *bare) (*handOvers, error) { return nil, b.measurePair(ctx, c) }); err != nil {
		return err
	}
	return b.measureAgentPair(ctx)
}

func (b *bench) addHandOvers(name string, h *handOvers) {
	b.add("lock", name+": RPCs an acquisition", "", h.count(rpcs)).atMost(6)
	b.add("lock", name+": watch events an acquisition", "", h.count(events)).atMost(1.2)
	b.add("lock", name+": lease calls, for as long as it waited", "", h.count(leases))
	b.add("lock", name+": time to get into the queue", "ms", h.ms(h.queueing))
	b.add("lock", name+": time an acquisition", "ms", h.ms(h.serving))
	b.add("lock", name+": of etcd's three members' CPU time, a waiter", "ms", h.ms(h.cpu))
}

// onBare measures on three members of their own, which nobody used before.
func (b *bench) onBare(ctx context.Context, f func(*bare) (*handOvers, error)) (h *handOvers, err error) {
	// Children die with the thread that made them (Pdeathsig), so with this one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := b.newBare()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.bootstrap(ctx, 3); err != nil {
		return nil, err
	}
	return f(c)
}

// node is one waiter: a client of its own, with connections of its own, as the agents
// of as many nodes have them.
type node struct {
	*etcd.Client
	id      policy.InstanceID
	cluster policy.ClusterID
	holding *atomic.Int32 // of all
	stop    context.CancelFunc
	poked   chan struct{}
	left    chan error
}

func newNode(c *bare, i int, cluster policy.ClusterID, count stats.Handler) (*node, error) {
	id := policy.InstanceID(fmt.Sprintf("i-%06d", i))
	cl, err := etcd.New(etcd.Config{
		Cluster: "bench", Group: "workers", Self: policy.Self{Instance: id, Machine: "m", Boot: "b"},
		DialOptions: []grpc.DialOption{grpc.WithStatsHandler(count)},
	})
	if err != nil {
		return nil, err
	}
	urls := c.urls()
	turn := i % len(urls) // each node asks another member first
	cl.SetEndpoints(append(slices.Clone(urls[turn:]), urls[:turn]...))
	return &node{Client: cl, id: id, cluster: cluster, poked: make(chan struct{}, 1), left: make(chan error, 1)}, nil
}

// queue begins to wait, as the agent does.
func (n *node) queue(ctx context.Context) {
	ctx, n.stop = context.WithCancel(ctx)
	go func() {
		n.left <- n.KeepQueued(ctx, policy.KeepQueued{Reason: policy.HoldRebooting}, func() {
			select {
			case n.poked <- struct{}{}:
			default:
			}
		})
	}()
}

// queued reports whether the place is made, from what the client has seen.
func (n *node) queued() bool {
	return slices.ContainsFunc(n.Seen().Queue, func(w policy.Waiter) bool { return w.Instance == n.id })
}

// serve looks when it is poked, and when it is its turn takes the slot, begins to act
// and gives it back.
func (n *node) serve(ctx context.Context) error {
	for {
		select {
		case <-n.poked:
		case <-ctx.Done():
			return ctx.Err()
		}
		l, err := n.Lock(ctx)
		if err != nil {
			return err
		}
		if len(l.Holders) < l.Slots && len(l.Queue) > 0 && l.Queue[0].Instance == n.id {
			break
		}
	}
	take := policy.Take{Reason: policy.HoldRebooting, Phase: policy.Granted, Cluster: n.cluster}
	if err := n.TakeSlot(ctx, take); err != nil {
		return err
	}
	if others := n.holding.Add(1); others != 1 {
		return fmt.Errorf("%d hold the lock at once", others)
	}
	n.stop()
	if err := n.MarkActing(ctx, n.own()); err != nil {
		return err
	}
	n.holding.Add(-1) // before: the next may have it when this call returns
	return n.ReleaseHold(ctx, 0, n.own())
}

// own is the revision of the own hold, which the last call left known.
func (n *node) own() int64 {
	for _, h := range n.Seen().Holders {
		if h.Instance == n.id {
			return h.Revision
		}
	}
	return 0
}

// atOnce is how many nodes get into the queue at a time: this machine is one, on
// which thousands that connect would only wait for each other.
const atOnce = 32

// serveQueue makes a number of nodes wait while one holds, and then serves them all.
func serveQueue(ctx context.Context, c *bare, waiters int) (*handOvers, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute, errors.New("not within 10 minutes"))
	defer cancel()
	// Thousands of nodes have thousands of heaps; this one process has theirs all.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	h := &handOvers{}
	cluster, err := clusterOf(ctx, c)
	if err != nil {
		return nil, err
	}
	first, err := newNode(c, 0, cluster, &calls{})
	if err != nil {
		return nil, err
	}
	defer first.Close()
	if err := first.TakeSlot(ctx, policy.Take{Reason: policy.HoldRebooting, Phase: policy.Acting, Cluster: cluster}); err != nil {
		return nil, err
	}
	h.cpu = -c.cpu()
	var holding atomic.Int32
	nodes := make([]*node, waiters)
	for i := range nodes {
		count := &calls{}
		h.each = append(h.each, count)
		if nodes[i], err = newNode(c, i+1, cluster, count); err != nil {
			return nil, err
		}
		defer nodes[i].Close()
		nodes[i].holding = &holding
	}
	began := time.Now()
	if err := enqueue(ctx, nodes); err != nil {
		return nil, err
	}
	h.queueing = time.Since(began)
	served := make(chan error, waiters)
	for _, n := range nodes {
		go func() { served <- n.serve(ctx) }()
	}
	began = time.Now()
	if err := first.ReleaseHold(ctx, 0, first.own()); err != nil {
		return nil, err
	}
	for range nodes {
		err = errors.Join(err, <-served)
		if err != nil {
			cancel() // the others
		}
	}
	h.serving = time.Since(began)
	h.cpu += c.cpu()
	for _, n := range nodes {
		n.stop()
		if lerr := <-n.left; err == nil {
			err = lerr
		}
	}
	return h, err
}

// enqueue has all nodes get into the queue, in no order.
func enqueue(ctx context.Context, nodes []*node) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, n := range nodes {
		slots <- struct{}{}
		n.queue(ctx)
		wg.Go(func() {
			defer func() { <-slots }()
			_ = fleet.Until(ctx, time.Millisecond, "a place", func(context.Context) error {
				if !n.queued() {
					return errors.New("not queued yet")
				}
				return nil
			}) // else ctx says it
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// cpu is the CPU time that the members have used so far; 0 where it cannot be read.
func (c *bare) cpu() (used time.Duration) {
	for _, m := range c.alive {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.cmd.Process.Pid))
		_, rest, ok := strings.Cut(string(stat), ") ") // behind the name, which may have spaces
		fields := strings.Fields(rest)
		if err != nil || !ok || len(fields) < 13 {
			return 0
		}
		for _, ticks := range fields[11:13] { // in user and in kernel mode, 100 a second
			n, err := strconv.Atoi(ticks)
			if err != nil {
				return 0
			}
			used += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return used
}

func clusterOf(ctx context.Context, c *bare) (policy.ClusterID, error) {
	client, err := hosts.Client(c.urls()...)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	resp, err := client.Get(ctx, "x", clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return policy.ClusterID(resp.Header.ClusterId), nil
}
