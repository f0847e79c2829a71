//go:build faults && linux

package faults

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// result is what one scenario cost.
type result struct {
	took, stall time.Duration
	kills       int // of agents and machines, where they are what is tested
	err         error
}

type row struct {
	place          int // of its line
	line, scenario string
	result
}

// table collects results; scenarios add to it at the same time.
type table struct {
	began time.Time

	mu     sync.Mutex
	rows   []row
	places []string // names of lines in their order
	writes int      // that were acknowledged and read back
}

// order says in which order lines are told.
func (t *table) order(name string) { t.places = append(t.places, name) }

func (t *table) add(line, scenario string, r result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, row{slices.Index(t.places, line), line, scenario, r})
}

func (t *table) wrote(acked int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes += acked
}

func (t *table) sorted() []row {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := slices.Clone(t.rows)
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.place, b.place) })
	return rows
}

func (t *table) print(out io.Writer) {
	rows := t.sorted()
	if len(rows) == 0 {
		return
	}
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "scenario\ttook\tlongest write stall\tresult")
	failed := 0
	for _, r := range rows {
		word := "ok"
		if r.err != nil {
			word = "FAILED"
			failed++
		}
		fmt.Fprintf(tab, "%s: %s\t%.1f s\t%.2f s\t%s\n", r.line, r.scenario, r.took.Seconds(), r.stall.Seconds(), word)
	}
	_ = tab.Flush() // to a terminal or a test's output
	fmt.Fprintf(out, "faults: %d scenarios in %.0f s, %d failed, %d acknowledged writes read back\n",
		len(rows), time.Since(t.began).Seconds(), failed, t.writes)
}

const reportBegin, reportEnd = "<!-- faults: make faults REPORT=README.md -->\n", "<!-- end of faults -->\n"

// markdown writes the figures to a file, between its marks; a file that is not there
// is made. Those of a run in which something failed are nobody's figures.
func (t *table) markdown(path string) error {
	var b bytes.Buffer
	rows := fold(t.sorted())
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "In one run of %.0f s, fleets at the same time on %d cores (load average at its end: %s); %d acknowledged writes, all read back.\n\n",
		time.Since(t.began).Seconds(), runtime.NumCPU(), strings.Fields(string(load))[1], t.writes)
	fmt.Fprint(&b, "| fleet | what happens to it | seconds | longest write stall, s |\n|---|---|--:|--:|\n")
	last := ""
	for _, r := range rows {
		if r.err != nil {
			return fmt.Errorf("no figures for %s: %s: %s: %w", path, r.line, r.scenario, r.err)
		}
		name := r.line
		if name == last {
			name = ""
		}
		last = r.line
		fmt.Fprintf(&b, "| %s | %s | %.1f | %.2f |\n", name, r.scenario, r.took.Seconds(), r.stall.Seconds())
	}
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old, err = []byte(reportBegin+reportEnd), nil
	}
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(old), reportBegin)
	_, after, ends := strings.Cut(rest, reportEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no lines %s and %s", path, reportBegin, reportEnd)
	}
	return os.WriteFile(path, []byte(before+reportBegin+"\n"+b.String()+"\n"+reportEnd+after), 0o644)
}

// fold makes one row of a line's rounds of kills.
func fold(rows []row) (folded []row) {
	rounds := 0
	for _, r := range rows {
		last := len(folded) - 1
		if r.kills == 0 {
			folded = append(folded, r)
			continue
		}
		if last < 0 || folded[last].line != r.line {
			folded, rounds, last = append(folded, row{place: r.place, line: r.line}), 0, last+1
		}
		f := &folded[last]
		rounds++
		f.took, f.stall, f.kills = f.took+r.took, max(f.stall, r.stall), f.kills+r.kills
		f.err = errors.Join(f.err, r.err)
		f.scenario = fmt.Sprintf("%d kills in %d rounds", f.kills, rounds)
	}
	return folded
}
