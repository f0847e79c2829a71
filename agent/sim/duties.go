package sim

import (
	"strconv"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// beat is a heartbeat duty that runs; keep one that keeps a place in the queue.
type beat struct {
	duty policy.Heartbeat
	on   bool
}

type keep struct {
	duty policy.KeepQueued
	on   bool
	gen  int // of the lease
	in   *cluster
}

// apply makes exactly the named duties run.
func (a *agent) apply(named []policy.Duty) {
	etcd, group, ec2, versions := rest, time.Duration(0), time.Duration(0), time.Duration(0)
	peers := rest
	if r := a.view.Record; r.Member != 0 && r.Instance == a.m.id {
		peers = peersRest
	}
	ids := ""
	beats := map[string]bool{}
	queue := map[bool]policy.KeepQueued{} // by whether it is the leaving queue
	scripts := map[policy.ScriptsWhen]bool{}
	shorter := func(a, b time.Duration) time.Duration {
		if a == 0 || b < a {
			return b
		}
		return a
	}
	for _, d := range named {
		switch d := d.(type) {
		case policy.WatchClosely:
			etcd, peers = closely, min(peers, closely)
		case policy.WatchPlan:
			etcd, peers = closely, peersPlan
		case policy.WatchVersions:
			versions = rest
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
			queue[d.Leaves()] = d
		case policy.RunScripts:
			scripts[d.When] = true
			a.runScripts(d)
		}
	}
	for name, b := range a.beats {
		if !beats[name] {
			b.on = false
			delete(a.beats, name)
		}
	}
	for when := range a.scripts {
		if !scripts[when] {
			delete(a.scripts, when) // ended, or killed
		}
	}
	for _, leaving := range [...]bool{true, false} {
		q := a.queued[leaving]
		switch d, wanted := queue[leaving]; {
		case wanted && q == nil:
			a.startQueue(d)
		case wanted:
			q.duty = d
		case q != nil:
			a.stopQueue(q)
		}
	}
	for _, s := range [...]policy.Source{policy.SourceMembers, policy.SourceHealth, policy.SourceLock, policy.SourceData} {
		a.setPace(s, etcd)
	}
	a.setPace(policy.SourcePeers, peers)
	a.setPace(policy.SourceGroup, group)
	news := ids != a.watched
	a.watched = ids
	a.setPace(policy.SourceInstances, ec2)
	a.setPace(policy.SourceVersions, versions)
	if news && ec2 > 0 {
		a.kick(policy.SourceInstances)
	}
}

func (a *agent) stopDuties() {
	for _, b := range a.beats {
		b.on = false
	}
	clear(a.scripts)
	for leaving, q := range a.queued {
		q.on = false
		// The lease outlives the process that kept it.
		if q.in != nil {
			c, id, gen := q.in, a.m.id, q.gen
			a.w.after(leaseTTL, func() { c.dequeue(id, leaving, gen) })
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
func (a *agent) startQueue(d policy.KeepQueued) {
	q := &keep{on: true, duty: d}
	a.queued[d.Leaves()] = q
	var try func()
	try = func() {
		if !q.on || !a.alive {
			return
		}
		if _, c := a.server(0); c != nil && !c.noSpace {
			q.in = c
			q.gen = c.enqueue(a.m.id, a.m.bootID(), q.duty)
		}
		pause := 20 * time.Second // a place that was lost is taken anew
		if q.in == nil {
			pause = time.Second
		}
		a.w.after(pause, try)
	}
	a.w.after(a.w.between(5*time.Millisecond, 50*time.Millisecond), try)
}

func (a *agent) stopQueue(q *keep) {
	q.on = false
	delete(a.queued, q.duty.Leaves())
	if q.in != nil {
		q.in.dequeue(a.m.id, q.duty.Leaves(), -1)
	}
}

// run is a run of scripts.
type run struct{ duty policy.RunScripts }

// runScripts runs the scripts of a duty, once for as long as it is named.
func (a *agent) runScripts(d policy.RunScripts) {
	if r := a.scripts[d.When]; r != nil && r.duty == d {
		return
	}
	r := &run{duty: d}
	a.scripts[d.When] = r
	began := a.m.clock()
	took := a.w.between(50*time.Millisecond, 2*time.Second)
	if a.w.chance(a.w.trouble(0.1)) {
		took = a.w.between(time.Minute, 10*time.Minute)
	}
	a.w.after(took, func() {
		if !a.alive || a.scripts[d.When] != r {
			return
		}
		var err error
		if a.m.sys.script {
			err = errScript
		}
		key := policy.ScriptsKey(d.When)
		receipt := a.view.Receipts[key].After(began, a.m.clock(), err)
		receipt.Detail = strconv.FormatInt(d.Revision, 10)
		a.view.Receipts[key] = receipt
		a.poke()
	})
}
