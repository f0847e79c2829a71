package agent

import (
	"context"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// duties are the goroutines of the duties that are running. Only the loop calls
// its methods; stopAll after the loop has ended.
type duties struct {
	running map[policy.Duty]duty
	// ending were told to stop and may still be at it (leaving a queue takes etcd's
	// answer): the loop does not wait for them, and starts none of them again before.
	ending map[policy.Duty]duty
}

// duty is one goroutine: how to stop it, and when it has ended.
type duty struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

func (d *duties) stop(which policy.Duty, why error) {
	if d.ending == nil {
		d.ending = make(map[policy.Duty]duty)
	}
	d.running[which].cancel(why)
	d.ending[which] = d.running[which]
	delete(d.running, which)
}

func (d *duties) stopAll() {
	for which := range d.running {
		d.stop(which, nil)
	}
	for _, one := range d.ending {
		<-one.ended
	}
}

// apply makes exactly the named duties run: polls are paced, goroutines started
// and stopped.
func (a *Agent) apply(ctx context.Context, named []policy.Duty) {
	etcd, group, ec2, versions := restEvery, time.Duration(0), time.Duration(0), time.Duration(0)
	peers := restEvery
	if a.memberOf() {
		peers = peersEvery
	}
	var ids []policy.InstanceID
	for _, duty := range named {
		switch duty := duty.(type) {
		case policy.WatchClosely:
			etcd, peers = closelyEvery, min(peers, closelyEvery)
		case policy.WatchPlan:
			etcd, peers = closelyEvery, planEvery
		case policy.WatchVersions:
			versions = versionsEvery
		case policy.WatchGroup:
			group = shorter(group, duty.Every)
		case policy.WatchInstances:
			ec2 = shorter(ec2, duty.Every)
			ids = append(ids, splitIDs(duty.IDs)...)
		default:
			a.startDuty(ctx, duty)
		}
	}
	for which := range a.duties.running {
		if !slices.Contains(named, which) {
			a.duties.stop(which, handedOn(which, named))
		}
	}
	a.askMu.Lock()
	news := slices.ContainsFunc(ids, func(id policy.InstanceID) bool { return !slices.Contains(a.askEC2, id) })
	a.askEC2 = ids
	a.askMu.Unlock()
	if a.opts.Policy.Role == policy.RoleWorker && etcd == restEvery {
		etcd = workerRest
	}
	for _, name := range [...]string{"members", "health", "lock", "data", "down"} {
		if o, ok := a.sources[name]; ok {
			o.pace(etcd)
		}
	}
	a.sources["peers"].pace(peers)
	a.sources["group"].pace(group)
	a.sources["instances"].pace(ec2)
	a.sources["versions"].pace(versions)
	if news {
		a.sources["instances"].now()
	}
}

// handedOn is why a place does not end with a duty that is not named any more: another one is
// that keeps it.
func handedOn(which policy.Duty, named []policy.Duty) error {
	old, ok := which.(policy.KeepQueued)
	if ok && slices.ContainsFunc(named, func(d policy.Duty) bool {
		k, keeps := d.(policy.KeepQueued)
		return keeps && k.Leaves() == old.Leaves()
	}) {
		return policy.ErrHandedOn
	}
	return nil
}

// memberOf reports whether this node is a member of a cluster.
func (a *Agent) memberOf() bool {
	a.board.mu.Lock()
	defer a.board.mu.Unlock()
	r := a.board.view.Record
	return r.Member != 0 && r.Instance == a.opts.Self.Instance
}

// shorter is the shorter of two intervals, of which 0 means none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// startDuty starts a duty that is not running yet.
func (a *Agent) startDuty(ctx context.Context, which policy.Duty) {
	if _, ok := a.duties.running[which]; ok {
		return
	}
	if old, ok := a.duties.ending[which]; ok {
		select {
		case <-old.ended:
			delete(a.duties.ending, which)
		default:
			return // its end pokes the loop
		}
	}
	var run func(context.Context)
	switch duty := which.(type) {
	case policy.Heartbeat:
		run = func(ctx context.Context) { a.heartbeat(ctx, duty) }
	case policy.KeepQueued:
		run = func(ctx context.Context) { a.keepQueued(ctx, duty) }
	case policy.RunScripts:
		run = func(ctx context.Context) { a.runScripts(ctx, duty) }
	default:
		return
	}
	if a.duties.running == nil {
		a.duties.running = make(map[policy.Duty]duty)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	one := duty{cancel: cancel, ended: make(chan struct{})}
	go func() { // stopAll waits for it
		run(ctx)
		close(one.ended)
		a.board.wake()
	}()
	a.duties.running[which] = one
}

// heartbeat extends a hook at once and then every duty.Every, sooner after a
// failure. Each answer is a receipt: the deadline rule reads it.
func (a *Agent) heartbeat(ctx context.Context, duty policy.Heartbeat) {
	key := policy.HeartbeatKey(duty.Hook)
	for {
		began := a.now()
		err := a.callHeartbeat(ctx, duty.Hook)
		if ctx.Err() != nil {
			return
		}
		end := a.now()
		failures := 0
		a.board.change(func(v *policy.View) {
			r := v.Receipts[key].After(began, end, err)
			failures = r.Failures
			v.Receipts[key] = r
		})
		a.metrics.heartbeat(err)
		pause := duty.Every
		if err != nil {
			pause = min(duty.Every, time.Duration(failures)*time.Second)
			if failures == 1 {
				a.log.Warn("heartbeat not acknowledged", "hook", duty.Hook, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (a *Agent) callHeartbeat(ctx context.Context, hook string) error {
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	return a.parts.Hooks.Heartbeat(ctx, hook)
}

// keepQueued holds this node's place in the lock's queue for as long as the duty
// is named, whatever happens to connections and leases.
func (a *Agent) keepQueued(ctx context.Context, duty policy.KeepQueued) {
	failures := 0
	for ctx.Err() == nil {
		err := a.parts.Lock.KeepQueued(ctx, duty, a.sources["lock"].now)
		if ctx.Err() != nil {
			return
		}
		failures++
		if failures == 1 && err != nil {
			a.log.Warn("cannot keep the place in the lock's queue", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(5*time.Second, time.Duration(failures)*500*time.Millisecond)):
		}
	}
}
