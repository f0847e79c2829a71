package agent

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

const (
	loginEvery = 5 * time.Second // beside logind's signals, which come at once
	wantRetry  = 5 * time.Second
	// workerRest is how often a worker at rest looks at etcd: there may be thousands.
	workerRest = time.Minute
	// fleetLockPatience is how long a FleetLock client's question waits for what is a
	// matter of moments; then it hears the reason, and asks again.
	fleetLockPatience = 20 * time.Second
)

// WantFunc makes a WantWatcher of a function.
type WantFunc func(ctx context.Context, report func(policy.Want, error)) error

// Watch calls the function.
func (f WantFunc) Watch(ctx context.Context, report func(policy.Want, error)) error {
	return f(ctx, report)
}

// observeWant follows one source until ctx ends. A source whose watch ends is asked
// again a little later.
func (a *Agent) observeWant(ctx context.Context, s policy.WantSource, w WantWatcher) {
	for ctx.Err() == nil {
		err := w.Watch(ctx, func(want policy.Want, err error) { a.sawWant(s, want, err) })
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = fmt.Errorf("its watch ended")
		}
		a.sawWant(s, policy.Want{}, err)
		select {
		case <-ctx.Done():
		case <-time.After(wantRetry):
		}
	}
}

func (a *Agent) sawWant(s policy.WantSource, want policy.Want, err error) {
	putIn(a.board, "reboot source "+string(s), func(v *policy.View) map[policy.WantSource]policy.Fact[policy.Want] { return v.Wants }, s, want, a.now(), err)
}

func (a *Agent) observeLogin(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	began := a.now()
	v, err := a.parts.Machine.Login(ctx)
	put(a.board, "logind", func(v *policy.View) *policy.Fact[policy.Login] { return &v.Login }, v, began, err)
}

// watchLogin has logind asked at once when it may have changed.
func (a *Agent) watchLogin(ctx context.Context) {
	for ctx.Err() == nil {
		err := a.parts.Machine.WatchLogin(ctx, a.sources["login"].now)
		if err != nil && ctx.Err() == nil {
			a.log.Debug("watch of logind ended", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchRetry):
		}
	}
}

func (a *Agent) observeDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	began := a.now()
	v, err := a.parts.Services.Down(ctx)
	put(a.board, "units that must be up", func(v *policy.View) *policy.Fact[[]string] { return &v.Down }, v, began, err)
}

// runScripts runs a duty's scripts once. Its outcome is a receipt that names the
// hold under which they ran; scripts that are ended because nobody wants their
// outcome any more leave none.
func (a *Agent) runScripts(ctx context.Context, duty policy.RunScripts) {
	began := a.now()
	a.log.Info("running scripts", "when", string(duty.When))
	var err error
	if a.parts.Scripts != nil {
		err = a.parts.Scripts.Run(ctx, duty.When)
	}
	if ctx.Err() != nil {
		a.log.Info("scripts ended, nobody waits for them", "when", string(duty.When))
		return
	}
	end := a.now()
	a.board.change(func(v *policy.View) {
		key := policy.ScriptsKey(duty.When)
		r := v.Receipts[key].After(began, end, err)
		r.Detail = strconv.FormatInt(duty.Revision, 10)
		v.Receipts[key] = r
	})
	if err != nil {
		a.log.Error("scripts failed", "when", string(duty.When), "error", err)
	}
}

// PreReboot is a FleetLock client's request for the lock. OK is a grant: the lock is
// held, acting, and the cluster can do without this node now. An error means that the
// outcome is not known.
func (a *Agent) PreReboot(ctx context.Context, client, group string) (policy.AnswerRequest, error) {
	scripts := a.parts.Scripts != nil && a.parts.Scripts.Any(policy.ScriptsBefore)
	return a.ask(ctx, policy.Request{Kind: policy.PreReboot, Client: client, Group: group, Scripts: scripts}, fleetLockPatience)
}

// SteadyState is a FleetLock client's release. OK: nothing is held for it any more.
func (a *Agent) SteadyState(ctx context.Context, client, group string) (policy.AnswerRequest, error) {
	return a.ask(ctx, policy.Request{Kind: policy.SteadyState, Client: client, Group: group}, fleetLockPatience)
}

// Submit hands an operator's request to policy and waits for its outcome, at most a
// minute; then the error is the reason why it has not been decided yet.
func (a *Agent) Submit(ctx context.Context, r policy.Request) (policy.AnswerRequest, error) {
	ans, err := a.ask(ctx, r, requestTimeout)
	if err == nil && !ans.OK && ans.Undecided {
		err = fmt.Errorf("%s: %s", ans.Reason, ans.Answer)
	}
	return ans, err
}

// hasten has observed at once what a request waits for: somebody stands at the door.
func (a *Agent) hasten(v policy.View, d policy.Decision) {
	if len(v.Requests) == 0 || v.InFlight != nil {
		return
	}
	for _, s := range [...]policy.Source{policy.SourceMembers, policy.SourceHealth, policy.SourceLock} {
		if d.Wants[s] {
			a.sources[s.String()].now()
		}
	}
}
