package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// screen shows a timeline. On a terminal a block of lines below it is kept up to
// date; elsewhere there are only the timeline's lines.
type screen struct {
	out   io.Writer
	tty   *os.File // nil: not a terminal, or not to be used as one
	start time.Time
	block func() []string // the live part; not called while the screen is locked
	gone  func()          // called when nobody reads any more

	mu      sync.Mutex
	painted int // lines of the block that stand below the timeline
	pending []string
	ended   bool
}

func newScreen(out io.Writer, plain bool, gone func()) *screen {
	s := &screen{out: out, start: time.Now(), gone: gone}
	if f, ok := out.(*os.File); ok && !plain {
		if _, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && os.Getenv("TERM") != "dumb" {
			s.tty = f
		}
	}
	return s
}

// say adds a line to the timeline, about who.
func (s *screen) say(who, format string, args ...any) { s.sayAt(time.Now(), who, format, args...) }

func (s *screen) sayAt(at time.Time, who, format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	s.line(fmt.Sprintf("%7.2fs  %-6s %s", at.Sub(s.start).Seconds(), who, text))
}

// chapter begins a new part of the story.
func (s *screen) chapter(name string) {
	title := fmt.Sprintf("%7.2fs  == %s", time.Since(s.start).Seconds(), name)
	if s.tty != nil {
		title = "\x1b[1m" + title + "\x1b[0m"
	}
	s.line(title)
}

func (s *screen) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty != nil && !s.ended {
		s.pending = append(s.pending, text) // the next repaint shows it
		return
	}
	s.write(text + "\n")
}

func (s *screen) write(text string) {
	if _, err := io.WriteString(s.out, text); err != nil {
		s.gone()
	}
}

// repaint keeps the terminal up to date until ctx ends.
func (s *screen) repaint(ctx context.Context) {
	if s.tty == nil {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		s.paint(s.block())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// paint replaces the block by what is new in the timeline and the new block, in
// one write: a terminal shows no half of it.
func (s *screen) paint(block []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	width := 80
	if size, err := unix.IoctlGetWinsize(int(s.tty.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		width = int(size.Col)
	}
	var b strings.Builder
	if s.painted > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.painted)
	}
	for _, l := range s.pending {
		fmt.Fprintln(&b, l)
	}
	s.pending = nil
	if len(block) > 0 {
		block = append([]string{strings.Repeat("─", min(width-1, 100))}, block...)
	}
	for _, l := range block {
		// A line that wraps would be two.
		if r := []rune(l); len(r) >= width {
			l = string(r[:width-1])
		}
		fmt.Fprintln(&b, l)
	}
	s.painted = len(block)
	s.write(b.String())
}

// end takes the block away; the screen is plain from here on.
func (s *screen) end() {
	if s.tty == nil {
		return
	}
	s.paint(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}
