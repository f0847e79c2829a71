package record

import (
	"errors"
	"fmt"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

type fileVoter struct {
	Member   string `json:"member"`
	Instance string `json:"instance"`
	PeerURL  string `json:"peer_url"`
}

type fileElection struct {
	Plan  filePlan  `json:"plan"`
	Step  string    `json:"step"`
	By    time.Time `json:"by"`
	Since time.Time `json:"since"`
	Ended time.Time `json:"ended,omitzero"`
}

type filePlan struct {
	// ID is checked on reading, as a promise's hash is.
	ID       string    `json:"id"`
	Cluster  string    `json:"cluster"`
	Attempt  int       `json:"attempt"`
	Round    int       `json:"round"`
	Forced   bool      `json:"forced,omitempty"`
	Proposer string    `json:"proposer"`
	At       time.Time `json:"at"`
	Order    []string  `json:"order"`
}

func fromVoters(all []policy.Voter) []fileVoter {
	var out []fileVoter
	for _, v := range all {
		out = append(out, fileVoter{hex(uint64(v.Member)), string(v.Instance), v.PeerURL})
	}
	return out
}

func toVoters(all []fileVoter) ([]policy.Voter, error) {
	var out []policy.Voter
	for _, v := range all {
		id, err := unhex(v.Member)
		if err != nil {
			return nil, fmt.Errorf("voter's id: %w", err)
		}
		out = append(out, policy.Voter{Member: policy.MemberID(id), Instance: policy.InstanceID(v.Instance), PeerURL: v.PeerURL})
	}
	return out, nil
}

func fromElection(e *policy.Election) *fileElection {
	if e == nil {
		return nil
	}
	p := e.Plan
	out := &fileElection{Step: string(e.Step), By: e.By, Since: e.Since, Ended: e.Ended, Plan: filePlan{
		ID: p.ID(), Cluster: hex(uint64(p.Cluster)), Attempt: p.Attempt, Round: int(p.Round), Forced: p.Forced,
		Proposer: hex(uint64(p.Proposer)), At: p.At}}
	for _, id := range p.Order {
		out.Plan.Order = append(out.Plan.Order, hex(uint64(id)))
	}
	return out
}

func (f *fileElection) policy() (*policy.Election, error) {
	if f == nil {
		return nil, nil
	}
	p := policy.Plan{Attempt: f.Plan.Attempt, Round: policy.Round(f.Plan.Round), Forced: f.Plan.Forced, At: f.Plan.At}
	cluster, err1 := unhex(f.Plan.Cluster)
	proposer, err2 := unhex(f.Plan.Proposer)
	errs := []error{err1, err2}
	p.Cluster, p.Proposer = policy.ClusterID(cluster), policy.MemberID(proposer)
	for _, word := range f.Plan.Order {
		id, err := unhex(word)
		errs = append(errs, err)
		p.Order = append(p.Order, policy.MemberID(id))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("election's ids: %w", err)
	}
	if got := p.ID(); got != f.Plan.ID {
		return nil, fmt.Errorf("the plan's id is %s, its content's is %s", f.Plan.ID, got)
	}
	return &policy.Election{Plan: p, Step: policy.Step(f.Step), By: f.By, Since: f.Since, Ended: f.Ended}, nil
}
