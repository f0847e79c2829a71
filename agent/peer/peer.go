package peer

import "github.com/quorumd/quorumd/agent/policy"

// Peer is the status as decisions know it. What it does not say is answered so
// that others wait: unknown data counts as data. A record that another instance
// wrote is a disk's copy and no word of this one.
func (s Status) Peer() policy.Peer {
	p := policy.Peer{
		Instance:  policy.InstanceID(s.Instance),
		Boot:      s.Boot,
		PeerURL:   s.PeerURL,
		ClientURL: s.ClientURL,
		HasData:   s.HasData == nil || *s.HasData,
	}
	p.Etcd = s.word()
	r := s.Record
	if r.Instance != s.Instance {
		return p
	}
	p.Member = policy.MemberID(r.Member)
	p.Cluster = policy.ClusterID(r.Cluster)
	p.Leaving = r.Leaving != nil
	p.Promise = r.Promise.policy()
	p.Election = s.Election.policy()
	return p
}

func (p *Promise) policy() *policy.Promise {
	if p == nil {
		return nil
	}
	out := &policy.Promise{GroupARN: p.Group, Withdrawn: p.Withdrawn, Committed: p.Committed}
	for _, m := range p.Members {
		out.Members = append(out.Members, policy.PromisedMember{Instance: policy.InstanceID(m.Instance), PeerURL: m.PeerURL})
	}
	return out
}
