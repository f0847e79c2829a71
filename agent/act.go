package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// How long an action may take before its outcome counts as unknown.
const (
	actionTimeout = 10 * time.Second
	// stopTimeout: systemd kills a unit that does not stop after 90 s by default.
	stopTimeout = 100 * time.Second
	// keepReceipts is longer than any rule looks back: a hook's completion counts for
	// as long as the hook can be open.
	keepReceipts = 48 * time.Hour
	// persistent is how many failures in a row are an error.
	persistent = 8
)

// ended is an action's end.
type ended struct {
	action  policy.Action
	concern policy.Concern
	reason  policy.Reason
	began   time.Time
	detail  string
	err     error
}

// begin starts the one action of a decision in a goroutine; its end comes back on
// a.ended, which the loop reads.
func (a *Agent) begin(ctx context.Context, d policy.Decision) {
	e := ended{action: d.Action, concern: d.Concern, reason: d.Verdicts[d.Concern].Reason, began: a.now()}
	inFlight := &policy.InFlight{Action: d.Action, Started: e.began}
	a.board.mu.Lock()
	a.board.view.InFlight = inFlight
	a.board.mu.Unlock()
	a.log.Info("acting", "action", d.Action.Kind(), "concern", d.Concern, "reason", e.reason,
		"what", fmt.Sprintf("%+v", summary(d.Action)))
	timeout := actionTimeout
	switch d.Action.(type) {
	case policy.StartEtcd, policy.RestartEtcd, policy.StopEtcd, policy.ArchiveData: // a daemon-reload may take long, too
		timeout = stopTimeout
	}
	// An action outlives a stop of the loop, bounded: cutting it in the middle
	// would only make its outcome unknown.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	go func() {
		defer cancel()
		e.detail, e.err = a.perform(ctx, d.Action)
		a.ended <- e
	}()
}

// awaitAction waits for an action under way when the loop ends.
func (a *Agent) awaitAction() {
	a.board.mu.Lock()
	busy := a.board.view.InFlight != nil
	a.board.mu.Unlock()
	if busy {
		a.finish(<-a.ended)
	}
}

// summary is an action without what would only fill the log.
func summary(act policy.Action) any {
	if w, ok := act.(policy.WriteRecord); ok {
		return w.Why
	}
	return act
}

func (a *Agent) perform(ctx context.Context, act policy.Action) (detail string, err error) {
	switch act := act.(type) {
	case policy.WriteRecord:
		return "", a.parts.Disk.Save(act.Record)
	case policy.WriteTag:
		return "", a.parts.Tags.WriteTag(ctx, act.Cluster.String())
	case policy.DeleteTag:
		return "", a.parts.Tags.DeleteTag(ctx, act.Value)
	case policy.StartEtcd:
		return "", a.parts.Unit.Start(ctx, act)
	case policy.StopEtcd:
		return "", a.parts.Unit.Stop(ctx)
	case policy.RestartEtcd:
		return "", a.parts.Unit.Start(ctx, policy.StartEtcd{Initial: act.Initial})
	case policy.SaveSnapshot:
		return a.parts.Snapshot.Snapshot(ctx)
	case policy.ArchiveData:
		return a.parts.Disk.Archive(act.Why)
	case policy.AddLearner:
		id, err := a.parts.Members.AddLearner(ctx, act.Instance, act.PeerURL)
		if err != nil {
			return "", err
		}
		return id.String(), nil
	case policy.Promote:
		return "", a.parts.Members.Promote(ctx, act.Member)
	case policy.RemoveMember:
		return "", a.parts.Members.Remove(ctx, act.Member, act.Instance, act.Learner)
	case policy.MoveLeader:
		return "", a.parts.Members.MoveLeader(ctx, act.To)
	case policy.TakeSlot:
		return "", a.parts.Lock.TakeSlot(ctx, act.Take)
	case policy.MarkActing:
		return "", a.parts.Lock.MarkActing(ctx, act.Revision)
	case policy.ReleaseHold:
		return "", a.parts.Lock.ReleaseHold(ctx, act.Slot, act.Revision)
	case policy.SetSlots:
		s, ok := a.parts.Lock.(SlotSetter)
		if !ok {
			return "", errors.New("this lock's slots cannot be set")
		}
		return "", s.SetSlots(ctx, act.Slots)
	case policy.Reboot:
		return "", a.parts.Machine.Reboot(ctx)
	case policy.CompleteHook:
		return "", a.parts.Hooks.Complete(ctx, act.Hook, act.Result)
	case policy.AnswerRequest:
		return act.Answer, nil
	}
	return "", fmt.Errorf("unknown action %T", act)
}

