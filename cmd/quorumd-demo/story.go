package main

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// step is one chapter of the story and what it cost.
type step struct {
	name         string
	voters       int
	began, ended time.Time
	hook         time.Duration // longest from a notice to the completed hook; 0: no notice
	voter        time.Duration // longest from the cause to a new voter in service; 0: none
	stall        time.Duration // longest that a write took
}

// story lets everything happen, one after the other; each ends with a fleet that
// has settled.
func (d *demo) story(ctx context.Context) error {
	f := d.fleet
	chapters := []struct {
		name string
		tell func() error
	}{
		{"three nodes, no cluster yet", func() error { return f.Launch(3) }},
		{"terminate the leader's node", func() error {
			id, err := f.Leader(ctx)
			if err != nil {
				return err
			}
			return f.Terminate(id)
		}},
		{"scale from 3 to 5", func() error { return f.Scale(5) }},
		{"scale from 5 to 3", func() error { return f.Scale(3) }},
		{"SIGKILL an agent that is leaving", func() error { return d.killLeaving(ctx) }},
	}
	for _, c := range chapters {
		d.screen.chapter(c.name)
		if err := d.step(ctx, c.name, c.tell); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func (d *demo) step(ctx context.Context, name string, tell func() error) error {
	s := step{name: name, began: time.Now()}
	before := len(d.fleet.Cloud.Events())
	if err := tell(); err != nil {
		return err
	}
	members, err := d.fleet.Settle(ctx)
	if err != nil {
		return err
	}
	s.ended = time.Now()
	s.voters = members.Voters()
	s.hook, s.voter = durations(s.began, d.fleet.Cloud.Events()[before:])
	s.stall = d.writer.Stall(s.began, s.ended)
	d.steps = append(d.steps, s)
	d.screen.say("", "settled: %d voters, %d in service, one leader, one cluster %x", s.voters, len(d.fleet.Instances()), d.fleet.Cluster())
	return nil
}

// durations reads from the group's own log how long notices and launches took.
func durations(began time.Time, events []fakeaws.Event) (hook, voter time.Duration) {
	notice := map[string]time.Time{}
	for _, e := range events {
		switch {
		case e.Kind == fakeaws.Notice:
			notice[e.Instance] = e.At
		case e.Kind == fakeaws.HookCompleted && e.Transition == fakeaws.Terminating:
			hook = max(hook, e.At.Sub(notice[e.Instance]))
		case e.Kind == fakeaws.InService:
			voter = max(voter, e.At.Sub(began))
		}
	}
	return hook, voter
}

// killLeaving tells a node to go and kills its agent at the worst moment: when its
// hold of the lock says that it is about to remove its member.
func (d *demo) killLeaving(ctx context.Context) error {
	f := d.fleet
	leader, err := f.Leader(ctx)
	if err != nil {
		return err
	}
	id := leader
	for _, inst := range f.Instances() {
		if inst.ID != leader {
			id = inst.ID // a follower: the leader had its turn
		}
	}
	if err := f.Terminate(id); err != nil {
		return err
	}
	if _, err := f.AwaitHold(ctx, func(h hosts.Hold) bool { return h.Instance == id && h.Phase == "acting" }); err != nil {
		return fmt.Errorf("wait until %s acts: %w", id, err)
	}
	pid := f.Host(id).Machine().UnitPID(hosts.AgentUnit)
	if err := f.KillAgent(id); err != nil {
		return err
	}
	d.screen.say(f.Host(id).Name, "agent (pid %d) killed while it holds the lock to leave", pid)
	return nil
}
