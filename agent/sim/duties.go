package sim

import (
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// beat is a heartbeat duty that runs; keep one that keeps a place in the queue.
type beat struct {
	duty policy.Heartbeat
	on   bool
}

type keep struct {
	on  bool
	gen int // of the lease
	in  *cluster
}

// apply makes exactly the named duties run.
func (a *agent) apply(named []policy.Duty) {
	etcd, group, ec2 := rest, time.Duration(0), time.Duration(0)
	ids := ""
	beats := map[string]bool{}
	queue := false
	shorter := func(a, b time.Duration) time.Duration {
		if a == 0 || b < a {
			return b
		}
		return a
	}
	for _, d := range named {
		switch d := d.(type) {
		case policy.WatchClosely:
			etcd = closely
		case policy.WatchGroup:
			group = shorter(group, d.Every)
		case policy.WatchInstances:
			ec2 = shorter(ec2, d.Every)
			if ids != "" {
				ids += ","
			}
			ids += d.IDs
		case policy.Heartbeat:
			beats[d.Hook] = true
			if b := a.beats[d.Hook]; b == nil || b.duty != d {
				a.startBeat(d)
			}
		case policy.KeepQueued:
			queue = true
		}
	}
	for name, b := range a.beats {
		if !beats[name] {
			b.on = false
			delete(a.beats, name)
		}
	}
	if queue && a.queued == nil {
		a.startQueue()
	} else if !queue && a.queued != nil {
		a.stopQueue()
	}
	for _, s := range [...]policy.Source{policy.SourceMembers, policy.SourceHealth, policy.SourceLock, policy.SourcePeers, policy.SourceData} {
		a.setPace(s, etcd)
	}
	a.setPace(policy.SourceGroup, group)
	news := ids != a.watched
	a.watched = ids
	a.setPace(policy.SourceInstances, ec2)
	if news && ec2 > 0 {
		a.kick(policy.SourceInstances)
	}
}

func (a *agent) stopDuties() {
	for _, b := range a.beats {
		b.on = false
	}
	if q := a.queued; q != nil {
		q.on = false
		// The lease outlives the process that kept it.
		if q.in != nil {
			c, id, gen := q.in, a.m.id, q.gen
			a.w.after(leaseTTL, func() { c.dequeue(id, gen) })
		}
	}
}

// startBeat heartbeats at once and then every so often, sooner after a failure.
func (a *agent) startBeat(d policy.Heartbeat) {
	if old := a.beats[d.Hook]; old != nil {
		old.on = false
	}
	b := &beat{duty: d, on: true}
	a.beats[d.Hook] = b
	failures := 0
	var call func()
	call = func() {
		if !b.on || !a.alive {
			return
		}
		began := a.m.clock()
		var err error
		if !a.aws() {
			err = errAWS
		} else {
			err = a.w.group.heartbeat(a.m)
		}
		a.w.after(a.w.between(5*time.Millisecond, 100*time.Millisecond), func() {
			if !b.on || !a.alive {
				return
			}
			key := policy.HeartbeatKey(d.Hook)
			r := a.view.Receipts[key]
			r.Started, r.Ended = began, a.m.clock()
			pause := d.Every
			if err != nil {
				failures++
				r.Failures, r.LastErr = failures, err.Error()
				pause = min(d.Every, time.Duration(failures)*time.Second)
			} else {
				failures = 0
				r.Failures, r.LastErr, r.Succeeded = 0, "", r.Ended
			}
			a.view.Receipts[key] = r
			a.poke()
			a.w.after(pause, call)
		})
	}
	a.w.after(0, call)
}

// startQueue keeps this node's place in the lock's queue.
func (a *agent) startQueue() {
	q := &keep{on: true}
	a.queued = q
	var try func()
	try = func() {
		if !q.on || !a.alive {
			return
		}
		if _, c := a.server(0); c != nil && !c.noSpace {
			q.in = c
			q.gen = c.enqueue(a.m.id)
		}
		pause := 20 * time.Second // a place that was lost is taken anew
		if q.in == nil {
			pause = time.Second
		}
		a.w.after(pause, try)
	}
	a.w.after(a.w.between(5*time.Millisecond, 50*time.Millisecond), try)
}

func (a *agent) stopQueue() {
	q := a.queued
	q.on = false
	a.queued = nil
	if q.in != nil {
		q.in.dequeue(a.m.id, -1)
	}
}
