package etcd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// keys is the prefix of one group's keys.
type keys string

func (c *Client) locksPrefix() string      { return c.prefix() + "lock/" }
func (c *Client) keys() keys               { return c.keysOf(c.cfg.Group) }
func (c *Client) keysOf(group string) keys { return keys(c.locksPrefix() + group + "/") }

func (k keys) slots() string          { return string(k) + "slots" }
func (k keys) turn() string           { return string(k) + "turn" }
func (k keys) holders() string        { return string(k) + "holders/" }
func (k keys) holder(slot int) string { return k.holders() + strconv.Itoa(slot) }
func (k keys) line(l line) string     { return string(k) + string(l) + "/" }
func (k keys) tails() string          { return string(k) + "tail/" }
func (k keys) tail(l line) string     { return k.tails() + string(l) }

func (k keys) place(l line, id policy.InstanceID) string { return k.line(l) + string(id) }

// line is one of the two queues.
type line string

const (
	leavingLine line = "leaving" // goes ahead of the other
	queueLine   line = "queue"
)

var lines = [...]line{leavingLine, queueLine}

func lineOf(reason policy.HoldReason) line {
	if reason == policy.HoldLeaving {
		return leavingLine
	}
	return queueLine
}

// listed is how many places of a line are listed at most. The members' lock, which
// has few, is thereby always seen whole; so are those who leave.
const listed = 64

// lists reports whether a look lists a line's places. etcd counts through every
// key of a prefix, also those deleted and not compacted yet, whatever the limit is:
// in a group of thousands that is too much to ask each time.
func (c *Client) lists(l line) bool { return l == leavingLine || c.cfg.Group == policy.MembersGroup }

// lockView is one read of the lock, with what the transactions compare. It is not
// changed once it was read.
type lockView struct {
	cluster  policy.ClusterID
	rev      int64
	slots    int
	slotsMod int64
	turn     int64
	holds    []hold
	leaving  lineView
	queue    lineView
}

type hold struct {
	policy.Hold
	created int64
	from    int64 // the revision at which MarkActing found it
}

// lineView is what was seen of a queue.
type lineView struct {
	tail   int64         // revision of the place that was made last; 0: nobody waits
	last   policy.Waiter // whose that was
	all    bool          // places has every place
	places []place       // in the order of creation
	own    place         // zero: none
	// Of an own place that waits: nobody waits ahead of it, or who does directly.
	head  bool
	ahead place
	// orphan is a place ahead that is left of a hold which no longer is.
	orphan place
}

// place is one place in a queue: of one who waits, with a lease, or of one who got
// a slot from it, without.
type place struct {
	instance policy.InstanceID
	reason   policy.HoldReason // what for, and since when: for people
	since    time.Time
	boot     string // of the instance, and which client waits there: for its own next agent
	client   string
	created  int64
	mod      int64
	lease    clientv3.LeaseID
}

func placeOf(w policy.Waiter, kv *mvccpb.KeyValue) place {
	return place{instance: w.Instance, reason: w.Reason, since: w.Since, boot: w.Boot, client: w.Client,
		created: kv.CreateRevision, mod: kv.ModRevision, lease: clientv3.LeaseID(kv.Lease)}
}

func (p place) waiter() policy.Waiter {
	return policy.Waiter{Instance: p.instance, Reason: p.reason, Since: p.since, Boot: p.boot, Client: p.client, Revision: p.created}
}

func (p place) waits() bool { return p.lease != clientv3.NoLease }

func (v *lockView) line(l line) *lineView {
	if l == leavingLine {
		return &v.leaving
	}
	return &v.queue
}

// holdOf gives an instance's hold.
func (v *lockView) holdOf(id policy.InstanceID) (hold, bool) {
	for _, h := range v.holds {
		if h.Instance == id {
			return h, true
		}
	}
	return hold{}, false
}

// empty reports whether nobody waits in a line, for as long as its tail stays.
func (v *lineView) empty() bool {
	return v.tail == 0 || v.all && !slices.ContainsFunc(v.places, place.waits)
}

