package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func zoneOf(t *testing.T, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var (
	workdays = []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday}
	everyDay = append([]time.Weekday{time.Sunday, time.Saturday}, workdays...)
)

// instant reads an instant, in RFC 3339 with its offset.
func instant(t *testing.T, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ofDay is a time of day.
func ofDay(h, m int) time.Duration {
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
}

func TestWindows(t *testing.T) {
	berlin, newYork := zoneOf(t, "Europe/Berlin"), zoneOf(t, "America/New_York")
	lordHowe, casablanca := zoneOf(t, "Australia/Lord_Howe"), zoneOf(t, "Africa/Casablanca")
	night := Windows{{Days: workdays, Start: ofDay(23, 0), Length: 4 * time.Hour, Zone: berlin}}
	skipped := Windows{{Days: everyDay, Start: ofDay(2, 30), Length: time.Hour, Zone: berlin}}
	tests := []struct {
		name   string
		w      Windows
		t      string
		open   bool
		change string // empty: never
	}{
		{"none: always", nil, "2026-11-25T12:00:00Z", true, ""},
		{"no day: never", Windows{{Start: ofDay(1, 0), Length: time.Hour}}, "2026-11-25T12:00:00Z", false, ""},
		{"no length: never", Windows{{Days: everyDay}}, "2026-11-25T12:00:00Z", false, ""},
		{"before", night, "2026-11-25T22:59:59+01:00", false, "2026-11-25T23:00:00+01:00"},
		{"at its start", night, "2026-11-25T23:00:00+01:00", true, "2026-11-26T03:00:00+01:00"},
		{"past midnight", night, "2026-11-26T02:59:59+01:00", true, "2026-11-26T03:00:00+01:00"},
		{"at its end", night, "2026-11-26T03:00:00+01:00", false, "2026-11-26T23:00:00+01:00"},
		{"Friday's goes into Saturday", night, "2026-11-28T01:00:00+01:00", true, "2026-11-28T03:00:00+01:00"},
		{"over the weekend", night, "2026-11-28T03:00:00+01:00", false, "2026-11-30T23:00:00+01:00"},
		{"without a zone: UTC", Windows{{Days: []time.Weekday{time.Sunday}, Start: ofDay(0, 0), Length: time.Minute}}, "2026-11-29T00:00:59Z", true, "2026-11-29T00:01:00Z"},
		{"two that touch are one", Windows{
			{Days: []time.Weekday{time.Monday}, Start: ofDay(22, 0), Length: 2 * time.Hour},
			{Days: []time.Weekday{time.Tuesday}, Start: ofDay(0, 0), Length: time.Hour},
		}, "2026-11-23T22:30:00Z", true, "2026-11-24T01:00:00Z"},
		{"one within another", Windows{
			{Days: []time.Weekday{time.Monday}, Start: ofDay(10, 0), Length: 8 * time.Hour},
			{Days: []time.Weekday{time.Monday}, Start: ofDay(12, 0), Length: time.Hour},
		}, "2026-11-23T12:30:00Z", true, "2026-11-23T18:00:00Z"},
		{"a whole week: looked at again in a fortnight", Windows{{Days: everyDay[:1], Start: ofDay(5, 0), Length: MaxWindow}}, "2026-11-23T12:00:00Z", true, "2026-12-07T12:00:00Z"},

		// Berlin skips 02:00 to 03:00 on 2026-03-29, and shows it twice on 2026-10-25.
		{"a start that is skipped: when the clock jumps", skipped, "2026-03-29T01:59:59+01:00", false, "2026-03-29T03:00:00+02:00"},
		{"from there its whole length", skipped, "2026-03-29T03:59:59+02:00", true, "2026-03-29T04:00:00+02:00"},
		{"a start that comes twice: the first", skipped, "2026-10-25T02:30:00+02:00", true, "2026-10-25T02:30:00+01:00"},
		{"and not again", skipped, "2026-10-25T02:30:00+01:00", false, "2026-10-26T02:30:00+01:00"},
		{"its length is a stop watch's, in spring", Windows{{Days: everyDay, Start: ofDay(23, 0), Length: 4 * time.Hour, Zone: berlin}}, "2026-03-29T03:59:00+02:00", true, "2026-03-29T04:00:00+02:00"},
		{"and in autumn", Windows{{Days: everyDay, Start: ofDay(23, 0), Length: 4 * time.Hour, Zone: berlin}}, "2026-10-25T01:59:00+02:00", true, "2026-10-25T02:00:00+01:00"},
		// New York: 2026-03-08 and 2026-11-01, at 02:00.
		{"New York, skipped", Windows{{Days: everyDay, Start: ofDay(2, 15), Length: time.Hour, Zone: newYork}}, "2026-03-08T01:59:59-05:00", false, "2026-03-08T03:00:00-04:00"},
		{"New York, twice", Windows{{Days: everyDay, Start: ofDay(1, 30), Length: 30 * time.Minute, Zone: newYork}}, "2026-11-01T01:30:00-05:00", false, "2026-11-02T01:30:00-05:00"},
		// Lord Howe changes by half an hour: 02:00 becomes 02:30 on 2026-10-04, and
		// 02:00 becomes 01:30 on 2026-04-05.
		{"Lord Howe, skipped", Windows{{Days: everyDay, Start: ofDay(2, 15), Length: time.Hour, Zone: lordHowe}}, "2026-10-04T01:59:59+10:30", false, "2026-10-04T02:30:00+11:00"},
		{"Lord Howe, twice", Windows{{Days: everyDay, Start: ofDay(1, 45), Length: 30 * time.Minute, Zone: lordHowe}}, "2026-04-05T01:45:00+11:00", true, "2026-04-05T01:45:00+10:30"},
		// Casablanca has winter time in Ramadan only: 03:00 becomes 02:00 on
		// 2026-02-15, and 02:00 becomes 03:00 on 2026-03-22.
		{"Casablanca, twice", Windows{{Days: everyDay, Start: ofDay(2, 30), Length: time.Hour, Zone: casablanca}}, "2026-02-15T02:30:00Z", false, "2026-02-16T02:30:00Z"},
		{"Casablanca, skipped", Windows{{Days: everyDay, Start: ofDay(2, 30), Length: time.Hour, Zone: casablanca}}, "2026-03-22T01:59:59Z", false, "2026-03-22T03:00:00+01:00"},
		// Apia went over the date line: there was no 2011-12-30, a Friday.
		{"Apia's Friday that never was", Windows{{Days: []time.Weekday{time.Friday}, Start: ofDay(12, 0), Length: time.Hour, Zone: zoneOf(t, "Pacific/Apia")}}, "2011-12-29T23:59:59-10:00", false, "2011-12-31T00:00:00+14:00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			open, next := tt.w.At(instant(t, tt.t))
			var want time.Time
			if tt.change != "" {
				want = instant(t, tt.change)
			}
			if open != tt.open || !next.Equal(want) {
				t.Errorf("At(%s) = %v, %v; want %v, %v", tt.t, open, next, tt.open, want)
			}
		})
	}
}

