package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// Window is a span of time in which reboots may begin; see [policy.Window].
type Window struct {
	// Days on which it opens, Monday first, each once.
	Days []time.Weekday
	// Start is the wall clock's time since midnight, in whole minutes.
	Start time.Duration
	// Length is at most [policy.MaxWindow].
	Length time.Duration
	// TimeZone is its IANA name.
	TimeZone string
}

// defaultZone is that of a window that names none. Machines in a cloud are in UTC,
// whatever their operators' clocks show.
const defaultZone = "UTC"

func (w Window) policy() policy.Window {
	// It was loaded when it was checked; of one that was not checked, UTC remains.
	zone, err := time.LoadLocation(w.TimeZone)
	if err != nil {
		zone = time.UTC
	}
	return policy.Window{Days: slices.Clone(w.Days), Start: w.Start, Length: w.Length, Zone: zone}
}

// String is the form of the variable: mon-fri 23:00 4h Europe/Berlin.
func (w Window) String() string {
	return strings.Join([]string{strings.Join(showDays(w.Days), ","), showClock(w.Start), short(w.Length), w.TimeZone}, " ")
}

// WindowYAML is a window as the file has it.
type WindowYAML struct {
	Days     []string `yaml:"days,flow" json:"days"`
	Start    string   `yaml:"start" json:"start"`
	Length   string   `yaml:"length" json:"length"`
	TimeZone string   `yaml:"time_zone" json:"time_zone"`
}

// YAML is the window as the file has it.
func (w Window) YAML() WindowYAML {
	return WindowYAML{Days: showDays(w.Days), Start: showClock(w.Start), Length: short(w.Length), TimeZone: w.TimeZone}
}

// windows is a list of windows.
type windows struct{ p *[]Window }

func (v windows) fromYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return fmt.Errorf("is %s, allowed: a list, such as [{days: [mon-fri], start: \"23:00\", length: 4h, time_zone: Europe/Berlin}]", typeName(n))
	}
	var out []Window
	for i, e := range n.Content {
		w, err := windowYAML(e)
		if err != nil {
			return fmt.Errorf("entry %d (line %d): %w", i+1, e.Line, err)
		}
		out = append(out, w)
	}
	*v.p = out
	return nil
}

// fromText takes DAYS START LENGTH TIME_ZONE, separated by semicolons; days and time
// zone may be left out.
func (v windows) fromText(s string) error {
	var out []Window
	for i, e := range strings.Split(s, ";") {
		if strings.TrimSpace(e) == "" {
			continue
		}
		w, err := windowText(strings.Fields(e))
		if err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
		out = append(out, w)
	}
	*v.p = out
	return nil
}

func (v windows) String() string {
	out := make([]string, len(*v.p))
	for i, w := range *v.p {
		out[i] = w.String()
	}
	return strings.Join(out, "; ")
}

func (v windows) plain() any {
	out := []WindowYAML{}
	for _, w := range *v.p {
		out = append(out, w.YAML())
	}
	return out
}

// windowYAML reads one entry of the list. Start and length have no default.
func windowYAML(n *yaml.Node) (Window, error) {
	if n.Kind != yaml.MappingNode {
		return Window{}, fmt.Errorf("is %s, allowed: keys days, start, length and time_zone", typeName(n))
	}
	var days []string
	var start string
	w := Window{TimeZone: defaultZone}
	keys := map[string]value{
		"days":      list{&days, anyText},
		"start":     text{&start, anyText},
		"length":    duration{&w.Length, time.Minute, policy.MaxWindow},
		"time_zone": text{&w.TimeZone, timeZone},
	}
	given := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, val := n.Content[i].Value, n.Content[i+1]
		v, known := keys[k]
		switch {
		case !known:
			return Window{}, fmt.Errorf("%s: no such key, allowed: days, start, length, time_zone%s", printable(k), didYouMean(k, []string{"days", "start", "length", "time_zone"}))
		case given[k]:
			return Window{}, fmt.Errorf("%s: is given twice, allowed: once", k)
		case val.Kind == yaml.AliasNode || val.Anchor != "":
			return Window{}, fmt.Errorf("%s: anchors and aliases are not allowed; write the value out", k)
		}
		given[k] = true
		if err := v.fromYAML(val); err != nil {
			return Window{}, fmt.Errorf("%s: %w", k, err)
		}
	}
	if !given["start"] || !given["length"] {
		return Window{}, errors.New("start or length is missing, allowed: both, such as start: \"23:00\" and length: 4h")
	}
	if given["days"] && len(days) == 0 {
		return Window{}, errors.New("days: is an empty list, allowed: such as [mon-fri], or leave it out for every day")
	}
	return w.complete(days, start)
}

