// Package explain tells people what each [policy.Reason] and each warning means
// and what to do about it. `quorumd explain` prints it and the README's tables
// are made of it, so that there is one text.
package explain

import "github.com/quorumd/quorumd/agent/policy"

// Topic is what a group of words is about; the heading of its table.
type Topic string

// The topics, in the order in which they are shown.
const (
	Every    Topic = "every concern"
	Leaving  Topic = "leaving"
	Cluster  Topic = "the cluster's work (the steward)"
	Joining  Topic = "joining, the first cluster included"
	Electing Topic = "an etcd without a leader"
	Booting  Topic = "rebooting"
	Asked    Topic = "requests of operators and FleetLock clients"
	Alarm    Topic = "warnings"
)

// Topics lists every topic in order.
func Topics() []Topic {
	return []Topic{Every, Leaving, Cluster, Joining, Electing, Booting, Asked, Alarm}
}

// Entry is one word and its explanation.
type Entry struct {
	// Word is the Reason's or warning's name, as log, metrics and status show it.
	Word string `json:"word"`
	// Topic is where it belongs.
	Topic Topic `json:"topic"`
	// Means says what the agent found or does.
	Means string `json:"means"`
	// Do is what an operator should do; empty: nothing, it goes on by itself.
	Do string `json:"do,omitempty"`
}

// Find gives a word's explanation.
func Find(word string) (Entry, bool) {
	for _, e := range entries {
		if e.Word == word {
			return e, true
		}
	}
	return Entry{}, false
}

// All lists every word, by topic.
func All() []Entry { return append([]Entry(nil), entries...) }

// Reason gives a Reason's explanation.
func Reason(r policy.Reason) (Entry, bool) { return Find(string(r)) }
