//go:build linux

package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Line is what an agent logged, as far as its fields have a meaning here. The
// loop's messages: "decided" (a concern's reason changed), "acting" and then
// "acted" or "action failed".
type Line struct {
	Host    *Host     `json:"-"`
	At      time.Time `json:"time"`
	Level   string    `json:"level"`
	Msg     string    `json:"msg"`
	Concern string    `json:"concern"`
	Reason  string    `json:"reason"`
	Action  string    `json:"action"`
	What    string    `json:"what"`
	Detail  string    `json:"detail"`
	Seconds float64   `json:"seconds"` // that an action took
	Error   string    `json:"error"`
	Raw     string    `json:"-"`
}

// Messages of the agent's loop.
const (
	Decided = "decided"
	Acting  = "acting"
	Acted   = "acted"
	Failed  = "action failed"
)

func parseLine(h *Host, raw string) Line {
	l := Line{}
	_ = json.Unmarshal([]byte(raw), &l) // what is no JSON (a panic, say) is still a line
	l.Host, l.Raw = h, raw
	return l
}

// Journal reads all that the agent of a host has logged, over all its lives.
func (h *Host) Journal() ([]Line, error) {
	data, err := os.ReadFile(h.Logs.Agent)
	if err != nil {
		return nil, err
	}
	var lines []Line
	for raw := range strings.Lines(string(data)) {
		lines = append(lines, parseLine(h, strings.TrimSuffix(raw, "\n")))
	}
	return lines, nil
}

// Follow calls handle with every line that any agent of the fleet logs from now on,
// until the returned function was called. It is called as the agent writes, and
// the agent's next line waits for it: whoever kills the agent in it strikes within
// a millisecond. Lines of different hosts come at the same time.
func (f *Fleet) Follow(handle func(Line)) (cancel func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed++
	n := f.followed
	f.followers[n] = handle
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.followers, n)
	}
}

// AwaitLine returns the first line logged from now on that matches.
func (f *Fleet) AwaitLine(ctx context.Context, match func(Line) bool) (Line, error) {
	found := make(chan Line, 1)
	cancel := f.Follow(func(l Line) {
		if match(l) {
			select {
			case found <- l:
			default: // there was one before
			}
		}
	})
	defer cancel()
	select {
	case l := <-found:
		return l, nil
	case <-ctx.Done():
		return Line{}, context.Cause(ctx)
	}
}

// journal is where an agent's output goes: into its file, and line by line to
// whoever follows.
type journal struct {
	host *Host
	file *os.File
	part bytes.Buffer // of a line whose end is not written yet
}

// Write: what a follower is told of stands in the file.
func (j *journal) Write(b []byte) (int, error) {
	n, err := j.file.Write(b)
	for text := range strings.Lines(string(b)) {
		j.part.WriteString(text)
		if strings.HasSuffix(text, "\n") {
			l := parseLine(j.host, strings.TrimSuffix(j.part.String(), "\n"))
			j.part.Reset()
			for _, handle := range j.host.fleet.everyFollower() {
				handle(l)
			}
		}
	}
	return n, err
}

func (f *Fleet) everyFollower() []func(Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.followers))
}