// windowText reads the words of one entry.
func windowText(fields []string) (Window, error) {
	w := Window{TimeZone: defaultZone}
	var days []string
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		days, fields = strings.Split(fields[0], ","), fields[1:]
	}
	if len(fields) < 2 || len(fields) > 3 {
		return Window{}, errors.New("is no window, allowed: DAYS START LENGTH TIME_ZONE, such as mon-fri 23:00 4h Europe/Berlin")
	}
	if err := (duration{&w.Length, time.Minute, policy.MaxWindow}).fromText(fields[1]); err != nil {
		return Window{}, err
	}
	if len(fields) == 3 {
		if err := (text{&w.TimeZone, timeZone}).fromText(fields[2]); err != nil {
			return Window{}, err
		}
	}
	return w.complete(days, fields[0])
}

// complete fills in days and start. No days are every day.
func (w Window) complete(days []string, start string) (Window, error) {
	var err error
	if w.Start, err = readClock(start); err != nil {
		return Window{}, fmt.Errorf("start: %w", err)
	}
	if len(days) == 0 {
		days = []string{"mon-sun"}
	}
	if w.Days, err = readDays(days); err != nil {
		return Window{}, fmt.Errorf("days: %w", err)
	}
	return w, nil
}

// week in the order in which people read it.
var week = []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday, time.Sunday}

func dayWord(d time.Weekday) string { return strings.ToLower(d.String()[:3]) }

// readDays reads days and spans of days, which may pass the end of the week.
func readDays(in []string) ([]time.Weekday, error) {
	place := func(s string) int {
		return slices.IndexFunc(week, func(d time.Weekday) bool { return dayWord(d) == s })
	}
	on := make([]bool, len(week))
	for _, s := range in {
		first, last, isSpan := strings.Cut(s, "-")
		if !isSpan {
			last = first
		}
		from, to := place(first), place(last)
		if from < 0 || to < 0 {
			return nil, fmt.Errorf("%q is no day, allowed: mon, tue, wed, thu, fri, sat, sun, or a span such as mon-fri", s)
		}
		for i := from; ; i = (i + 1) % len(week) {
			on[i] = true
			if i == to {
				break
			}
		}
	}
	var out []time.Weekday
	for i, d := range week {
		if on[i] {
			out = append(out, d)
		}
	}
	return out, nil
}

// showDays is the shortest list of days and spans; days are in the week's order.
func showDays(days []time.Weekday) []string {
	var out []string
	for i := 0; i < len(days); {
		j := i
		for j+1 < len(days) && days[j+1] == (days[j]+1)%7 {
			j++
		}
		switch first, last := dayWord(days[i]), dayWord(days[j]); {
		case j-i >= 2:
			out = append(out, first+"-"+last)
		case j > i:
			out = append(out, first, last)
		default:
			out = append(out, first)
		}
		i = j + 1
	}
	return out
}

// readClock reads a time of day.
func readClock(s string) (time.Duration, error) {
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, fmt.Errorf("%q is no time of day, allowed: \"00:00\" to \"23:59\"", s)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

func showClock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}

// timeZone looks in the system's time zone database, which Flatcar and Fedora CoreOS
// bring; a copy of it would be a sixtieth of the binary. "Local" is what the machine
// happens to have, and "" is UTC by another name; both say less than they seem to.
func timeZone(s string) error {
	if _, err := time.LoadLocation(s); err != nil || s == "" || s == "Local" {
		return fmt.Errorf("%q is no time zone, allowed: a name in the system's time zone database (tzdata), such as Europe/Berlin or UTC", s)
	}
	return nil
}
