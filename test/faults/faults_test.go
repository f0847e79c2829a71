//go:build faults && linux

package faults

import (
	"cmp"
	"flag"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/quorumd/quorumd/test/hosts"
)

var (
	quorumd = flag.String("quorumd", "", "the agent's binary (default: built from this checkout)")
	etcd    = flag.String("etcd", "3.6", "minor version of etcd")
	more    = flag.Int("more", 0, "further rounds of kills, by chance")
	atOnce  = flag.Int("at-once", 3, "lines that keep the machine busy at the same time")
	beside  = flag.Int("beside", 6, "lines that mostly wait, beside those")
	report  = flag.String("report", "", "write the figures as a table in Markdown to this file")
	logs    = flag.String("logs", "", "keep the logs of all hosts below this directory")
)

// scenario is one row of the matrix.
type scenario struct {
	name   string
	within time.Duration // bound of all of it; default a minute
	run    func(*world) error
}

// line is a fleet and what happens to it, one scenario after the other. Lines run
// at the same time, those that keep the machine busy -at-once of them.
type line struct {
	name string
	cfg  func(*hosts.Config)
	// each scenario gets a fleet of its own, without any group yet; else they
	// share one that has formed a cluster of three.
	fresh bool
	// waits: most of its time is waiting, so more of them run at once, beside the others.
	waits     bool
	scenarios []scenario
}

// TestMain lets all lines begin: what bounds them is slots.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err) // testing's own flag
	}
	os.Exit(m.Run())
}

// job is a line that waits for its turn. As many run at once as the machine bears: an agent
// that gets no processor misses its deadlines, whatever is tested.
type job struct {
	name   string
	waits  bool
	within time.Duration // at most; the longest begin first
	play   func(*testing.T)
}

// queue lets lines begin in the order in which they got their tickets, some at once.
type queue struct {
	slots chan struct{}
	last  chan struct{} // closed when the one before has begun
}

func newQueue(n int) *queue {
	q := &queue{slots: make(chan struct{}, n), last: make(chan struct{})}
	close(q.last)
	return q
}

// ticket gives a wait for one's turn, which gives back what ends it.
func (q *queue) ticket() (turn func() (done func())) {
	before, begun := q.last, make(chan struct{})
	q.last = begun
	return func() func() {
		<-before
		q.slots <- struct{}{}
		close(begun)
		return func() { <-q.slots }
	}
}

// play runs all jobs, those that wait beside those that keep the machine busy.
func play(t *testing.T, jobs []job) {
	slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(b.within, a.within) })
	busy, waiting := newQueue(*atOnce), newQueue(*beside)
	for _, j := range jobs {
		t.Run(j.name, func(t *testing.T) {
			q := busy
			if j.waits {
				q = waiting
			}
			turn := q.ticket()
			t.Parallel()
			defer turn()()
			j.play(t)
		})
	}
}

func TestFaults(t *testing.T) {
	bin, err := hosts.Build(t.Context(), *etcd, *quorumd, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	results := &table{began: time.Now()}
	var jobs []job
	for _, l := range lines() {
		jobs = append(jobs, job{l.name, l.waits, l.within(), func(t *testing.T) { l.play(t, bin, results) }})
	}
	for _, l := range killLines(bin, results) {
		jobs = append(jobs, job{l.name, l.waits, time.Duration(3+*more) * killsWithin, l.play})
	}
	for _, j := range jobs {
		results.order(j.name)
	}
	t.Run("matrix", func(t *testing.T) { play(t, jobs) }) // returns when all its parallel tests have
	results.print(os.Stdout)
	if *report != "" {
		if err := results.markdown(*report); err != nil {
			t.Error(err)
		}
	}
}

// within is the bound of all of a line.
func (l line) within() (sum time.Duration) {
	for _, s := range l.scenarios {
		sum += cmp.Or(s.within, time.Minute)
	}
	return sum
}

func (l line) play(t *testing.T, bin hosts.Binaries, results *table) {
	var w *world
	for _, s := range l.scenarios {
		t.Run(s.name, func(t *testing.T) {
			if w == nil || l.fresh {
				w = newWorld(t, bin, l.cfg, pause(l.waits))
				if !l.fresh {
					w.form(t, 3)
				}
			}
			r := w.play(t, s)
			results.add(l.name, s.name, r)
			if r.err != nil || l.fresh {
				results.wrote(w.close(t))
				w = nil // what comes next gets a fleet that works
			}
			if r.err != nil {
				t.Fatal(r.err)
			}
		})
	}
	if w != nil {
		results.wrote(w.close(t))
	}
}

// pause is how long a line's writer rests between two writes: many that wait run at once.
func pause(waits bool) time.Duration {
	if waits {
		return 100 * time.Millisecond
	}
	return 0
}
