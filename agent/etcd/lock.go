package etcd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// slots is how many may hold the lock of the group members at once: never more
// than one etcd member is disrupted, so it is no setting.
const slots = 1

func (c *Client) lockPrefix() string { return c.prefix() + "lock/members/" }
func (c *Client) slotsKey() string   { return c.lockPrefix() + "slots" }
func (c *Client) holdersPrefix() string {
	return c.lockPrefix() + "holders/"
}
func (c *Client) holderKey(slot int) string { return c.holdersPrefix() + strconv.Itoa(slot) }

// queuePrefix gives the queue for a reason.
func (c *Client) queuePrefix(reason policy.HoldReason) string {
	if reason == policy.HoldLeaving {
		return c.lockPrefix() + "leaving/"
	}
	return c.lockPrefix() + "queue/"
}

func (c *Client) queueKey(reason policy.HoldReason) string {
	return c.queuePrefix(reason) + string(c.cfg.Self.Instance)
}

// wireVersion is the version of the values below. Fields may be added to it;
// a change that an older agent must not misread raises it.
const wireVersion = 1

// wireHold is the value of a holder's key. Ids are in hexadecimal, as etcd's own
// tools print them.
type wireHold struct {
	Version  int       `json:"version"`
	Instance string    `json:"instance"`
	Machine  string    `json:"machine,omitempty"`
	Boot     string    `json:"boot"`
	Member   string    `json:"member"`
	Cluster  string    `json:"cluster"`
	Reason   string    `json:"reason"`
	Phase    string    `json:"phase"`
	Since    time.Time `json:"since"`
}

// wireWaiter is the value of a place in a queue; the order is in its revision.
type wireWaiter struct {
	Version  int       `json:"version"`
	Instance string    `json:"instance"`
	Boot     string    `json:"boot"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
}

func encodeHold(h policy.Hold) string {
	return encode(wireHold{
		Version: wireVersion, Instance: string(h.Instance), Machine: h.Machine, Boot: h.Boot,
		Member: h.Member.String(), Cluster: h.Cluster.String(),
		Reason: string(h.Reason), Phase: string(h.Phase), Since: h.Since.UTC(),
	})
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of strings and times
	}
	return string(b)
}

func decodeHold(b []byte) (policy.Hold, error) {
	var w wireHold
	if err := json.Unmarshal(b, &w); err != nil {
		return policy.Hold{}, err
	}
	if err := checkVersion(w.Version); err != nil {
		return policy.Hold{}, err
	}
	if w.Instance == "" {
		return policy.Hold{}, fmt.Errorf("no instance")
	}
	phase := policy.HoldPhase(w.Phase)
	if phase != policy.Granted && phase != policy.Acting {
		return policy.Hold{}, fmt.Errorf("unknown phase %q", w.Phase)
	}
	member, err := parseID(w.Member)
	if err != nil {
		return policy.Hold{}, fmt.Errorf("member: %w", err)
	}
	cluster, err := parseID(w.Cluster)
	if err != nil {
		return policy.Hold{}, fmt.Errorf("cluster: %w", err)
	}
	return policy.Hold{
		Instance: policy.InstanceID(w.Instance), Machine: w.Machine, Boot: w.Boot,
		Member: policy.MemberID(member), Cluster: policy.ClusterID(cluster),
		Reason: policy.HoldReason(w.Reason), Phase: phase, Since: w.Since,
	}, nil
}

func parseID(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseUint(s, 16, 64)
}

func checkVersion(v int) error {
	switch {
	case v < 1:
		return fmt.Errorf("no version")
	case v > wireVersion:
		return fmt.Errorf("version %d is of a newer quorumd", v)
	}
	return nil
}

// MalformedKeyError is a key below the lock whose value this quorumd does not
// understand. Nobody can know then who holds the lock, so nothing is done until
// an operator has looked at the key.
type MalformedKeyError struct {
	Key string
	Err error
}

func (e *MalformedKeyError) Error() string { return fmt.Sprintf("key %s: %v", e.Key, e.Err) }
func (e *MalformedKeyError) Unwrap() error { return e.Err }

// lockView is one read of the lock, with what the transactions compare.
type lockView struct {
	cluster policy.ClusterID
	rev     int64
	holds   []hold
	leaving []place
	queue   []place
}

type hold struct {
	policy.Hold
	created int64
}

// place is one place in a queue.
type place struct {
	policy.Waiter
	key   string
	mod   int64
	lease clientv3.LeaseID
}

// Lock reads the disruption lock, linearizably.
func (c *Client) Lock(ctx context.Context) (policy.Lock, error) {
	v, _, err := read(ctx, c, c.readLock)
	if err != nil {
		return policy.Lock{}, fmt.Errorf("read lock: %w", err)
	}
	l := policy.Lock{Revision: v.rev, Slots: slots}
	for _, h := range v.holds {
		l.Holders = append(l.Holders, h.Hold)
	}
	for _, p := range v.leaving {
		l.Leaving = append(l.Leaving, p.Waiter)
	}
	for _, p := range v.queue {
		l.Queue = append(l.Queue, p.Waiter)
	}
	return l, nil
}

func (c *Client) readLock(ctx context.Context, e *endpoint) (lockView, error) {
	resp, err := e.cl.Get(ctx, c.lockPrefix(), clientv3.WithPrefix())
	if err != nil {
		return lockView{}, err
	}
	v := lockView{cluster: policy.ClusterID(resp.Header.ClusterId), rev: resp.Header.Revision}
	for _, kv := range resp.Kvs {
		key := string(kv.Key)
		kind, name, _ := strings.Cut(strings.TrimPrefix(key, c.lockPrefix()), "/")
		switch kind {
		case "holders":
			slot, err := strconv.Atoi(name)
			if err != nil || slot < 0 {
				return lockView{}, &MalformedKeyError{key, fmt.Errorf("slot %q is no number", name)}
			}
			h, err := decodeHold(kv.Value)
			if err != nil {
				return lockView{}, &MalformedKeyError{key, err}
			}
			h.Slot, h.Revision = slot, kv.ModRevision
			v.holds = append(v.holds, hold{h, kv.CreateRevision})
		case "leaving", "queue":
			var w wireWaiter
			err := json.Unmarshal(kv.Value, &w)
			if err == nil {
				err = checkVersion(w.Version)
			}
			if err == nil && (name == "" || w.Instance != name) {
				err = fmt.Errorf("instance %q is not the key's", w.Instance)
			}
			if err != nil {
				return lockView{}, &MalformedKeyError{key, err}
			}
			p := place{
				Waiter: policy.Waiter{Instance: policy.InstanceID(name), Revision: kv.CreateRevision},
				key:    key, mod: kv.ModRevision, lease: clientv3.LeaseID(kv.Lease),
			}
			if kind == "leaving" {
				v.leaving = append(v.leaving, p)
			} else {
				v.queue = append(v.queue, p)
			}
		}
	}
	slices.SortFunc(v.holds, func(a, b hold) int { return cmp.Compare(a.Slot, b.Slot) })
	fifo := func(a, b place) int { return cmp.Compare(a.Revision, b.Revision) }
	slices.SortFunc(v.leaving, fifo)
	slices.SortFunc(v.queue, fifo)
	return v, nil
}

// holdOf gives an instance's hold.
func (v lockView) holdOf(id policy.InstanceID) (hold, bool) {
	for _, h := range v.holds {
		if h.Instance == id {
			return h, true
		}
	}
	return hold{}, false
}

// own gives the index of an instance's place, -1 for none.
func own(places []place, id policy.InstanceID) int {
	return slices.IndexFunc(places, func(p place) bool { return p.Instance == id })
}
