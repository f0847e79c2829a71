//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// departure is one node's leaving, taken apart.
type departure struct {
	total   time.Duration // from the notice in instance metadata to the completed hook
	poll    time.Duration // of it: until the agent next read instance metadata
	actions time.Duration // of it: inside calls to etcd, systemd, AWS and the disk
}

// own is what is left: the agent's own thinking, and its waiting for reads that
// show what an action did.
func (d departure) own() time.Duration { return d.total - d.poll - d.actions }

// measureLeave lets a fourth node come and one go, leader and follower in turn.
func measureLeave(ctx context.Context, b *bench) (err error) {
	f, err := b.launch(ctx, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var total, noPoll, own []float64
	for i := range b.samples {
		id, err := b.fourth(ctx, f, i%2 == 0)
		if err != nil {
			return err
		}
		d, err := leave(ctx, f, id)
		if err != nil {
			return err
		}
		b.say("leave: %d of %d: %s, of it %s until the next poll, %s in actions, %s own", i+1, b.samples, d.total, d.poll, d.actions, d.own())
		total = append(total, d.total.Seconds())
		noPoll = append(noPoll, (d.total - d.poll).Seconds())
		own = append(own, float64(d.own().Microseconds())/1000)
	}
	b.add("leave", "notice visible in instance metadata to hook completed, scale-in", "s", total).atMost(2)
	b.add("leave", "the same from the poll that saw it", "s", noPoll)
	b.add("leave", "the agent's own share (no poll, no action; its reads of etcd and AWS included)", "ms", own).atMost(100)
	return nil
}

// fourth grows a fleet of three to four, lets it rest and picks one: the leader or
// a follower.
func (b *bench) fourth(ctx context.Context, f *hosts.Fleet, leads bool) (id string, err error) {
	if err := f.Scale(4); err != nil {
		return "", err
	}
	if err := settle(ctx, f); err != nil {
		return "", err
	}
	if err := leaveAlone(ctx, quiet); err != nil {
		return "", err
	}
	leader, err := f.Leader(ctx)
	if err != nil || leads {
		return leader, err
	}
	for _, inst := range f.Instances() {
		if inst.ID != leader {
			return inst.ID, nil
		}
	}
	return "", errors.New("no follower")
}

// leave takes a node out of the group for good and takes the time apart.
func leave(ctx context.Context, f *hosts.Fleet, id string) (departure, error) {
	if err := f.Shrink(id); err != nil {
		return departure{}, err
	}
	if err := settle(ctx, f); err != nil {
		return departure{}, err
	}
	var notice, done time.Time
	for _, e := range f.Cloud.Events() {
		switch {
		case e.Instance != id:
		case e.Kind == fakeaws.Notice:
			notice = e.At
		case e.Kind == fakeaws.HookCompleted && e.Transition == fakeaws.Terminating:
			if e.By != id {
				return departure{}, fmt.Errorf("the hook of %s was completed by %s", id, e.By)
			}
			done = e.At
		}
	}
	d := departure{total: done.Sub(notice)}
	for _, c := range f.Cloud.Calls() {
		if c.Service == "imds" && c.Instance == id && !c.At.Before(notice) && strings.HasSuffix(c.Action, "target-lifecycle-state") {
			d.poll = c.At.Sub(notice)
			break
		}
	}
	lines, err := f.Host(id).Journal()
	if err != nil {
		return departure{}, err
	}
	d.actions = actionTime(lines, notice, done)
	return d, nil
}

// actionTime sums the time between the beginning and the end of actions, which
// never overlap, within from..to.
func actionTime(lines []hosts.Line, from, to time.Time) (sum time.Duration) {
	var began time.Time
	for _, l := range lines {
		switch l.Msg {
		case hosts.Acting:
			began = l.At
		case hosts.Acted, hosts.Failed:
			if !began.IsZero() {
				sum += within(began, l.At, from, to)
			}
			began = time.Time{}
		}
	}
	if !began.IsZero() { // the last one's end was not written any more
		sum += within(began, to, from, to)
	}
	return sum
}

func within(began, ended, from, to time.Time) time.Duration {
	if began.Before(from) {
		began = from
	}
	if ended.After(to) {
		ended = to
	}
	return max(0, ended.Sub(began))
}