// walker is the dumb twin of Windows: it looks at the clocks every minute, as
// somebody with a stop watch for each window would.
type walker struct {
	w    Windows
	last []string    // by window: the latest wall clock it was shown
	shut []time.Time // by window: when it closes
}

// newWalker begins so early that every opening that matters is seen.
func newWalker(w Windows, t time.Time) *walker {
	k := &walker{w: w, last: make([]string, len(w)), shut: make([]time.Time, len(w))}
	for m := t.Add(-MaxWindow - 48*time.Hour); m.Before(t); m = m.Add(time.Minute) {
		k.look(m)
	}
	return k
}

// look goes to the next minute and tells whether a window is open there.
func (k *walker) look(t time.Time) bool {
	const digits = "2006-01-02 15:04"
	open := false
	for i, w := range k.w {
		zone := time.UTC
		if w.Zone != nil {
			zone = w.Zone
		}
		shown := t.In(zone).Format(digits)
		if k.last[i] == "" {
			k.last[i] = shown
		}
		// Every date and time that the clock went through or jumped over just now.
		from, err := time.Parse(digits, k.last[i])
		if err != nil {
			panic(err)
		}
		for from.Format(digits) < shown {
			from = from.Add(time.Minute)
			k.last[i] = from.Format(digits)
			start := fmt.Sprintf("%02d:%02d", int(w.Start.Hours()), int(w.Start.Minutes())%60)
			if slices.Contains(w.Days, from.Weekday()) && from.Format("15:04") == start {
				k.shut[i] = t.Add(w.Length)
			}
		}
		open = open || t.Before(k.shut[i])
	}
	return open
}