// waiters gives those that wait: all, where they are listed; else this instance
// and who is directly ahead, or who came last.
func (v *lineView) waiters() (ws []policy.Waiter) {
	switch {
	case v.all:
		for _, p := range v.places {
			if p.waits() {
				ws = append(ws, p.waiter())
			}
		}
	case v.own.waits():
		if !v.head {
			ws = append(ws, v.ahead.waiter())
		}
		ws = append(ws, v.own.waiter())
	case v.tail != 0:
		w := v.last
		w.Boot, w.Client = "", "" // he may be gone, and this instance is, if it was him
		w.Revision = v.tail
		ws = append(ws, w)
	}
	return ws
}

func (v *lockView) lock(group string) policy.Lock {
	l := policy.Lock{
		Group: group, Revision: v.rev, Slots: v.slots, Turn: v.turn,
		Leaving: v.leaving.waiters(), Queue: v.queue.waiters(),
	}
	for _, h := range v.holds {
		l.Holders = append(l.Holders, h.Hold)
	}
	return l
}

// Lock reads the disruption lock of this node's group, linearizably. What it costs
// does not grow with the number of those who wait: in a workers' group, Queue has
// only this instance and who is directly ahead of it, or whoever came last if this
// instance does not queue. (He may be gone again; to queue finds out.) Holders are
// always complete, and Leaving and the members' Queue up to 64 places.
func (c *Client) Lock(ctx context.Context) (policy.Lock, error) {
	v, _, err := read(ctx, c, c.look)
	if err != nil {
		return policy.Lock{}, fmt.Errorf("read lock: %w", err)
	}
	return v.lock(c.cfg.Group), nil
}

// Seen gives the lock as the last call of this client left it, without asking; the
// zero Lock before the first. It may be out of date: of use to who rests only on
// this client's own last write, or on what a transaction compares again.
func (c *Client) Seen() policy.Lock {
	v := c.seenView()
	if v == nil {
		return policy.Lock{}
	}
	return v.lock(c.cfg.Group)
}

// Locks reads the locks of all groups, complete, sorted by name. It is for people:
// it costs as much as there are waiters.
func (c *Client) Locks(ctx context.Context) ([]policy.Lock, error) {
	locks, _, err := read(ctx, c, c.lookAll)
	if err != nil {
		return nil, fmt.Errorf("read locks: %w", err)
	}
	return locks, nil
}

func (c *Client) lookAll(ctx context.Context, e *endpoint) ([]policy.Lock, error) {
	views := map[string]*lockView{}
	var rev int64
	from, end := c.locksPrefix(), clientv3.GetPrefixRangeEnd(c.locksPrefix())
	for more := true; more; {
		resp, err := e.cl.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(1000), clientv3.WithRev(rev))
		if err != nil {
			return nil, err
		}
		rev, more = resp.Header.Revision, resp.More
		for _, kv := range resp.Kvs {
			from = string(kv.Key) + "\x00"
			group, _, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), c.locksPrefix()), "/")
			v := views[group]
			if v == nil {
				v = newView(resp.Header.ClusterId, rev)
				v.leaving.all, v.queue.all = true, true
				views[group] = v
			}
			if err := v.add(c.keysOf(group), group, kv); err != nil {
				return nil, err
			}
		}
	}
	var locks []policy.Lock
	for group, v := range views {
		v.sort()
		locks = append(locks, v.lock(group))
	}
	slices.SortFunc(locks, func(a, b policy.Lock) int { return cmp.Compare(a.Group, b.Group) })
	return locks, nil
}

// look reads the lock in one transaction; in two when it has to find out who is
// ahead of this instance.
func (c *Client) look(ctx context.Context, e *endpoint) (*lockView, error) {
	known := c.standings()
	resp, err := e.cl.Txn(ctx).Then(c.lookOps(known)...).Commit()
	if err != nil {
		return nil, err
	}
	v, err := c.parse(resp, 0)
	if err != nil {
		return nil, err
	}
	return v, c.found(ctx, e, v, known)
}

