//go:build linux

package hosts

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
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

// followEvery is how often log files are looked at for more.
const followEvery = 20 * time.Millisecond

// FollowAgents hands every line that any agent of the fleet logs to f, those of
// hosts to come included, until ctx ends. It returns when f is called no more; f
// is called by one goroutine, and lines of different hosts may come out of order
// by a few hundredths of a second.
func (f *Fleet) FollowAgents(ctx context.Context, handle func(Line)) {
	tails := map[*Host]*tail{}
	defer func() {
		for _, t := range tails {
			t.close()
		}
	}()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		for _, h := range f.everyHost() {
			t := tails[h]
			if t == nil {
				t = &tail{host: h}
				tails[h] = t
			}
			t.read(handle)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *Fleet) everyHost() []*Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*Host, 0, len(f.hosts))
	for _, h := range f.hosts {
		all = append(all, h)
	}
	return all
}

// tail reads a growing file line by line.
type tail struct {
	host *Host
	file *os.File
	in   *bufio.Reader
	part bytes.Buffer // of a line whose end is not written yet
}

func (t *tail) read(handle func(Line)) {
	if t.file == nil {
		file, err := os.Open(t.host.Logs.Agent)
		if err != nil {
			return // not there yet
		}
		t.file, t.in = file, bufio.NewReader(file)
	}
	for {
		text, err := t.in.ReadString('\n')
		t.part.WriteString(text)
		if err != nil {
			return // io.EOF, so far
		}
		raw := strings.TrimSuffix(t.part.String(), "\n")
		t.part.Reset()
		handle(parseLine(t.host, raw))
	}
}

func (t *tail) close() {
	if t.file != nil {
		t.file.Close()
	}
}

// AwaitLine returns the first line logged from now on that matches. It is how a
// test strikes in the middle of something.
func (f *Fleet) AwaitLine(ctx context.Context, match func(Line) bool) (Line, error) {
	begin := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var found *Line
	f.FollowAgents(ctx, func(l Line) {
		if found == nil && !l.At.Before(begin) && match(l) {
			found = &l
			cancel()
		}
	})
	if found == nil {
		return Line{}, context.Cause(ctx)
	}
	return *found, nil
}
