package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChooseHook(t *testing.T) {
	hook := func(name string, t Transition) Hook { return Hook{Name: name, Transition: t} }
	const l, x = Launching, Terminating
	for _, c := range []struct {
		name       string
		hooks      []Hook
		configured string
		want       string   // empty: an error
		names      []string // in the error
	}{
		{name: "none at all"},
		{name: "none on this transition", hooks: []Hook{hook("a", x)}},
		{name: "the only one", hooks: []Hook{hook("a", l), hook("quorumd-b", x)}, want: "a"},
		{name: "ours among others", hooks: []Hook{hook("a", l), hook("quorumd-b", l)}, want: "quorumd-b"},
		{name: "two of ours", hooks: []Hook{hook("quorumd-b", l), hook("quorumd-a", l)}, names: []string{"quorumd-a, quorumd-b"}},
		{name: "two of others", hooks: []Hook{hook("b", l), hook("a", l), hook("c", x)}, names: []string{"a, b"}},
		{name: "the configured one", hooks: []Hook{hook("a", l), hook("quorumd-b", l)}, configured: "a", want: "a"},
		{name: "the configured one is away", hooks: []Hook{hook("a", l)}, configured: "b", names: []string{"a", "b"}},
		{name: "the configured one is on the other", hooks: []Hook{hook("a", l), hook("b", x)}, configured: "b", names: []string{"a"}},
	} {
		before := append([]Hook(nil), c.hooks...)
		got, err := ChooseHook(c.hooks, l, c.configured)
		if got.Name != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrNoHook) {
			t.Errorf("%s: got %q, %v", c.name, got.Name, err)
		}
		for _, n := range c.names {
			if err != nil && !strings.Contains(err.Error(), n) {
				t.Errorf("%s: %q does not name %s", c.name, err, n)
			}
		}
		if diff := cmp.Diff(before, c.hooks); diff != "" {
			t.Errorf("%s: the argument was changed:\n%s", c.name, diff)
		}
	}
}

func TestOpenTransition(t *testing.T) {
	for state, want := range map[LifecycleState]Transition{
		"Pending:Wait": Launching, "Terminating:Wait": Terminating,
		"Warmed:Pending:Wait": Terminating, "Warmed:Terminating:Wait": Terminating,
		"Pending": "", "InService": "", "Terminating:Proceed": "", "Nonsense:Wait": "", "": "",
	} {
		if got := OpenTransition(state); got != want {
			t.Errorf("%s: got %q, want %q", state, got, want)
		}
	}
}
