//go:build faults && linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/test/hosts"
)

// The actions of each story, in their order. A leaver is the leader, so it hands
// over; promote is the leader's agent's, which is not the joining one.
var (
	forming = []point{
		{"write-record", "ForeignRecord"}, {"write-record", "PromiseFirst"}, {"write-record", "CommitFirst"},
		{"start-etcd", ""}, {"write-record", "ran"}, {"complete-hook", ""},
	}
	joining = []point{
		{"write-record", "ForeignRecord"}, {"add-learner", "announced"}, {"add-learner", ""},
		{"write-record", "RecordIdentity"}, {"start-etcd", ""}, {"write-record", "ran"}, {"complete-hook", ""},
	}
	leaving = []point{
		{"write-record", "MarkLeaving"}, {"take-slot", ""}, {"mark-acting", ""}, {"move-leader", ""},
		{"remove-member", ""}, {"stop-etcd", ""}, {"release-hold", ""}, {"complete-hook", ""},
	}
	rejoining = []point{
		{"stop-etcd", ""}, {"archive-data", ""}, {"write-record", "Removed"}, {"add-learner", "announced"}, {"add-learner", ""},
		{"write-record", "RecordIdentity"}, {"start-etcd", ""}, {"write-record", "ran"},
	}
)

// killLine strikes agents in a fleet that has proxies before etcd and AWS.
type killLine struct {
	name    string
	bin     hosts.Binaries
	results *table
	forms   bool // every round is a first cluster of a fleet of its own
	round   func(*striker, *world, int) error
}

func killLines(bin hosts.Binaries, results *table) []killLine {
	return []killLine{
		{name: "kill while forming", bin: bin, results: results, forms: true, round: (*striker).form},
		{name: "kill while replacing", bin: bin, results: results, round: (*striker).replace},
		{name: "kill while rejoining", bin: bin, results: results, round: (*striker).rejoin},
	}
}

// play runs rounds until every point was struck at every moment. Rounds begin with
// one strike for each agent. An agent remembers nothing but its disk, so it does not matter
// which strikes it had before; that they meet in one story only makes it harder.
func (l killLine) play(t *testing.T) {
	k := &striker{}
	var w *world
	fresh := func(t *testing.T) {
		w = newWorld(t, l.bin, func(c *hosts.Config) { c.Answered = k.answered })
		w.Follow(k.line)
		if !l.forms {
			w.form(t, 3)
		}
	}
	for round := range 3 + *more {
		name := fmt.Sprintf("round %d", round+1)
		t.Run(name, func(t *testing.T) {
			if w == nil || l.forms {
				fresh(t)
			}
			run := func(w *world) error { return l.round(k, w, round) }
			r := w.play(t, scenario{within: 2 * time.Minute, run: run})
			t.Log("struck: ", k.hits())
			if missed := k.missed(); r.err == nil && len(missed) > 0 && round < 3 {
				r.err = fmt.Errorf("never found their moment: %s", strings.Join(missed, ", "))
			}
			l.results.add(l.name, name, r)
			if r.err != nil || l.forms {
				w.close(t)
				w = nil
			}
			if r.err != nil {
				t.Fatal(r.err)
			}
		})
	}
	if w != nil {
		w.close(t)
	}
}

// at gives a strike for every point, the moments taking turns from round to round.
// After the first three rounds it is some points and any moment, and at some of them it
// is the machine that dies.
func at(points []point, round int, host string, not map[string]bool) (strikes []*strike) {
	for i, p := range points {
		m := moment((i + round) % 3)
		if round >= 3 {
			if m = moment(rand.N(3)); rand.N(2) == 0 {
				continue
			}
		}
		if p.why == "announced" {
			m = between // the one call before the one that counts
		}
		strikes = append(strikes, &strike{point: p, moment: m, host: host, not: not, power: round >= 3 && rand.N(3) == 0})
	}
	return strikes
}

// form forms a first cluster whose every agent dies at every point.
func (k *striker) form(w *world, round int) error {
	k.arm(&strike{point: point{"write-tag", ""}, moment: moment(round % 3)})
	machines := 0
	// A host's strikes are armed with its first line, which comes before its first action.
	seen := map[string]bool{}
	cancel := w.Follow(func(l hosts.Line) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !seen[l.Host.ID] {
			seen[l.Host.ID] = true
			k.armed = append(k.armed, at(forming, round-round%3+(round+machines)%3, l.Host.ID, nil)...)
			machines++
		}
	})
	defer cancel()
	if err := w.Launch(3); err != nil {
		return err
	}
	_, err := w.Settle(w.ctx)
	return err
}

// replace has the leader's node replaced, and kills the one that leaves and the one
// that joins at every point, and the one that promotes.
func (k *striker) replace(w *world, round int) error {
	leader, err := w.Leader(w.ctx)
	if err != nil {
		return err
	}
	old := map[string]bool{}
	for _, inst := range w.Instances() {
		old[inst.ID] = true
	}
	strikes := append(at(leaving, round, leader, nil), at(joining, round, "", old)...)
	strikes = append(strikes, &strike{point: point{"promote", ""}, moment: moment(round % 3)})
	k.arm(strikes...)
	return w.Terminate(leader)
}

// rejoin has somebody remove a member by hand, which its node finds out, and kills its
// agent at every point of archiving the data and joining anew.
func (k *striker) rejoin(w *world, round int) error {
	ids, _, err := w.followers()
	if err != nil {
		return err
	}
	k.arm(at(rejoining, round, ids[0], nil)...)
	return w.removeByHand(ids[0])
}

// bounded bounds a wait for an effect.
func bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

// pollFast asks every 100 us: an effect on disk tells nobody.
func pollFast(ok func() bool) bool {
	ctx, cancel := bounded()
	defer cancel()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