// TestWindowsTwin compares random windows, around changes of the clock and at any
// other time, with somebody who walks through them minute by minute.
func TestWindowsTwin(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	zones := []*time.Location{nil}
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia", "America/Havana"} {
		zones = append(zones, zoneOf(t, name))
	}
	// Days around which a clock of those changes, and any other.
	days := []string{"2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-10-04", "2026-04-05", "2026-02-15", "2026-03-22", "2011-12-30", "2018-11-04", "2018-02-18", "2026-06-10"}
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 7))
		var w Windows
		for range 1 + r.IntN(3) {
			w = append(w, randomWindow(r, zones))
		}
		begin := instant(t, days[r.IntN(len(days))]+"T00:00:00Z").Add(time.Duration(r.IntN(2880)-1440) * time.Minute)
		compareWithWalker(t, seed, w, begin)
	}
}

func randomWindow(r *rand.Rand, zones []*time.Location) Window {
	w := Window{Start: ofDay(r.IntN(24), r.IntN(60)), Length: time.Duration(1+r.IntN(600)) * time.Minute, Zone: zones[r.IntN(len(zones))]}
	if r.IntN(2) == 0 {
		w.Start = ofDay(r.IntN(4), 15*r.IntN(4)) // where clocks change
	}
	if r.IntN(5) == 0 {
		w.Length = time.Duration(1+r.IntN(int(MaxWindow/time.Minute))) * time.Minute
	}
	for _, d := range everyDay {
		if r.IntN(2) == 0 {
			w.Days = append(w.Days, d)
		}
	}
	return w
}

// compareWithWalker walks three days. Whatever At says at one minute must hold at
// every minute until the instant it names, and not at that instant.
func compareWithWalker(t *testing.T, seed uint64, w Windows, begin time.Time) {
	t.Helper()
	k := newWalker(w, begin)
	var said struct {
		open  bool
		until time.Time
		known bool
	}
	for m := begin; m.Before(begin.Add(72 * time.Hour)); m = m.Add(time.Minute) {
		want := k.look(m)
		got, next := w.At(m)
		if got != want {
			t.Fatalf("seed %d: at %s: open %v, the walker says %v\n%+v", seed, m.Format(time.RFC3339), got, want, w)
		}
		if !next.IsZero() && !next.After(m) {
			t.Fatalf("seed %d: at %s: changes at %s, which is no later", seed, m.Format(time.RFC3339), next.Format(time.RFC3339))
		}
		switch early := said.known && (said.until.IsZero() || m.Before(said.until)); {
		case early && (want != said.open || !next.Equal(said.until) && !next.Equal(m.Add(farthest))):
			t.Fatalf("seed %d: at %s: open %v until %s, but it was to stay %v until %s\n%+v", seed, m.Format(time.RFC3339),
				want, next.Format(time.RFC3339), said.open, said.until.Format(time.RFC3339), w)
		case said.known && !early && m.Equal(said.until) && want == said.open && !m.Equal(begin.Add(farthest)):
			t.Fatalf("seed %d: at %s: it was to change and did not\n%+v", seed, m.Format(time.RFC3339), w)
		}
		said.open, said.until, said.known = got, next, true
	}
}

// What Next is given must not be changed by asking.
func TestWindowsAreNotChanged(t *testing.T) {
	w := Windows{{Days: []time.Weekday{time.Saturday, time.Monday}, Start: ofDay(1, 0), Length: time.Hour}}
	days := slices.Clone(w[0].Days)
	w.At(instant(t, "2026-11-25T12:00:00Z"))
	if !slices.Equal(days, w[0].Days) {
		t.Errorf("days are %v, were %v", w[0].Days, days)
	}
}

func BenchmarkWindows(b *testing.B) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	w := Windows{{Days: workdays, Start: ofDay(23, 0), Length: 4 * time.Hour, Zone: berlin}}
	t := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		w.At(t)
	}
}
