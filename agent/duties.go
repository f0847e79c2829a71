package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// duties are the goroutines of the duties that are running. Only the loop calls
// its methods; stopAll after the loop has ended.
type duties struct {
	running map[policy.Duty]func()
}

func (d *duties) stopAll() {
	for _, stop := range d.running {
		stop()
	}
	d.running = nil
}

// apply makes exactly the named duties run: polls are paced, goroutines started
// and stopped.
func (a *Agent) apply(ctx context.Context, named []policy.Duty) {
	etcd, group, ec2 := restEvery, time.Duration(0), time.Duration(0)
	var ids []policy.InstanceID
	for _, duty := range named {
		switch duty := duty.(type) {
		case policy.WatchClosely:
			etcd = closelyEvery
		case policy.WatchGroup:
			group = shorter(group, duty.Every)
		case policy.WatchInstances:
			ec2 = shorter(ec2, duty.Every)
			ids = append(ids, splitIDs(duty.IDs)...)
		default:
			a.startDuty(ctx, duty)
		}
	}
	for duty, stop := range a.duties.running {
		if !slices.Contains(named, duty) {
			stop()
			delete(a.duties.running, duty)
		}
	}
	a.askMu.Lock()
	news := slices.ContainsFunc(ids, func(id policy.InstanceID) bool { return !slices.Contains(a.askEC2, id) })
	a.askEC2 = ids
	a.askMu.Unlock()
	for _, name := range [...]string{"members", "health", "lock", "peers", "data"} {
		a.sources[name].pace(etcd)
	}
	a.sources["group"].pace(group)
	a.sources["instances"].pace(ec2)
	if news {
		a.sources["instances"].now()
	}
}

// shorter is the shorter of two intervals, of which 0 means none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b < a {
		return b
	}
	return a
}

// startDuty starts a duty that is not running yet.
func (a *Agent) startDuty(ctx context.Context, duty policy.Duty) {
	if _, ok := a.duties.running[duty]; ok {
		return
	}
	var run func(context.Context)
	switch duty := duty.(type) {
	case policy.Heartbeat:
		run = func(ctx context.Context) { a.heartbeat(ctx, duty) }
	case policy.KeepQueued:
		run = func(ctx context.Context) { a.keepQueued(ctx, duty) }
	default:
		return
	}
	if a.duties.running == nil {
		a.duties.running = make(map[policy.Duty]func())
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx) })
	a.duties.running[duty] = func() { cancel(); wg.Wait() }
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
			r := v.Receipts[key]
			r.Started, r.Ended = began, end
			if err != nil {
				r.Failures++
				r.LastErr = err.Error()
			} else {
				r.Failures, r.LastErr, r.Succeeded = 0, "", end
			}
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
		err := a.parts.Lock.KeepQueued(ctx, duty.Reason, a.sources["lock"].now)
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
