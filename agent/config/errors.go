package config

import (
	"fmt"
	"strings"
)

// Error is one thing that is wrong with the configuration.
type Error struct {
	// Origin is where it was written.
	Origin Origin
	// Key is the key in question; empty when the file as a whole is.
	Key string
	// Problem says what is wrong and what is allowed.
	Problem string
}

// Error gives the one line that people see.
func (e Error) Error() string {
	parts := []string{e.Origin.String()}
	if e.Key != "" {
		parts = append(parts, e.Key)
	}
	return strings.Join(append(parts, e.Problem), ": ")
}

// Errors is everything that is wrong, one line each: first the file in the order
// of its lines, then the environment, then combinations.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Origin is where a value was given. The zero Origin is the default.
type Origin struct {
	// File and Line are set when it stands in a file; Line is 0 when the file as
	// a whole is meant.
	File string
	Line int
	// Env is set when it comes from that variable.
	Env string
}

// String is "default", "FILE:LINE" or "env NAME".
func (o Origin) String() string {
	switch {
	case o.Env != "":
		return "env " + o.Env
	case o.File == "":
		return "default"
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Provenance tells for every key where its value comes from.
type Provenance map[string]Origin

// didYouMean names the candidate that s probably was meant to be, ready to be
// appended to a message; empty when none is near.
func didYouMean(s string, candidates []string) string {
	// The right name in the wrong section.
	if last := s[strings.LastIndexByte(s, '.')+1:]; len(last) > 2 {
		for _, c := range candidates {
			if strings.HasSuffix(c, "."+last) {
				return fmt.Sprintf("; did you mean %s?", c)
			}
		}
	}
	best, bestAt := "", min(len(s)/3+1, 3)
	for _, c := range candidates {
		if d := distance(s, c); d <= bestAt && (best == "" || d < bestAt) {
			best, bestAt = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is the number of single-byte insertions, deletions, replacements that
// turn a into b. Long strings are far from everything.
func distance(a, b string) int {
	const long = 100
	if len(a) > long || len(b) > long {
		return long
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(diagonal+cost, row[j]+1, row[j+1]+1)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
