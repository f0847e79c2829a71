package policy

import (
	"slices"
	"time"
)

// MaxWindow is the longest that a window may be open.
const MaxWindow = 7 * 24 * time.Hour

// Window is a span of time, on some days of the week, in which reboots may begin.
//
// It opens at the first instant at which its wall clock shows Start of that day or
// later. So on the day on which the clock skips Start (summer time begins) it opens
// when the clock jumps, and on the day on which Start comes twice (summer time ends)
// it opens once, at the first. From then on only Length counts, as on a stop watch:
// four hours are four hours, also where the wall clock shows three or five.
type Window struct {
	// Days on which it opens; none: never.
	Days []time.Weekday
	// Start is the wall clock's time of the opening, since midnight; whole seconds.
	Start time.Duration
	// Length is how long it stays open, at most [MaxWindow]; it may pass midnight.
	Length time.Duration
	// Zone is whose wall clock it is; nil: UTC.
	Zone *time.Location
}

// Windows are open while one of them is. None at all: always open.
type Windows []Window

// farthest is how far At looks ahead at most.
const farthest = 2 * MaxWindow

// At tells whether a reboot may begin at t, and the next instant at which that
// changes. Zero: never. Windows that go on in each other for longer than a fortnight
// change a fortnight later at the earliest, and that instant is given instead.
func (w Windows) At(t time.Time) (open bool, next time.Time) {
	if len(w) == 0 {
		return true, time.Time{}
	}
	spans := w.spans(t)
	for _, s := range spans {
		switch {
		case open && !s.from.After(next): // goes on where the last one ends
			next = later(next, s.to)
		case open:
			return open, next
		case s.from.After(t):
			return false, s.from
		case s.to.After(t):
			open, next = true, s.to
		}
	}
	if limit := t.Add(farthest); next.After(limit) {
		next = limit
	}
	return open, next
}

// span is one opening of a window: from belongs to it, to does not.
type span struct{ from, to time.Time }

// spans are the openings that are not over at t, until beyond farthest, in the order
// of their beginning.
func (w Windows) spans(t time.Time) []span {
	const day = 24 * time.Hour
	// A day may begin up to a day off by the offset of its zone, and be skipped.
	const first, last = -int(MaxWindow/day) - 2, int(farthest/day) + 2
	var out []span
	for _, one := range w {
		if one.Length <= 0 {
			continue
		}
		zone := one.Zone
		if zone == nil {
			zone = time.UTC
		}
		y, m, d := t.In(zone).Date()
		for i := first; i <= last; i++ {
			// As if the wall clock were UTC: a plain date and time, without gaps.
			wall := time.Date(y, m, d+i, 0, 0, 0, 0, time.UTC)
			if !slices.Contains(one.Days, wall.Weekday()) {
				continue
			}
			from := firstShown(zone, wall.Add(one.Start))
			if to := from.Add(one.Length); to.After(t) {
				out = append(out, span{from, to})
			}
		}
	}
	slices.SortFunc(out, func(a, b span) int { return a.from.Compare(b.from) })
	return out
}

// firstShown is the first instant at which the clock of a zone shows wall or later;
// wall is written as if it were UTC. time.Date is no help here: what it makes of a
// time that the clock skips or shows twice is not guaranteed.
func firstShown(zone *time.Location, wall time.Time) time.Time {
	// No zone was ever 16 hours off UTC: here its clock shows less.
	at := wall.Add(-24 * time.Hour).In(zone)
	for {
		_, offset := at.Zone()
		shown := wall.Add(-time.Duration(offset) * time.Second)
		_, end := at.ZoneBounds()
		switch {
		case !shown.After(at):
			return at // skipped: the clock jumped past it here
		case end.IsZero() || shown.Before(end):
			return shown.In(zone)
		}
		at = end.In(zone)
	}
}
