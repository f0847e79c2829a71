package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("a write is lost"), 1},
		{fmt.Errorf("wait: %w", context.DeadlineExceeded), 1},
		{fmt.Errorf("wait: %w", context.Canceled), 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
	for _, args := range [][]string{
		{"--nonsense"}, {"extra"}, {"run", "extra"}, {"run", "--replace", "never"}, {"aws", "--nonsense"}, {"run", "--timeout", "soon"},
	} {
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(io.Discard)
		if got := exitCode(root.ExecuteContext(t.Context())); got != 2 {
			t.Errorf("%v: exit code %d, want 2", args, got)
		}
	}
}

func TestPlainLines(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, false, nil) // no terminal
	s.block = func() []string { t.Error("a block is made for no terminal"); return nil }
	s.chapter("one")
	s.say("h1", "does\n%d things", 2)
	s.repaint(t.Context()) // returns at once
	s.end()
	got := regexp.MustCompile(`\d+\.\d\d`).ReplaceAllString(out.String(), "T")
	if want := "   Ts  == one\n   Ts  h1     does; 2 things\n"; got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestDurations(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	hook, voter := durations(at(100), []fakeaws.Event{
		{At: at(101), Kind: fakeaws.Notice, Instance: "a"},
		{At: at(102), Kind: fakeaws.Notice, Instance: "b"},
		{At: at(103), Kind: fakeaws.HookCompleted, Instance: "c", Transition: fakeaws.Launching},
		{At: at(104), Kind: fakeaws.InService, Instance: "c"},
		{At: at(105), Kind: fakeaws.HookCompleted, Instance: "b", Transition: fakeaws.Terminating},
		{At: at(107), Kind: fakeaws.HookCompleted, Instance: "a", Transition: fakeaws.Terminating},
	})
	if hook != 6*time.Second || voter != 4*time.Second {
		t.Errorf("notice to hook %s, to new voter %s", hook, voter)
	}
	if hook, voter := durations(at(0), nil); hook != 0 || voter != 0 {
		t.Errorf("of nothing: %s, %s", hook, voter)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestNobodyReads(t *testing.T) {
	ctx, gone := context.WithCancel(t.Context())
	newScreen(brokenPipe{}, true, gone).say("h1", "is not heard")
	if ctx.Err() == nil {
		t.Error("the demo goes on for nobody")
	}
}

func TestGist(t *testing.T) {
	for text, want := range map[string]string{
		"add learner i-1: http://a: etcdserver: unhealthy cluster; http://b: connection refused": "etcdserver: unhealthy cluster",
		"take slot: the slot is taken by i-1":                                                    "take slot: the slot is taken by i-1",
	} {
		if got := gist(text); got != want {
			t.Errorf("gist of %q is %q, want %q", text, got, want)
		}
	}
}
