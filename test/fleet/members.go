package fleet

import (
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Members by name, which for the agent's etcds is the instance id.
type Members map[string]*etcdserverpb.Member

// Voters is the number of members that vote.
func (m Members) Voters() (n int) {
	for _, member := range m {
		if !member.IsLearner {
			n++
		}
	}
	return n
}

// Votes reports whether name is a voter.
func (m Members) Votes(name string) bool { return m[name] != nil && !m[name].IsLearner }

// Kept is the number of members of m that are in after under the same id.
func (m Members) Kept(after Members) (n int) {
	for name, member := range m {
		if after[name] != nil && after[name].ID == member.ID {
			n++
		}
	}
	return n
}

func (m Members) String() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name].IsLearner {
			name += " (learner)"
		}
		words = append(words, name)
	}
	return "[" + strings.Join(words, " ") + "]"
}
