package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
)

// watched runs --watch for three looks, two seconds apart, of which the second
// finds no agent.
func watched(t *testing.T, terminal bool, format string) (stdout, stderr string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start, looks := time.Now(), 0
		ask := func(context.Context) (peer.Status, error) {
			looks++
			if got, want := time.Since(start), time.Duration(looks-1)*2*time.Second; got != want {
				t.Errorf("look %d came after %s, want %s", looks, got, want)
			}
			switch looks {
			case 2:
				return peer.Status{}, fmt.Errorf("look: %w", peer.ErrUnreachable)
			case 4:
				cancel()
				return peer.Status{}, ctx.Err()
			}
			return peer.Status{Instance: "i-0a", Decision: peer.Decision{Sequence: uint64(looks),
				Concerns: []peer.Verdict{{Concern: "join", Reason: "Voting"}}}}, nil
		}
		var out, errs bytes.Buffer
		a := &app{ui: &ui{out: &out, err: &errs, terminal: terminal}}
		f := statusFlags{interval: 2 * time.Second, output: &choice{value: format}}
		if err := a.watch(ctx, f, ask, nil); err != nil {
			t.Error(err)
		}
		stdout, stderr = out.String(), errs.String()
	})
	return stdout, stderr
}

func TestWatchLines(t *testing.T) {
	out, errs := watched(t, false, "table")
	want := "0001-01-01T00:00:00Z node=i-0a pass=1 action=none join=Voting healthy=0/0 leader=0\n" +
		"0001-01-01T00:00:00Z node=i-0a pass=3 action=none join=Voting healthy=0/0 leader=0\n"
	if out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	if errs != "quorumd: look: the agent cannot be reached\n" {
		t.Errorf("stderr is %q", errs)
	}
}

func TestWatchJSON(t *testing.T) {
	out, _ := watched(t, true, "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want one a look: %q", len(lines), out)
	}
	for _, line := range lines {
		var r report
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Self.Instance != "i-0a" {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestWatchRepaints(t *testing.T) {
	out, _ := watched(t, true, "table")
	if n := strings.Count(out, "\x1b[H\x1b[2J"); n != 3 {
		t.Errorf("painted %d times, want 3", n)
	}
	if !strings.Contains(out, "pass     #3, ") {
		t.Errorf("no third pass in %q", out)
	}
}

func TestColour(t *testing.T) {
	u := &ui{}
	if got := u.paint(red, "x"); got != "x" {
		t.Errorf("painted without colour: %q", got)
	}
	u.colour = true
	if got := u.paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("got %q", got)
	}
	var b bytes.Buffer
	if u := newUI(nil, &b, &b, nil); u.terminal || u.colour {
		t.Error("a buffer was taken for a terminal")
	}
}

func TestClean(t *testing.T) {
	if got := clean("a\x1b[2J\tb\nc\u202e\u00e9"); got != "a?[2J b c?\u00e9" {
		t.Errorf("got %q", got)
	}
}
