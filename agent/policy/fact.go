package policy

import (
	"fmt"
	"time"
)

// InstanceID is an EC2 instance id ("i-0123456789abcdef0"). It is also the name
// of the instance's etcd member.
type InstanceID string

// MemberID is an etcd member id; 0 means none.
type MemberID uint64

// String gives the id as etcd's own tools print it: lower-case hexadecimal.
func (id MemberID) String() string { return fmt.Sprintf("%x", uint64(id)) }

// ClusterID is an etcd cluster id; 0 means none.
type ClusterID uint64

// String gives the id as etcd's own tools print it: lower-case hexadecimal.
func (id ClusterID) String() string { return fmt.Sprintf("%x", uint64(id)) }

// Fact is one observed value. The zero Fact is unknown.
type Fact[T any] struct {
	// Value is what was observed last; when Err is set it is what the last
	// successful observation gave, kept for those rules that may use old news.
	Value T
	// At is the instant, on this machine's clock, at which the observation that
	// gave Value began; zero when nothing was ever observed.
	At time.Time
	// Err says why the newest attempt gave nothing; empty when it succeeded.
	Err string
}

// Known reports whether the newest observation succeeded.
func (f Fact[T]) Known() bool { return !f.At.IsZero() && f.Err == "" }

// Fresh reports whether the newest observation succeeded and began at most
// maxAge before now.
func (f Fact[T]) Fresh(now time.Time, maxAge time.Duration) bool {
	return f.Known() && now.Sub(f.At) <= maxAge
}

// Ever reports whether the value was observed at least once, however long ago.
func (f Fact[T]) Ever() bool { return !f.At.IsZero() }

// Observed makes a known fact.
func Observed[T any](v T, at time.Time) Fact[T] { return Fact[T]{Value: v, At: at} }
