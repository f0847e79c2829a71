//go:build faults && linux

package faults

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// result is what one scenario cost.
type result struct {
	took, stall time.Duration
	err         error
}

// table collects results; scenarios add to it at the same time.
type table struct {
	mu   sync.Mutex
	rows []string
}

func (t *table) add(line, scenario string, r result) {
	word := "ok"
	if r.err != nil {
		word = "FAILED"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, fmt.Sprintf("%s: %s\t%.1f s\t%.2f s\t%s", line, scenario, r.took.Seconds(), r.stall.Seconds(), word))
}

func (t *table) print(out io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows) == 0 {
		return
	}
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "scenario\ttook\tlongest write stall\tresult")
	slices.SortStableFunc(t.rows, func(a, b string) int { // lines ran at the same time
		a, _, _ = strings.Cut(a, ":")
		b, _, _ = strings.Cut(b, ":")
		return strings.Compare(a, b)
	})
	for _, row := range t.rows {
		fmt.Fprintln(tab, row)
	}
	_ = tab.Flush() // to a terminal or a test's output
}
