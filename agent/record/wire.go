package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// version is the newest format of the file. A new field needs a new one: see the
// package documentation.
const version = 3

// versionOf is the oldest format that can say all of a record, so that an older
// quorumd reads it too where it can: reboots came with version 2, elections with 3.
func versionOf(r policy.Record) int {
	if len(r.Voters) > 0 || r.Election != nil {
		return 3
	}
	if r.Reboot != nil || r.Rebooted != nil {
		return 2
	}
	return 1
}

// laterVersion is the version of a file that a later quorumd wrote.
type laterVersion int

func (v laterVersion) Error() string {
	return fmt.Sprintf("it is of version %d, this quorumd knows version %d", int(v), version)
}

// fileRecord is policy.Record on disk. Ids are hexadecimal, as etcd's tools
// print them: a JSON number cannot hold 64 bits everywhere.
type fileRecord struct {
	Version   int          `json:"version"`
	Instance  string       `json:"instance"`
	Member    string       `json:"member,omitempty"`
	Cluster   string       `json:"cluster,omitempty"`
	Ran       bool         `json:"ran,omitempty"`
	Promise   *filePromise `json:"promise,omitempty"`
	Leaving   *fileLeaving `json:"leaving,omitempty"`
	Endpoints []string     `json:"endpoints,omitempty"`
	// Since version 2.
	Reboot   *fileReboot   `json:"reboot,omitempty"`
	Rebooted *fileRebooted `json:"rebooted,omitempty"`
	// Since version 3.
	Voters   []fileVoter   `json:"voters,omitempty"`
	Election *fileElection `json:"election,omitempty"`
}

type fileReboot struct {
	Boot  string    `json:"boot"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

type fileRebooted struct {
	Boot string   `json:"boot"`
	For  []string `json:"for"`
}

type filePromise struct {
	GroupARN string         `json:"group_arn"`
	Members  []filePromised `json:"members"`
	// Hash is checked on reading: a promise must be exactly what was promised.
	Hash      string `json:"hash"`
	Withdrawn bool   `json:"withdrawn"`
	Committed bool   `json:"committed"`
}

type filePromised struct {
	Instance string `json:"instance"`
	PeerURL  string `json:"peer_url"`
}

type fileLeaving struct {
	Since  time.Time `json:"since"`
	Target string    `json:"target"`
	Voters int       `json:"voters"`
}

func encode(r policy.Record) ([]byte, error) {
	f := fileRecord{
		Version:   versionOf(r),
		Instance:  string(r.Instance),
		Member:    hex(uint64(r.Member)),
		Cluster:   hex(uint64(r.Cluster)),
		Ran:       r.Ran,
		Endpoints: r.Endpoints,
	}
	if p := r.Promise; p != nil {
		f.Promise = &filePromise{GroupARN: p.GroupARN, Hash: p.Hash(), Withdrawn: p.Withdrawn, Committed: p.Committed}
		for _, m := range p.Members {
			f.Promise.Members = append(f.Promise.Members, filePromised{string(m.Instance), m.PeerURL})
		}
	}
	if l := r.Leaving; l != nil {
		f.Leaving = &fileLeaving{Since: l.Since, Target: l.Target, Voters: l.Voters}
	}
	if o := r.Reboot; o != nil {
		f.Reboot = &fileReboot{Boot: o.Boot, Why: o.Why, Since: o.Since}
	}
	if o := r.Rebooted; o != nil {
		f.Rebooted = &fileRebooted{Boot: o.Boot, For: o.For}
	}
	f.Voters, f.Election = fromVoters(r.Voters), fromElection(r.Election)
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

func decode(data []byte) (policy.Record, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return policy.Record{}, fmt.Errorf("it is damaged: %w", err)
	}
	switch {
	case head.Version > version:
		return policy.Record{}, laterVersion(head.Version)
	case head.Version < 1:
		return policy.Record{}, errors.New("it is damaged: it has no version")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var f fileRecord
	if err := dec.Decode(&f); err != nil {
		return policy.Record{}, fmt.Errorf("it is damaged: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return policy.Record{}, errors.New("it is damaged: something follows the record")
	}
	r, err := f.record()
	if err != nil {
		return policy.Record{}, fmt.Errorf("it is damaged: %w", err)
	}
	return r, nil
}

func (f fileRecord) record() (policy.Record, error) {
	member, err := unhex(f.Member)
	if err != nil {
		return policy.Record{}, fmt.Errorf("member id: %w", err)
	}
	cluster, err := unhex(f.Cluster)
	if err != nil {
		return policy.Record{}, fmt.Errorf("cluster id: %w", err)
	}
	r := policy.Record{
		Instance:  policy.InstanceID(f.Instance),
		Member:    policy.MemberID(member),
		Cluster:   policy.ClusterID(cluster),
		Ran:       f.Ran,
		Endpoints: f.Endpoints,
	}
	if p := f.Promise; p != nil {
		r.Promise = &policy.Promise{GroupARN: p.GroupARN, Withdrawn: p.Withdrawn, Committed: p.Committed}
		for _, m := range p.Members {
			r.Promise.Members = append(r.Promise.Members, policy.PromisedMember{Instance: policy.InstanceID(m.Instance), PeerURL: m.PeerURL})
		}
		if got := r.Promise.Hash(); got != p.Hash {
			return policy.Record{}, fmt.Errorf("the promise's hash is %s, its content's is %s", p.Hash, got)
		}
	}
	if l := f.Leaving; l != nil {
		r.Leaving = &policy.Leaving{Since: l.Since, Target: l.Target, Voters: l.Voters}
	}
	if o := f.Reboot; o != nil {
		r.Reboot = &policy.RebootOrder{Boot: o.Boot, Why: o.Why, Since: o.Since}
	}
	if o := f.Rebooted; o != nil {
		r.Rebooted = &policy.Rebooted{Boot: o.Boot, For: o.For}
	}
	if r.Voters, err = toVoters(f.Voters); err != nil {
		return policy.Record{}, err
	}
	if r.Election, err = f.Election.policy(); err != nil {
		return policy.Record{}, err
	}
	return r, nil
}

func hex(id uint64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatUint(id, 16)
}

func unhex(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseUint(s, 16, 64)
}
