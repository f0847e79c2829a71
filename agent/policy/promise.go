package policy

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Promise is what one node promised about the first cluster: exactly this list,
// and no other. It is fsynced before it is published.
type Promise struct {
	// GroupARN and Members (sorted by instance id) are what is promised.
	GroupARN string
	Members  []PromisedMember
	// Withdrawn: this node will not start it unless the group's tag names it.
	Withdrawn bool
	// Committed: this node saw everybody promise it, and may have started it. A
	// committed promise is never withdrawn.
	Committed bool
}

// PromisedMember is one member of the first cluster.
type PromisedMember struct {
	Instance InstanceID
	PeerURL  string
}

// Hash identifies the promised list: group, instances and peer URLs.
func (p *Promise) Hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", p.GroupARN)
	for _, m := range p.Members {
		fmt.Fprintf(h, "%s=%s\n", m.Instance, m.PeerURL)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Stands reports whether who promised this may still start it.
func (p *Promise) Stands() bool { return p != nil && (p.Committed || !p.Withdrawn) }

// Token is etcd's initial cluster token: it makes two first clusters of the same
// machines in different groups, or of different machines, differ.
func (p *Promise) Token() string { return "quorumd-" + p.Hash() }

// MemberID computes the id that etcd will give the member of an instance; 0 when
// the instance is not promised. etcd derives it from the sorted peer URLs and
// the token (server/etcdserver/api/membership, computeMemberID).
func (p *Promise) MemberID(id InstanceID) MemberID {
	for _, m := range p.Members {
		if m.Instance == id {
			return computeMemberID(m.PeerURL, p.Token())
		}
	}
	return 0
}

// ClusterID computes the id that etcd will give the cluster: a hash of the
// sorted member ids (membership, genID).
func (p *Promise) ClusterID() ClusterID {
	ids := make([]uint64, 0, len(p.Members))
	for _, m := range p.Members {
		ids = append(ids, uint64(computeMemberID(m.PeerURL, p.Token())))
	}
	slices.Sort(ids)
	b := make([]byte, 8*len(ids))
	for i, id := range ids {
		binary.BigEndian.PutUint64(b[8*i:], id)
	}
	sum := sha1.Sum(b)
	return ClusterID(binary.BigEndian.Uint64(sum[:8]))
}

func computeMemberID(peerURL, token string) MemberID {
	sum := sha1.Sum([]byte(peerURL + token))
	return MemberID(binary.BigEndian.Uint64(sum[:8]))
}

// Has reports whether an instance is in the promised list.
func (p *Promise) Has(id InstanceID) bool {
	return slices.ContainsFunc(p.Members, func(m PromisedMember) bool { return m.Instance == id })
}

// Initial gives the list in the form etcd starts with.
func (p *Promise) Initial() []InitialMember {
	out := make([]InitialMember, len(p.Members))
	for i, m := range p.Members {
		out[i] = InitialMember{Name: string(m.Instance), PeerURL: m.PeerURL}
	}
	return out
}

// String names the instances, for people.
func (p *Promise) String() string {
	ids := make([]string, len(p.Members))
	for i, m := range p.Members {
		ids[i] = string(m.Instance)
	}
	return strings.Join(ids, ",")
}
