//go:build linux

package main

import (
	"context"
	"errors"
	"time"

	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// afterwards is how long writes are still watched after a leader is gone: an
// election takes one or two seconds.
const afterwards = 5 * time.Second

// The client knows all members, writes every 20 ms and gives a try up after half
// a second. The bound matters: etcd drops a write that a follower passes on to a
// leader in the few milliseconds in which it hands leadership over, and nobody
// tells the client. A client without a bound of its own waits 7 s then. Such
// departures show in the p90 column.
const (
	writePause   = 20 * time.Millisecond
	writeTimeout = 500 * time.Millisecond
)

// measureStall kills the leader's etcd, lets it come back, and then lets the
// leader's node leave: same size, same client, again and again.
func measureStall(ctx context.Context, b *bench) (err error) {
	f, err := b.launch(ctx, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := fleet.StartWriter(fleet.WriterConfig{Endpoints: f.Endpoints, Client: hosts.Client, Pause: writePause, Timeout: writeTimeout})
	defer w.Stop()
	var idle, killed, left, ratio []float64
	for i := range b.samples {
		leader, err := b.fourth(ctx, f, true)
		if err != nil {
			return err
		}
		nothing, err := stall(ctx, w, func() error { return nil })
		if err != nil {
			return err
		}
		kill, err := stall(ctx, w, func() error { return b.killAndBack(ctx, f, leader) })
		if err != nil {
			return err
		}
		if err := leaveAlone(ctx, quiet); err != nil {
			return err
		}
		if leader, err = f.Leader(ctx); err != nil {
			return err
		}
		leaving, err := stall(ctx, w, func() error { _, err := leave(ctx, f, leader); return err })
		if err != nil {
			return err
		}
		b.say("stall: %d of %d: nothing %s, killed %s, left %s", i+1, b.samples, nothing, kill, leaving)
		idle = append(idle, float64(nothing.Microseconds())/1000)
		killed = append(killed, float64(kill.Microseconds())/1000)
		left = append(left, float64(leaving.Microseconds())/1000)
		ratio = append(ratio, kill.Seconds()/leaving.Seconds())
	}
	b.add("stall", "longest write, nothing happens", "ms", idle)
	b.add("stall", "longest write, leader's etcd killed", "ms", killed)
	b.add("stall", "longest write, leader's node leaves", "ms", left)
	b.add("stall", "how many times shorter", "x", ratio).atLeast(50)
	return b.checkWrites(ctx, f.Endpoints(), w)
}

// stall is the longest time without an acknowledged write while something happens
// and shortly after.
func stall(ctx context.Context, w *fleet.Writer, happens func() error) (time.Duration, error) {
	from := time.Now()
	if err := happens(); err != nil {
		return 0, err
	}
	if err := leaveAlone(ctx, time.Until(from.Add(afterwards))); err != nil {
		return 0, err
	}
	return w.Stall(from, time.Now()), nil
}

// killAndBack kills etcd as a failing machine would, without its agent doing
// anything, and waits until all is well again.
func (b *bench) killAndBack(ctx context.Context, f *hosts.Fleet, id string) error {
	m := f.Host(id).Machine()
	if err := m.StopUnit(ctx, hosts.AgentUnit); err != nil {
		return err
	}
	if err := f.KillEtcd(id); err != nil {
		return err
	}
	if err := leaveAlone(ctx, afterwards); err != nil {
		return err
	}
	for _, unit := range []string{hosts.EtcdUnit, hosts.AgentUnit} {
		if err := m.StartUnit(unit); err != nil {
			return err
		}
	}
	return settle(ctx, f)
}

// checkWrites makes sure that speed was not bought with losses.
func (b *bench) checkWrites(ctx context.Context, endpoints []string, w *fleet.Writer) error {
	w.Stop()
	client, err := hosts.Client(endpoints...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := w.Check(ctx, client); err != nil {
		return err
	}
	b.say("all %d acknowledged writes read back", w.Acked())
	return nil
}
