//go:build faults && linux

package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
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
		{"remove-member", "leaving"}, {"stop-etcd", ""}, {"release-hold", ""}, {"complete-hook", ""},
	}
	// The leader again; what follows its own reboot is the end of its hold.
	rebooting = []point{
		{"take-slot", ""}, {"write-record", "NoteReboot"}, {"move-leader", ""}, {"mark-acting", ""}, {"reboot", ""}, {"release-hold", ""},
	}
	rejoining = []point{
		{"stop-etcd", ""}, {"archive-data", ""}, {"write-record", "Removed"}, {"add-learner", "announced"}, {"add-learner", ""},
		{"write-record", "RecordIdentity"}, {"start-etcd", ""}, {"write-record", "ran"},
	}
	// Of these what the stories above do not have.
	unsettled = []point{{"write-record", "Withdraw"}}
	forgotten = []point{{"write-record", "Adopt"}}
	wipedOut  = []point{{"remove-member", "data directory lost"}}
	dead      = []point{{"remove-member", "instance terminated"}}
	pooled    = []point{{"write-record", "LeaveRevoked"}}
	afresh    = []point{{"write-record", "FreshAllowed"}, {"delete-tag", ""}}

	tagging, promoting = []point{{"write-tag", ""}}, []point{{"promote", ""}}
)

// killsWithin is the bound of one round of kills.
const killsWithin = 2 * time.Minute

// killLine strikes agents in a fleet that has proxies before etcd and AWS.
type killLine struct {
	name    string
	bin     hosts.Binaries
	results *table
	forms   bool // every round is a first cluster of a fleet of its own
	waits   bool // as of line
	points  []point
	round   func(*striker, *world, int) error
}

func killLines(bin hosts.Binaries, results *table) []killLine {
	lines := []killLine{
		{name: "kill while forming", forms: true, points: slices.Concat(tagging, forming), round: (*striker).form},
		{name: "kill while forming, and the group changes", forms: true, points: unsettled, round: (*striker).change},
		{name: "kill while replacing", points: slices.Concat(leaving, joining, promoting), round: (*striker).replace},
		{name: "kill while rebooting", points: rebooting, round: (*striker).reboot},
		{name: "kill while rejoining", points: rejoining, round: (*striker).rejoin},
		{name: "kill after a record, a disk and a machine is lost", waits: true, points: slices.Concat(forgotten, wipedOut, dead), round: (*striker).lose},
		{name: "kill in and out of the warm pool", waits: true, points: pooled, round: (*striker).pool},
		{name: "kill while starting afresh", points: afresh, round: (*striker).afresh},
	}
	for i := range lines {
		lines[i].bin, lines[i].results = bin, results
	}
	return lines
}

// play runs rounds until every point was struck at every moment. Rounds begin with
// one strike for each agent. An agent remembers nothing but its disk, so it does not matter
// which strikes it had before; that they meet in one story only makes it harder.
func (l killLine) play(t *testing.T) {
	k := &striker{done: map[point][3]bool{}}
	var w *world
	played, again := 0, 0
	fresh := func(t *testing.T) {
		w = newWorld(t, l.bin, func(c *hosts.Config) { c.Answered = k.answered }, pause(l.waits))
		w.Follow(k.line)
		if !l.forms {
			w.form(t, 3)
		}
	}
	for round, name := 0, "round 1"; round < 3+*more; {
		next, nextName := round+1, fmt.Sprintf("round %d", round+2)
		t.Run(name, func(t *testing.T) {
			if w == nil || l.forms {
				fresh(t)
			}
			run := func(w *world) error { return l.round(k, w, round) }
			r := w.play(t, scenario{within: killsWithin, run: run})
			missed, excused, hits := k.missed(), k.excused(), k.hits()
			t.Log("struck: ", strings.Join(hits, ", "))
			r.kills = len(hits)
			if r.err == nil && len(missed) > 0 && round < 3 {
				r.err = neverHit(missed)
			}
			if len(excused) > 0 && round < 3 && again < 3 {
				t.Log("died of another strike first: ", strings.Join(excused, ", "))
				again++
				next, nextName = round, name+" again"
			} else if played++; r.err == nil && played == 3 {
				r.err = l.complete(k)
			}
			l.results.add(l.name, name, r)
			if r.err != nil || l.forms {
				l.results.wrote(w.close(t))
				w = nil
			}
			if r.err != nil {
				t.Fatal(r.err)
			}
		})
		round, name = next, nextName
	}
	if w != nil {
		l.results.wrote(w.close(t))
	}
}

// complete: what the line says that it strikes has been struck at all three moments.
func (l killLine) complete(k *striker) error {
	for _, p := range l.points {
		if at := k.done[p]; !(at[between] && (at[before] && at[after] || p.why == "announced")) {
			return fmt.Errorf("%s: struck before, between, after: %v", p, at)
		}
	}
	return nil
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
