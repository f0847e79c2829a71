//go:build faults && linux

package faults

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/quorumd/quorumd/test/hosts"
)

var (
	quorumd = flag.String("quorumd", "", "the agent's binary (default: built from this checkout)")
	etcd    = flag.String("etcd", "3.6", "minor version of etcd")
	more    = flag.Int("more", 0, "further rounds of kills, by chance")
	logs    = flag.String("logs", "", "keep the logs of all hosts below this directory")
)

// scenario is one row of the matrix.
type scenario struct {
	name   string
	within time.Duration // bound of all of it; default a minute
	run    func(*world) error
	// loses: the cluster is lost with all its data, which is what is tested.
	loses bool
}

// line is a fleet and what happens to it, one scenario after the other. Lines run
// at the same time.
type line struct {
	name string
	cfg  func(*hosts.Config)
	// each scenario gets a fleet of its own, without any group yet; else they
	// share one that has formed a cluster of three.
	fresh     bool
	scenarios []scenario
}

func TestFaults(t *testing.T) {
	bin, err := hosts.Build(t.Context(), *etcd, *quorumd, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	results := &table{}
	t.Run("matrix", func(t *testing.T) { // returns when all its parallel tests have
		for _, l := range lines() {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				l.play(t, bin, results)
			})
		}
		for _, l := range killLines(bin, results) {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				l.play(t)
			})
		}
	})
	results.print(os.Stdout)
}

func (l line) play(t *testing.T, bin hosts.Binaries, results *table) {
	var w *world
	for _, s := range l.scenarios {
		t.Run(s.name, func(t *testing.T) {
			if w == nil || l.fresh {
				w = newWorld(t, bin, l.cfg)
				if !l.fresh {
					w.form(t, 3)
				}
			}
			r := w.play(t, s)
			results.add(l.name, s.name, r)
			if r.err != nil || l.fresh {
				w.close(t)
				w = nil // what comes next gets a fleet that works
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
