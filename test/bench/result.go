//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// result is one row: samples of one number.
type result struct {
	Part    string    `json:"part"`
	What    string    `json:"what"`
	Unit    string    `json:"unit"`
	Samples []float64 `json:"samples"`
	Median  float64   `json:"median"`
	P90     float64   `json:"p90"`
	N       int       `json:"n"`
	// Promise is "at most" a number; at least when Least. Nil: none is made.
	Promise *float64 `json:"promise,omitempty"`
	Least   bool     `json:"at_least,omitempty"`
}

// add a row without a promise.
func (b *bench) add(part, what, unit string, samples []float64) *result {
	r := result{Part: part, What: what, Unit: unit, Samples: samples,
		Median: quantile(samples, 0.5), P90: quantile(samples, 0.9), N: len(samples)}
	b.results = append(b.results, r)
	b.say("%s: %s: median %s", part, what, number(r.Median, unit))
	return &b.results[len(b.results)-1]
}

func (r *result) atMost(limit float64)  { r.Promise = &limit }
func (r *result) atLeast(limit float64) { r.Promise, r.Least = &limit, true }

// kept reports whether the median is as promised.
func (r result) kept() bool {
	switch {
	case r.Promise == nil:
		return true
	case r.N == 0:
		return false
	case r.Least:
		return r.Median >= *r.Promise
	}
	return r.Median <= *r.Promise
}

// quantile by linear interpolation between the two nearest samples; 0 of none.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	at := q * float64(len(s)-1)
	i := min(int(at), len(s)-1)
	if i == len(s)-1 {
		return s[i]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

func number(v float64, unit string) string {
	digits := 1
	switch {
	case v == float64(int(v)) && v < 1000:
		digits = 0
	case v < 1:
		digits = 3
	case v < 10:
		digits = 2
	case v >= 100:
		digits = 0
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + unit
}

func printTable(out io.Writer, results []result) error {
	_, err := fmt.Fprint(out, "| part | what | median | p90 | n | promise | kept |\n|---|---|--:|--:|--:|--:|---|\n")
	for _, r := range results {
		promise, kept := "", ""
		if r.Promise != nil {
			promise, kept = "≤ "+number(*r.Promise, r.Unit), "yes"
			if r.Least {
				promise = "≥ " + number(*r.Promise, r.Unit)
			}
			if !r.kept() {
				kept = "**no**"
			}
		}
		_, e := fmt.Fprintf(out, "| %s | %s | %s | %s | %d | %s | %s |\n", r.Part, r.What,
			number(r.Median, r.Unit), number(r.P90, r.Unit), r.N, promise, kept)
		err = errors.Join(err, e)
	}
	return err
}

func printJSON(out io.Writer, results []result) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(map[string]any{"results": results})
}

func missed(results []result) error {
	var errs []error
	for _, r := range results {
		if !r.kept() {
			errs = append(errs, fmt.Errorf("not as promised: %s: %s: median %s", r.Part, r.What, number(r.Median, r.Unit)))
		}
	}
	return errors.Join(errs...)
}