// finish records an action's outcome, and has observed anew what it may have
// changed.
func (a *Agent) finish(e ended) {
	end, failures := a.now(), 0
	a.board.change(func(v *policy.View) {
		v.InFlight = nil
		v.Last = policy.LastAction{Action: e.action, Ended: end}
		r := v.Receipts[e.action.Key()].After(e.began, end, e.err)
		r.Detail = e.detail
		v.Receipts[e.action.Key()] = r
		if e.err == nil && policy.OnlyFailures(e.action) {
			delete(v.Receipts, e.action.Key())
		}
		for key, old := range v.Receipts {
			if end.Sub(old.Ended) > keepReceipts {
				delete(v.Receipts, key)
			}
		}
		failures = r.Failures
		if e.err == nil {
			landed(v, e.action)
		}
	})
	if ans, ok := policy.Answer(e.action); ok && e.err == nil {
		a.waiting.answer(ans)
	}
	l := a.parts.Lock.Seen()
	shown := e.err == nil && policy.Shown(e.action, a.opts.Self, l)
	if shown {
		// The transaction that did it looked at the lock, too: nobody need wait for another look.
		a.shown.Store(&shownLock{revision: l.Revision, ended: end})
		put(a.board, "lock", func(v *policy.View) *policy.Fact[policy.Lock] { return &v.Lock }, l, e.began, nil)
	}
	if _, ok := e.action.(policy.WriteRecord); ok {
		a.sources["peers"].now() // a promise rests on what others say after it was written
	}
	for _, name := range policy.Affected(e.action) {
		if o, ok := a.sources[name]; ok && !(shown && name == policy.SourceLock.String()) {
			o.now()
		}
	}
	result := "ok"
	if e.err != nil {
		result = "failed"
		if errors.Is(e.err, context.DeadlineExceeded) {
			result = "unknown"
		}
	}
	a.metrics.acted(e, result, end)
	a.metrics.election.acted(e)
	if _, ok := e.action.(policy.TakeSlot); ok && e.err == nil {
		for _, since := range [...]time.Time{a.state.QueuedSince, a.state.WaitingSince} {
			if !since.IsZero() {
				a.metrics.lockWait.Observe(end.Sub(since).Seconds())
				break
			}
		}
	}
	attrs := []any{"action", e.action.Kind(), "concern", e.concern, "reason", e.reason, "seconds", end.Sub(e.began).Seconds()}
	if e.detail != "" {
		attrs = append(attrs, "detail", e.detail)
	}
	if e.err != nil {
		// One failure is often etcd's or another node's "not now"; what goes on failing
		// is an error. It is said at every doubling, and counted in quorumd_actions_total.
		level := slog.LevelWarn
		switch {
		case failures&(failures-1) != 0:
			level = slog.LevelDebug
		case failures >= persistent:
			level = slog.LevelError
		}
		a.log.Log(context.Background(), level, "action failed", append(attrs, "result", result, "failures", failures, "error", e.err)...)
		return
	}
	a.log.Info("acted", attrs...)
}

// landed applies what only this process knows of.
func landed(v *policy.View, act policy.Action) {
	if act, ok := act.(policy.WriteRecord); ok {
		v.Record = act.Record
	}
	if ans, ok := policy.Answer(act); ok {
		v.Requests = slices.DeleteFunc(slices.Clone(v.Requests), func(r policy.Request) bool { return r.ID == ans.ID })
	}
}
