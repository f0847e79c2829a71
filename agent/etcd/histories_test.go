package etcd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

var histories = flag.Int("histories", 200, "of the lock, to be recorded and checked")

const (
	historyClients = 20
	// atATime histories share the cluster, each under a name of its own.
	atATime = 4
	// checkWithin bounds the search for an order; it mostly takes milliseconds.
	checkWithin = time.Minute
)

// TestHistories records what 20 clients do to a lock at once, while members of the
// cluster are killed and paused, answers get lost and requests arrive late; and checks
// that all of it happened as if one after another to a semaphore.
func TestHistories(t *testing.T) {
	t.Parallel()
	n := *histories
	if testing.Short() {
		n = min(n, 40)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := newRig(t)
	var checked, operations, unknown atomic.Int64
	r.each(n, func(i int) {
		h := r.record(t, seed, i, network{})
		operations.Add(int64(len(h.ops)))
		unknown.Add(int64(h.lost))
		if h.broken != "" {
			t.Errorf("history %d of seed %d: %s", i, seed, h.broken)
		}
		if got := h.check(); got != porcupine.Ok {
			t.Errorf("history %d of seed %d (%d slots): %s\n%s", i, seed, h.slots, got, h)
		}
		checked.Add(1)
	})
	t.Logf("%d histories, %d operations, %d of unknown outcome, %d faults of members", checked.Load(), operations.Load(), unknown.Load(), r.faults)
	if operations.Load() < int64(40*n) || unknown.Load() < int64(n) || r.faults < n/20 {
		t.Error("too little happened for this to prove anything")
	}
}

// TestHistoriesOfBrokenLock: a lock that does not compare is caught; and so is one that
// compares all but whose turn it was, by which only what arrives late goes wrong.
func TestHistoriesOfBrokenLock(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, broken := range map[string]func(*pb.Compare) bool{
		"no comparison": func(*pb.Compare) bool { return true },
		"not the holder's revision": func(c *pb.Compare) bool {
			return c.Target == pb.Compare_MOD && keyKind(c.Key) == "holders" && c.GetModRevision() != 0
		},
		"not whether the slot is free": func(c *pb.Compare) bool {
			return keyKind(c.Key) == "turn" || keyKind(c.Key) == "holders" && c.GetModRevision() == 0
		},
	} {
		seed := rand.Uint64()
		var caught, tried atomic.Int64
		r.each(60, func(i int) {
			if caught.Load() > 0 {
				return
			}
			tried.Add(1)
			if h := r.record(t, seed, i, network{leaveOut: broken}); h.check() == porcupine.Illegal {
				caught.Add(1)
			}
		})
		if caught.Load() == 0 {
			t.Errorf("%s: not caught in 60 histories of seed %d", name, seed)
		}
		t.Logf("%s: caught in history %d or so", name, tried.Load())
	}
}

// keyKind is the word behind the group in a key of the lock.
func keyKind(key []byte) string {
	parts := strings.Split(string(key), "/") // "", quorumd, cluster, lock, group, kind
	if len(parts) < 6 {
		return ""
	}
	return parts[5]
}

// rig is one cluster that many histories share.
type rig struct {
	cl     *etcdproc.Cluster
	admin  *clientv3.Client
	faults int
}

func newRig(t *testing.T) *rig {
	cl := etcdproc.Start(t, abc, etcdproc.Options{
		Args: []string{"--heartbeat-interval", "20", "--election-timeout", "200"}, // so that faults pass sooner
	})
	c, err := clientv3.New(clientv3.Config{Endpoints: cl.ClientURLs(), Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &rig{cl: cl, admin: c}
}

// each runs f for 0 to n-1, some at a time, and meanwhile kills and pauses members,
// one after another.
func (r *rig) each(n int, f func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	done := make(chan struct{})
	for range atATime {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				f(int(i - 1))
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	members := r.cl.Members()
	wait := func(d time.Duration) bool {
		select {
		case <-done:
			return false
		case <-time.After(d):
			return true
		}
	}
	for wait(300 * time.Millisecond) {
		m := members[rand.IntN(len(members))]
		r.faults++
		if rand.IntN(2) == 0 {
			m.Kill()
			m.StartExisting(members...)
		} else {
			m.Pause()
			wait(time.Duration(100+rand.IntN(600)) * time.Millisecond)
			m.Resume()
		}
		m.WaitHealthy()
	}
}

// network is what goes wrong between a client and etcd.
type network struct {
	rng      *rand.Rand
	mu       *sync.Mutex
	late     *sync.WaitGroup
	leaveOut func(*pb.Compare) bool // comparisons that are not made
}

func (n network) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if txn, ok := req.(*pb.TxnRequest); ok && n.leaveOut != nil {
		kept := slices.DeleteFunc(slices.Clone(txn.Compare), n.leaveOut)
		req = &pb.TxnRequest{Compare: kept, Success: txn.Success, Failure: txn.Failure}
	}
	n.mu.Lock()
	dice, delay := n.rng.IntN(100), time.Duration(n.rng.IntN(300))*time.Millisecond
	n.mu.Unlock()
	switch {
	case dice < 2: // the request is lost
		return status.Error(codes.Unavailable, "lost on the way")
	case dice < 4: // the answer is
		if err := invoke(ctx, method, req, reply, cc, opts...); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "lost on the way back")
	case dice < 6: // it arrives when nobody waits for it any more
		// Nor does its caller, whose memory some options have the call write into.
		opts := slices.DeleteFunc(slices.Clone(opts), func(o grpc.CallOption) bool {
			switch o.(type) {
			case grpc.PeerCallOption, grpc.HeaderCallOption, grpc.TrailerCallOption:
				return true
			}
			return false
		})
		n.late.Go(func() {
			time.Sleep(delay)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = invoke(ctx, method, req, reflect.New(reflect.TypeOf(reply).Elem()).Interface(), cc, opts...)
		})
		return status.Error(codes.DeadlineExceeded, "kept on the way")
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// history is what was done to one lock.
type history struct {
	began time.Time
	slots int
	mu    sync.Mutex
	ops   []porcupine.Operation
	lost  int // of those, of unknown outcome when they were recorded
	// refused are the takes of which the client said that they changed nothing.
	refused []porcupine.Operation
	broken  string // one that changed something nevertheless
}

// do records one operation.
func (h *history) do(client int, in opInput, f func() opOutput) opOutput {
	called := time.Since(h.began)
	out := f()
	returned := time.Since(h.began)
	if out.result == opUnknown {
		returned = time.Hour
	}
	op := porcupine.Operation{ClientId: client, Input: in, Call: int64(called), Output: out, Return: int64(returned)}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case in.kind == opTake && (out.result == opRefused || out.result == opFull):
		h.refused = append(h.refused, op)
	case out.result == opUnknown && in.kind != opLook:
		h.lost++
	}
	if out.result == opUnknown && in.kind == opLook || out.result == opRefused && in.kind == opTake {
		return out // tells nothing of the order
	}
	h.ops = append(h.ops, op)
	return out
}

func (h *history) check() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(semaphoreModel(h.slots), h.ops, checkWithin)
}

func (h *history) String() (s string) {
	slices.SortFunc(h.ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range h.ops {
		s += fmt.Sprintf("%9.3f %9.3f ms %+v: %+v\n", float64(op.Call)/1e6, float64(op.Return)/1e6, op.Input, op.Output)
	}
	return s
}

// record has clients use a lock for a while.
func (r *rig) record(t *testing.T, seed uint64, number int, net network) *history {
	h := &history{began: time.Now(), slots: 1 + 2*(number%2)}
	name := fmt.Sprintf("h%x-%d", seed, number)
	var late, wg sync.WaitGroup
	setup := r.client(t, name, historyClients, network{})
	defer func() { _ = setup.Close() }()
	for h.slots > 1 && setup.SetSlots(t.Context(), h.slots) != nil && t.Context().Err() == nil {
	}
	cluster := policy.ClusterID(0)
	for cluster == 0 && t.Context().Err() == nil {
		if list, err := setup.Members(t.Context()); err == nil {
			cluster = list.Cluster
		}
	}
	h.began = time.Now()
	for i := range historyClients {
		rng := rand.New(rand.NewPCG(seed, uint64(number*historyClients+i)))
		c := r.client(t, name, i, network{rng: rng, mu: &sync.Mutex{}, late: &late, leaveOut: net.leaveOut})
		u := &user{h: h, c: c, i: i, id: c.cfg.Self.Instance, cluster: cluster, rng: rand.New(rand.NewPCG(seed, uint64(number*historyClients+i)+1<<32))}
		wg.Go(func() {
			defer func() { _ = c.Close() }()
			u.run(t.Context())
		})
	}
	wg.Wait()
	late.Wait()
	(&user{h: h, c: setup, i: historyClients, id: "i-99"}).look(t.Context())
	if written, err := r.written(t.Context(), setup); err == nil {
		h.resolve(written)
	}
	return h
}

// wrote is one write of a hold, or its end, in etcd's own history.
type wrote struct {
	rev, from int64
	why       string
	ended     int64 // the token of the hold that ended
}

// written gives every write and every end of a hold there was.
func (r *rig) written(ctx context.Context, c *Client) (all []wrote, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	put, err := r.admin.Put(ctx, string(c.keys())+"end", "")
	if err != nil {
		return nil, err
	}
	for resp := range r.admin.Watch(ctx, string(c.keys()), clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithPrevKV()) {
		if err := resp.Err(); err != nil {
			return nil, err
		}
		for _, ev := range resp.Events {
			if ev.Kv.ModRevision == put.Header.Revision {
				return all, nil
			}
			if keyKind(ev.Kv.Key) != "holders" {
				continue
			}
			if ev.Type == clientv3.EventTypeDelete {
				all = append(all, wrote{rev: ev.Kv.ModRevision, ended: ev.PrevKv.GetModRevision()})
				continue
			}
			hold, from, err := decodeHold(ev.Kv.Value)
			if err != nil {
				return nil, err
			}
			all = append(all, wrote{rev: ev.Kv.ModRevision, from: from, why: hold.Why})
		}
	}
	return nil, ctx.Err()
}

// resolve finds out which operations of unknown outcome wrote a hold after all, and at
// which revision these and the others did; the rest came to nothing. (That many could
// have happened at any time, or never, takes too long to check.) Of the releases of one
// hold the first ended it, whichever that was, at a revision that is known, too.
func (h *history) resolve(all []wrote) {
	for _, op := range h.refused {
		if revs := writesOf(op.Input.(opInput), all); len(revs) > 0 {
			h.broken = fmt.Sprintf("%+v was refused (%s) and wrote a hold at %d", op.Input, op.Output.(opOutput).said, revs)
		}
	}
	var known []porcupine.Operation
	for _, op := range h.ops {
		in, out := op.Input.(opInput), op.Output.(opOutput)
		if (in.kind == opTake || in.kind == opMark) && (out.result == opUnknown || out.result == opDone) {
			revs := writesOf(in, all)
			switch {
			case len(revs) > 0:
				// A take whose answer was lost and whose hold was evicted meanwhile takes again:
				// it happened so many times, all of them within the call.
				out.result = opDone
				for _, rev := range revs[:len(revs)-1] {
					out.token = rev
					op.Output = out
					known = append(known, op)
				}
				out.token = revs[len(revs)-1]
			case out.result == opUnknown:
				continue
			default: // held already, by an earlier take
				out.token = 0
			}
			op.Output = out
		}
		if in.kind == opRelease && out.result != opRefused {
			i := slices.IndexFunc(all, func(w wrote) bool { return w.ended == in.token })
			if i < 0 && out.result == opUnknown {
				continue
			}
			if i >= 0 {
				out.rev = all[i].rev
				op.Output = out
			}
		}
		known = append(known, op)
	}
	h.ops = known
}

// writesOf gives the revisions at which an operation wrote a hold.
func writesOf(in opInput, all []wrote) (revs []int64) {
	for _, w := range all {
		mine := w.from == 0 && w.why == in.why
		if in.kind == opMark {
			mine = w.from == in.token
		}
		if mine && w.ended == 0 {
			revs = append(revs, w.rev)
		}
	}
	if in.kind == opMark {
		revs = revs[:min(1, len(revs))] // one hold is marked once
	}
	return revs
}

func (r *rig) client(t *testing.T, name string, i int, net network) *Client {
	id := fmt.Sprintf("i-%02d", i)
	cfg := Config{Cluster: name, Group: "web", Self: policy.Self{Instance: policy.InstanceID(id), Boot: "boot"}}
	if net.rng != nil {
		cfg.DialOptions = []grpc.DialOption{grpc.WithChainUnaryInterceptor(net.intercept)}
	}
	c, err := New(cfg)
	if err != nil {
		t.Error(err)
	}
	c.timing.call, c.timing.stagger, c.timing.retry = 400*time.Millisecond, 150*time.Millisecond, 20*time.Millisecond
	c.timing.leave, c.timing.share = 400*time.Millisecond, 50*time.Millisecond
	urls := r.cl.ClientURLs()
	c.SetEndpoints(append(slices.Clone(urls[i%3:]), urls[:i%3]...))
	return c
}

// user is one client, which now and then wants the lock.
type user struct {
	h       *history
	c       *Client
	i       int
	id      policy.InstanceID
	cluster policy.ClusterID
	rng     *rand.Rand
	takes   int
}

func (u *user) run(ctx context.Context) {
	for range 3 {
		time.Sleep(time.Duration(u.rng.IntN(30)) * time.Millisecond)
		switch u.rng.IntN(10) {
		case 0:
			u.evict(ctx)
		case 1, 2, 3, 4:
			u.inTurn(ctx)
		default:
			u.hold(ctx)
		}
	}
}

// inTurn queues, and tries when it is woken, or when that takes too long.
func (u *user) inTurn(ctx context.Context) {
	qctx, stop := context.WithCancel(ctx)
	woken, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		_ = u.c.KeepQueued(qctx, policy.KeepQueued{Reason: policy.HoldRebooting}, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	for range 2 {
		select {
		case <-woken:
		case <-time.After(200 * time.Millisecond):
		}
		if u.hold(ctx) {
			break
		}
	}
	stop()
	<-done
}

// hold takes a slot, perhaps begins to act, perhaps changes the reason, and gives it
// back; true: it had it.
func (u *user) hold(ctx context.Context) bool {
	out := u.take(ctx, policy.HoldRebooting, 0, u.rng.IntN(4) == 0)
	if out.result == opUnknown {
		time.Sleep(time.Duration(u.rng.IntN(100)) * time.Millisecond)
		out.token = u.own(u.look(ctx))
	}
	token := out.token
	if token == 0 {
		return false
	}
	if u.rng.IntN(2) == 0 {
		if out := u.mark(ctx, token); out.token != 0 {
			token = out.token
		}
	}
	if u.rng.IntN(8) == 0 { // asleep, with the lock in hand
		time.Sleep(time.Duration(u.rng.IntN(150)) * time.Millisecond)
	}
	if u.rng.IntN(4) == 0 {
		if out := u.take(ctx, policy.HoldLeaving, token, true); out.token != 0 {
			token = out.token
		}
	}
	for range 3 {
		out := u.release(ctx, u.id, token)
		if out.result == opDone {
			break
		}
		if seen := u.own(u.look(ctx)); seen != 0 {
			token = seen
		}
	}
	return true
}

func (u *user) take(ctx context.Context, why policy.HoldReason, token int64, acting bool) opOutput {
	u.takes++
	id := fmt.Sprintf("take %d of %s", u.takes, u.id) // kept with the hold
	take := policy.Take{Reason: why, Phase: policy.Granted, Cluster: u.cluster, Revision: token, Why: id}
	if acting {
		take.Phase, take.Turn = policy.Acting, u.c.Seen().Turn
	}
	in := opInput{kind: opTake, client: u.id, token: token, acting: acting, why: id}
	return u.h.do(u.i, in, func() opOutput {
		return u.after(ctx, func(ctx context.Context) error { return u.c.TakeSlot(ctx, take) })
	})
}

func (u *user) mark(ctx context.Context, token int64) opOutput {
	in := opInput{kind: opMark, client: u.id, token: token}
	return u.h.do(u.i, in, func() opOutput {
		return u.after(ctx, func(ctx context.Context) error { return u.c.MarkActing(ctx, token) })
	})
}

func (u *user) release(ctx context.Context, owner policy.InstanceID, token int64) opOutput {
	slot := u.slotOf(owner)
	if slot < 0 {
		u.look(ctx)
		if slot = u.slotOf(owner); slot < 0 {
			return opOutput{result: opDone} // gone, or nobody can tell: nothing is done
		}
	}
	in := opInput{kind: opRelease, client: u.id, owner: owner, token: token}
	return u.h.do(u.i, in, func() opOutput {
		out := u.after(ctx, func(ctx context.Context) error { return u.c.ReleaseHold(ctx, slot, token) })
		out.token = 0
		return out
	})
}

// slotOf gives the slot that somebody was seen to hold last, -1 for none.
func (u *user) slotOf(owner policy.InstanceID) int {
	for _, h := range u.c.Seen().Holders {
		if h.Instance == owner {
			return h.Slot
		}
	}
	return -1
}

// evict ends somebody's hold, as an operator does who is shown who has it.
func (u *user) evict(ctx context.Context) {
	if holds := u.look(ctx).holds; len(holds) > 0 {
		h := holds[u.rng.IntN(len(holds))]
		u.release(ctx, h.owner, h.token)
	}
}

func (u *user) look(ctx context.Context) opOutput {
	return u.h.do(u.i, opInput{kind: opLook, client: u.id}, func() opOutput {
		l, err := u.c.Lock(ctx)
		if err != nil {
			return opOutput{result: opUnknown}
		}
		out := opOutput{result: opDone, rev: l.Revision}
		for _, h := range l.Holders {
			out.holds = append(out.holds, held{owner: h.Instance, acting: h.Phase == policy.Acting, token: h.Revision})
		}
		slices.SortFunc(out.holds, byOwner)
		return out
	})
}

func (u *user) own(out opOutput) int64 {
	for _, h := range out.holds {
		if h.owner == u.id {
			return h.token
		}
	}
	return 0
}

// after does an operation, and tells what it came to and the token it left. Now and
// then the client has no patience.
func (u *user) after(ctx context.Context, do func(context.Context) error) opOutput {
	if u.rng.IntN(12) == 0 {
		var cut context.CancelFunc
		ctx, cut = context.WithTimeout(ctx, time.Duration(u.rng.IntN(8000))*time.Microsecond)
		defer cut()
	}
	err := do(ctx)
	switch {
	case err == nil:
		out := opOutput{result: opDone}
		for _, h := range u.c.Seen().Holders {
			if h.Instance == u.id {
				out.token = h.Revision
			}
		}
		return out
	case Classify(err) != Refused:
		return opOutput{result: opUnknown}
	case errors.Is(err, ErrSlotTaken):
		return opOutput{result: opFull, said: err.Error()}
	}
	return opOutput{result: opRefused, said: err.Error()}
}
