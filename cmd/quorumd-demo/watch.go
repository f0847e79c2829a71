package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// watch puts on the screen what the group, etcd and the agents do, until the
// returned function is called, which waits for the end of it.
func (d *demo) watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	v := &picture{demo: d, reasons: map[string]map[string]string{}, failing: map[string]bool{}}
	d.screen.block = v.block
	unsubscribe := d.fleet.Cloud.Subscribe(v.groupEvent)
	unfollow := d.fleet.Follow(v.agentLine)
	var all sync.WaitGroup
	all.Go(func() { v.followEtcd(ctx) })
	all.Go(func() { d.screen.repaint(ctx) })
	return func() {
		cancel()
		unsubscribe()
		unfollow()
		all.Wait()
	}
}

// picture is what is known at the moment, for the live part of the screen.
type picture struct {
	*demo

	mu      sync.Mutex
	members fleet.Members
	leader  string
	reasons map[string]map[string]string // by instance id and concern
	failing map[string]bool              // by instance id and action
}

// name is the short name of an instance.
func (p *picture) name(id string) string {
	if h := p.fleet.Host(id); h != nil {
		return h.Name
	}
	return id
}

func (p *picture) groupEvent(e fakeaws.Event) {
	say := func(format string, args ...any) { p.screen.sayAt(e.At, p.name(e.Instance), format, args...) }
	switch e.Kind {
	case fakeaws.DesiredChanged:
		p.screen.sayAt(e.At, "group", "desired capacity %s", e.Note)
	case fakeaws.BecameRunning:
		say("instance %s runs", e.Instance)
	case fakeaws.Notice:
		say("told to terminate (%s)", e.Note)
	case fakeaws.HookCompleted:
		say("%s completed: %s, by %s", e.Hook, e.Result, p.name(e.By))
	case fakeaws.InService:
		say("in service")
	case fakeaws.BecameTerminated:
		say("terminated")
	case fakeaws.LaunchFailed, fakeaws.StopFailed:
		say("%s: %s", e.Kind, e.Note)
	}
}

// agentLine shows actions, and failures; reasons are in the live part.
func (p *picture) agentLine(l hosts.Line) {
	switch l.Msg {
	case hosts.Decided:
		p.mu.Lock()
		if p.reasons[l.Host.ID] == nil {
			p.reasons[l.Host.ID] = map[string]string{}
		}
		p.reasons[l.Host.ID][l.Concern] = l.Reason
		p.mu.Unlock()
	case hosts.Acted:
		p.tried(l, false)
		if l.Action != "write-record" { // its own notes
			p.screen.sayAt(l.At, l.Host.Name, "%s: %s (%s, %.0f ms)", l.Concern, l.Action, l.Reason, l.Seconds*1000)
		}
	case hosts.Failed:
		if p.tried(l, true) {
			p.screen.sayAt(l.At, l.Host.Name, "%s: %s not possible yet (%s): %s", l.Concern, l.Action, l.Reason, gist(l.Error))
		}
	}
}

// tried notes whether an action failed, and reports whether that is new: what is
// tried again every second is said once.
func (p *picture) tried(l hosts.Line, failed bool) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := l.Host.ID + " " + l.Action
	first = failed && !p.failing[key]
	p.failing[key] = failed
	return first
}

// gist is what etcd said, without which endpoints said so.
func gist(text string) string {
	if i := strings.LastIndex(text, "etcdserver: "); i >= 0 {
		text, _, _ = strings.Cut(text[i:], ";")
	}
	return text
}

// followEtcd looks at the member list and at who leads.
func (p *picture) followEtcd(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		members, err := p.fleet.Members(bounded)
		leader := ""
		if err == nil {
			leader, _ = p.fleet.Leader(bounded) // "" while there is none
		}
		cancel()
		if err == nil && ctx.Err() == nil {
			p.changed(members, leader)
		}
	}
}

// changed says what is new in the member list.
func (p *picture) changed(members fleet.Members, leader string) {
	p.mu.Lock()
	before, led := p.members, p.leader
	p.members = members
	if leader != "" {
		p.leader = leader
	}
	p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(members)) {
		switch {
		case members.Votes(name) && !before.Votes(name):
			p.screen.say(p.name(name), "votes: %d voters now", members.Voters())
		case !members.Votes(name) && before[name] == nil && !strings.HasPrefix(name, "unstarted"):
			p.screen.say(p.name(name), "is a learner")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if members[name] == nil && before.Votes(name) {
			p.screen.say(p.name(name), "is no member any more: %d voters now", members.Voters())
		}
	}
	if leader != "" && leader != led {
		p.screen.say(p.name(leader), "leads")
	}
}

// block is the live part of the screen.
func (p *picture) block() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, _ := p.fleet.Cloud.Group(hosts.Group)
	lines := []string{fmt.Sprintf("desired %d   voters %d   writes acknowledged %d   longest stall %.2fs",
		g.Desired, p.members.Voters(), p.writer.Acked(), p.writer.LongestStall().Seconds()), "",
		fmt.Sprintf("%-5s%-16s%-21s%-9s%s", "NODE", "ADDRESS", "GROUP", "ETCD", "AGENT")}
	for _, inst := range g.Instances {
		member := "-"
		switch {
		case p.members[inst.ID] == nil:
		case p.leader == inst.ID:
			member = "leader"
		case p.members.Votes(inst.ID):
			member = "voter"
		default:
			member = "learner"
		}
		lines = append(lines, fmt.Sprintf("%-5s%-16s%-21s%-9s%s", p.name(inst.ID), inst.PrivateIP, inst.Lifecycle, member, p.agent(inst.ID)))
	}
	return lines
}

// agent is what an agent has to say, without what is as it always is.
func (p *picture) agent(id string) string {
	h := p.fleet.Host(id)
	if h == nil || h.Machine() == nil {
		return "off"
	}
	if s := h.Machine().UnitState(hosts.AgentUnit); !s.Running() {
		return "does not run (" + s.SubState + ")"
	}
	var words []string
	for _, concern := range []string{"leave", "steward", "join"} {
		switch r := p.reasons[id][concern]; r {
		case "", "NotLeaving", "NotSteward", "Idle", "Busy", "Settling", "Blocked":
		default:
			words = append(words, concern+": "+r)
		}
	}
	return strings.Join(words, "  ")
}