// lookOps are the reads of a look.
func (c *Client) lookOps(known standings) []clientv3.Op {
	k, self := c.keys(), c.cfg.Self.Instance
	ops := []clientv3.Op{
		clientv3.OpGet(k.holders(), clientv3.WithPrefix()),
		clientv3.OpGet(k.turn()),
		clientv3.OpGet(k.tails(), clientv3.WithPrefix()),
	}
	if c.cfg.Group != policy.MembersGroup {
		ops = append(ops, clientv3.OpGet(k.slots()))
	}
	for i, l := range lines {
		if c.lists(l) {
			ops = append(ops, clientv3.OpGet(k.line(l), clientv3.WithPrefix(), clientv3.WithLimit(listed)))
		}
		ops = append(ops, clientv3.OpGet(k.place(l, self)))
		if st := known[i]; st.created != 0 && !st.head {
			ops = append(ops, clientv3.OpGet(k.place(l, st.ahead)))
		}
	}
	return ops
}

// parse reads the answers to lookOps, which are those from index skip on.
func (c *Client) parse(resp *clientv3.TxnResponse, skip int) (*lockView, error) {
	v := newView(resp.Header.ClusterId, resp.Header.Revision)
	k := c.keys()
	// Lines that are listed are there in whole unless there was more.
	v.leaving.all, v.queue.all = c.lists(leavingLine), c.lists(queueLine)
	for _, r := range resp.Responses[skip:] {
		got := r.GetResponseRange()
		if got == nil {
			continue // an operation's of the caller behind the look
		}
		for _, kv := range got.Kvs {
			if err := v.add(k, c.cfg.Group, kv); err != nil {
				return nil, err
			}
		}
		if got.More {
			l := queueLine
			if strings.HasPrefix(string(got.Kvs[0].Key), k.line(leavingLine)) {
				l = leavingLine
			}
			v.line(l).all = false
		}
	}
	v.sort()
	for _, l := range lines {
		lv := v.line(l)
		if i := slices.IndexFunc(lv.places, func(p place) bool { return p.instance == c.cfg.Self.Instance }); i >= 0 {
			lv.own = lv.places[i]
		}
	}
	return v, nil
}

func newView(cluster uint64, rev int64) *lockView {
	return &lockView{cluster: policy.ClusterID(cluster), rev: rev, slots: 1}
}

// add takes one key into the view. Keys that it does not know are nobody's business.
func (v *lockView) add(k keys, group string, kv *mvccpb.KeyValue) error {
	key := string(kv.Key)
	kind, name, _ := strings.Cut(strings.TrimPrefix(key, string(k)), "/")
	var err error
	switch {
	case kind == "slots" && group != policy.MembersGroup: // never more than one member is disrupted
		v.slots, err = decodeSlots(kv.Value)
		v.slotsMod = kv.ModRevision
	case kind == "turn":
		v.turn = kv.ModRevision
	case kind == "holders":
		err = v.addHold(name, kv)
	case kind == "tail" && (name == string(leavingLine) || name == string(queueLine)):
		lv := v.line(line(name))
		lv.tail = kv.ModRevision
		lv.last, err = decodeWaiter(kv.Value)
	case kind == string(leavingLine), kind == string(queueLine):
		err = v.line(line(kind)).addPlace(name, kv)
	}
	if err != nil {
		return &MalformedKeyError{key, err}
	}
	return nil
}

func (v *lockView) addHold(name string, kv *mvccpb.KeyValue) error {
	slot, err := strconv.Atoi(name)
	if err != nil || slot < 0 {
		return fmt.Errorf("slot %q is no number", name)
	}
	h, from, err := decodeHold(kv.Value)
	if err != nil {
		return err
	}
	h.Slot, h.Revision = slot, kv.ModRevision
	v.holds = append(v.holds, hold{h, kv.CreateRevision, from})
	return nil
}

func (v *lineView) addPlace(name string, kv *mvccpb.KeyValue) error {
	w, err := decodeWaiter(kv.Value)
	if err != nil {
		return err
	}
	if string(w.Instance) != name {
		return fmt.Errorf("instance %q is not the key's", w.Instance)
	}
	p := placeOf(w, kv)
	if !slices.Contains(v.places, p) { // a look asks for some keys twice
		v.places = append(v.places, p)
	}
	return nil
}

func (v *lockView) sort() {
	slices.SortFunc(v.holds, func(a, b hold) int { return cmp.Compare(a.Slot, b.Slot) })
	for _, l := range lines {
		slices.SortFunc(v.line(l).places, func(a, b place) int { return cmp.Compare(a.created, b.created) })
	}
}
