package etcd

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

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
	Client   string    `json:"client,omitempty"`
	Why      string    `json:"why,omitempty"`
	Since    time.Time `json:"since"`
	// From is the revision that MarkActing compared: so its repetition knows itself.
	From int64 `json:"from,omitempty"`
}

// wireWaiter is the value of a place in a queue, and of the keys that name who
// came last and who took a slot last; the order is in their revisions.
type wireWaiter struct {
	Version  int       `json:"version"`
	Instance string    `json:"instance"`
	Boot     string    `json:"boot"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
	// Client is the FleetLock client who waits there, if one does, whatever the reason.
	Client string `json:"client,omitempty"`
	// Holding is for people: the place of one who holds a slot has no lease.
	Holding bool `json:"holding,omitempty"`
}

// wireSlots is the value of the key slots.
type wireSlots struct {
	Version int `json:"version"`
	Slots   int `json:"slots"`
}

func encodeHold(h policy.Hold, from int64) string {
	return encode(wireHold{
		Version: wireVersion, Instance: string(h.Instance), Machine: h.Machine, Boot: h.Boot,
		Member: h.Member.String(), Cluster: h.Cluster.String(),
		Reason: string(h.Reason), Phase: string(h.Phase), Client: h.Client, Why: h.Why, Since: h.Since.UTC(), From: from,
	})
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of strings, numbers and times
	}
	return string(b)
}

func decodeHold(b []byte) (h policy.Hold, from int64, err error) {
	var w wireHold
	if err := json.Unmarshal(b, &w); err != nil {
		return h, 0, err
	}
	if err := checkVersion(w.Version); err != nil {
		return h, 0, err
	}
	if w.Instance == "" {
		return h, 0, fmt.Errorf("no instance")
	}
	phase := policy.HoldPhase(w.Phase)
	if phase != policy.Granted && phase != policy.Acting {
		return h, 0, fmt.Errorf("unknown phase %q", w.Phase)
	}
	member, err := parseID(w.Member)
	if err != nil {
		return h, 0, fmt.Errorf("member: %w", err)
	}
	cluster, err := parseID(w.Cluster)
	if err != nil {
		return h, 0, fmt.Errorf("cluster: %w", err)
	}
	if y := w.Since.UTC().Year(); y < 0 || y > 9999 {
		return h, 0, fmt.Errorf("since: the year %d cannot be written again", y)
	}
	return policy.Hold{
		Instance: policy.InstanceID(w.Instance), Machine: w.Machine, Boot: w.Boot,
		Member: policy.MemberID(member), Cluster: policy.ClusterID(cluster),
		Reason: policy.HoldReason(w.Reason), Phase: phase, Client: w.Client, Why: w.Why, Since: w.Since,
	}, w.From, nil
}

// decodeWaiter decodes a place, or who is named by a key about somebody; but for the
// revision, which the value does not tell.
func decodeWaiter(b []byte) (policy.Waiter, error) {
	var w wireWaiter
	if err := json.Unmarshal(b, &w); err != nil {
		return policy.Waiter{}, err
	}
	if err := checkVersion(w.Version); err != nil {
		return policy.Waiter{}, err
	}
	if w.Instance == "" {
		return policy.Waiter{}, fmt.Errorf("no instance")
	}
	since := w.Since.UTC()
	if y := since.Year(); y < 0 || y > 9999 {
		since = time.Time{} // it could not be written again, and nothing rests on it
	}
	return policy.Waiter{Instance: policy.InstanceID(w.Instance), Reason: policy.HoldReason(w.Reason), Since: since, Boot: w.Boot, Client: w.Client}, nil
}

// MaxSlots bounds how many may hold a lock at once: every look reads all holders.
const MaxSlots = 1000

func decodeSlots(b []byte) (int, error) {
	var w wireSlots
	if err := json.Unmarshal(b, &w); err != nil {
		return 0, err
	}
	if err := checkVersion(w.Version); err != nil {
		return 0, err
	}
	return w.Slots, checkSlots(w.Slots)
}

func checkSlots(n int) error {
	if n < 1 || n > MaxSlots {
		return fmt.Errorf("%d slots, not 1 to %d", n, MaxSlots)
	}
	return nil
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
