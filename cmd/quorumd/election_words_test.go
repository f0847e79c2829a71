package main

import (
	"strings"
	"testing"

	"github.com/quorumd/quorumd/agent/peer"
)

func TestWouldDo(t *testing.T) {
	for reason, want := range map[string]string{
		"ElectionStuck":    "if a majority agrees, etcd would be restarted",
		"ElectionCooldown": "if a majority agrees, etcd would be restarted",
		"Electing":         "if a majority still knows no leader then, etcd",
		"AttemptsSpent":    "if an operator's attempts are not spent",
		"LeaderKnown":      "the agent would refuse: LeaderKnown",
		"AlarmNoSpace":     "the agent would refuse: AlarmNoSpace",
		"":                 "not known",
	} {
		if got := wouldDo(electionReport{Reason: reason, Nodes: []electionNode{{}}}); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q...", reason, got, want)
		}
	}
	if got := wouldDo(electionReport{Reason: "AwaitTurn", Nodes: []electionNode{{Plan: "attempt 1, round 2: stopped"}}}); got != "nothing more: attempt 1, round 2: stopped is under way" {
		t.Errorf("in a plan: %q", got)
	}
}

func TestHealthWithoutLeader(t *testing.T) {
	none, some := &peer.Pulse{Knows: "none"}, &peer.Pulse{Knows: "some"}
	for name, c := range map[string]struct {
		m    peer.Member
		p    *peer.Pulse
		want string
	}{
		"started without a quorum":         {peer.Member{Started: true}, none, "no leader"},
		"lost its leader":                  {peer.Member{Started: true, Health: &peer.Health{}}, none, "no leader"},
		"has one again, its agent is late": {peer.Member{Started: true, Health: &peer.Health{Serves: true}}, none, "healthy"},
		"hangs":                            {peer.Member{Started: true}, some, "unknown"},
		"its agent is silent":              {peer.Member{Started: true}, nil, "unknown"},
		"never started":                    {peer.Member{}, nil, "not started"},
	} {
		if got := health(c.m, c.p); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
