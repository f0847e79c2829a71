package policy

import (
	"fmt"
	"time"
)

// underLock goes the way of a healthy voter: lock, checks, leadership away, out.
func (l *leaver) underLock() Verdict {
	if l.next.QueuedSince.IsZero() {
		l.next.QueuedSince = l.now
	}
	capAt := l.next.QueuedSince.Add(l.cfg.LockWait)
	h, held := l.ownHold()
	if !held && !l.now.Before(capAt) && !l.takeable() {
		return l.atDeadline()
	}
	if !l.now.Before(capAt) {
		capAt = time.Time{} // over, and not to be waited for again
	}
	if l.noSpace() {
		return l.withoutWrites()
	}
	if !l.lockNow() {
		return Verdict{Reason: LockUnknown, Detail: l.v.Lock.Err, Recheck: capAt}
	}
	switch {
	case !held:
		ver := l.queue()
		ver.Recheck = earlier(ver.Recheck, capAt)
		return ver
	case h.Phase == Granted && !l.mayRemove(l.member.ID):
		return Verdict{Reason: GiveBackLock, Detail: l.quorumDetail(),
			Action: h.release()}
	case h.Phase == Granted || l.unfenced(h):
		return Verdict{Reason: BeginLeaving, Action: MarkActing{Revision: h.Revision}}
	}
	return l.goNow()
}

// takeable reports whether a slot is seen free and it is our turn.
func (l *leaver) takeable() bool {
	lock := l.v.Lock.Value
	head := len(lock.Leaving) > 0 && lock.Leaving[0].Instance == l.v.Self.Instance
	empty := len(lock.Leaving) == 0 && len(lock.Queue) == 0
	return l.lockNow() && len(lock.Holders) < max(1, lock.Slots) && (head || empty)
}

// queue takes the slot when it is our turn and the rest can do without us.
func (l *leaver) queue() Verdict {
	lock := l.v.Lock.Value
	ver := Verdict{Reason: AwaitLock, Duties: []Duty{KeepQueued{Reason: HoldLeaving}}}
	switch {
	case !l.mayRemove(l.member.ID):
		ver = l.cannotRemove()
		ver.Duties = []Duty{KeepQueued{Reason: HoldLeaving}}
	case l.takeable():
		ver.Reason, ver.Action = TakeLock, TakeSlot{Take: l.take(HoldLeaving, Granted)}
		if len(lock.Leaving) == 0 {
			ver.Duties = nil // one transaction takes it directly
		}
	case len(lock.Holders) > 0:
		h := lock.Holders[0]
		ver.Detail = fmt.Sprintf("%s holds it (%s, %s)", h.Instance, h.Reason, h.Phase)
	case len(lock.Leaving) > 0:
		ver.Detail = fmt.Sprintf("%s is ahead", lock.Leaving[0].Instance)
	}
	return ver
}

// goNow hands leadership over and removes this node's member, in that order.
func (l *leaver) goNow() Verdict {
	if !l.mayRemove(l.member.ID) {
		return l.cannotRemove()
	}
	if to, ok := l.successor(l.member.ID); ok && l.v.Receipts[MoveLeader{}.Key()].Failures < 3 {
		return Verdict{Reason: HandOver, Detail: "to " + to.String(), Action: MoveLeader{To: to}}
	}
	return Verdict{Reason: RemoveSelf, Detail: l.member.ID.String(), Action: l.remove()}
}

func (l *leaver) remove() Action {
	return RemoveMember{Member: l.member.ID, Instance: l.v.Self.Instance, Learner: l.member.Learner, Why: "leaving"}
}

// successor chooses who shall lead when this node's member leads: the healthy
// voter that stays with the highest applied index.
func (p *pass) successor(own MemberID) (MemberID, bool) {
	if h := p.v.Health[own]; own == 0 || !h.Known() || h.Value.Leader != own {
		return 0, false
	}
	var to, leavingTo MemberID
	var index, leavingIndex uint64
	for _, m := range p.list.Members {
		if m.ID == own || !p.healthy(m, p.cfg.ActWithin) {
			continue
		}
		i := p.v.Health[m.ID].Value.Applied
		if p.instanceLeaving(p.list.Instance(m)) {
			if leavingTo == 0 || i > leavingIndex {
				leavingTo, leavingIndex = m.ID, i
			}
		} else if to == 0 || i > index {
			to, index = m.ID, i
		}
	}
	if to == 0 {
		to = leavingTo
	}
	return to, to != 0
}

// noSpace: a NOSPACE alarm refuses every write, the lock's too, but not a removal.
func (p *pass) noSpace() bool {
	for _, h := range p.v.Health {
		if h.Known() && h.Value.NoSpace {
			return true
		}
	}
	return false
}

// withoutWrites orders leavers where the lock cannot be written: the least
// instance id of those that are told to go is first.
func (l *leaver) withoutWrites() Verdict {
	for _, m := range l.list.Members {
		id := l.list.Instance(m)
		if !m.Learner && id < l.v.Self.Instance && l.instanceLeaving(id) {
			return Verdict{Reason: AwaitLock, Detail: fmt.Sprintf("NOSPACE: %s leaves first", id)}
		}
	}
	return l.goNow()
}

// atDeadline: no time to wait. Out if both checks allow it, else leadership
// away, etcd stopped, and the hook completed: the steward finishes.
func (l *leaver) atDeadline() Verdict {
	remove := l.remove()
	// Refusals count only where no time is left: etcd refuses for some seconds after
	// every change, and else there is time to try again.
	if l.mayRemove(l.member.ID) && (!l.hurry || l.v.Receipts[remove.Key()].Failures < 3) {
		return Verdict{Reason: DeadlineRemoveSelf, Detail: l.member.ID.String(), Action: remove}
	}
	if !l.hurry {
		// Only the lock's patience ended, not the time: keep waiting.
		return l.cannotRemove()
	}
	if to, ok := l.successor(l.member.ID); ok && l.v.Receipts[MoveLeader{}.Key()].Failures < 2 {
		return Verdict{Reason: DeadlineHandOver, Detail: "to " + to.String(), Action: MoveLeader{To: to}}
	}
	return l.stopUnremoved()
}

// stoppedTooSoon: the deadline rule stopped etcd unremoved, and then a heartbeat
// was acknowledged after all: a voter that may be needed must not stay down.
func (l *leaver) stoppedTooSoon() bool {
	return l.stoppedByUs() && l.v.Unit.Value.Stopped() && !l.v.Data.Value.Empty
}

// stoppedByUs: this process stopped etcd since the notice.
func (l *leaver) stoppedByUs() bool {
	stop := l.v.Receipts[StopEtcd{}.Key()]
	return l.own != 0 && stop.Done() && stop.Succeeded.After(l.mark.Since)
}

func (l *leaver) stopUnremoved() Verdict {
	if u := l.v.Unit; u.Known() && !u.Value.Stopped() && l.v.Receipts[StopEtcd{}.Key()].Failures < 2 {
		return Verdict{Reason: DeadlineStop, Action: StopEtcd{}}
	}
	return l.complete(DeadlineComplete)
}

// afterRemoval: out of the cluster. Stop etcd before it restarts into a loop, give
// the lock back, let the group go on.
func (l *leaver) afterRemoval() Verdict {
	u := l.v.Unit
	switch {
	case l.cfg.Role == RoleWorker:
		u = Fact[Unit]{At: l.now} // it runs none
	case !u.Known() && !l.hurry:
		return Verdict{Reason: UnitUnknown, Detail: u.Err}
	case u.Known() && !u.Value.Stopped():
		return Verdict{Reason: StopAfterRemoval, Action: StopEtcd{}}
	}
	why := CompleteLeave
	if !u.Known() {
		why = DeadlineComplete // nobody can tell that etcd is stopped, and no time is left
	}
	if _, held := l.ownHold(); l.own == 0 && !held {
		return l.complete(NothingToLeave)
	}
	if !l.lockNow() {
		if l.hurry {
			return l.complete(DeadlineComplete)
		}
		return Verdict{Reason: LockUnknown, Detail: l.v.Lock.Err}
	}
	if h, ok := l.ownHold(); ok {
		// A hold that stays behind is evicted by the steward; a hook that expires may
		// not be reached any more.
		if l.hurry && l.v.Receipts[h.release().Key()].Failures >= 3 {
			return l.complete(DeadlineComplete)
		}
		return Verdict{Reason: GiveBackLock, Action: h.release()}
	}
	return l.complete(why)
}

// complete lets the group go on, once, when the hook is seen open.
func (l *leaver) complete(why Reason) Verdict {
	done := l.hooked && l.completed()
	if h, ok := l.poolHook(); ok {
		return Verdict{Reason: why, Detail: h.Name, Action: CompleteHook{Hook: h.Name, Result: Continue}}
	}
	switch {
	case done:
		return Verdict{Reason: Left, Detail: l.hook.Name}
	case l.open:
		return Verdict{Reason: why, Detail: l.hook.Name, Action: CompleteHook{Hook: l.hook.Name, Result: Continue}}
	case !l.v.Group.Known():
		return Verdict{Reason: GroupUnknown, Detail: l.v.Group.Err}
	case !l.hooked:
		return Verdict{Reason: Left, Detail: "the group has no terminate hook for this agent"}
	}
	return Verdict{Reason: AwaitHook, Detail: l.hook.Name}
}

// poolHook gives the launch hook of an instance that was launched into a warm pool. It waits
// in the same state as one that comes back from service, for which the terminating hook is
// open, and AWS does not say which. So that one is completed first, for which "no such action"
// is as good as done, and the launch hook if the instance then still waits.
func (l *leaver) poolHook() (Hook, bool) {
	h, hooked := l.pass.hook(Launching)
	if s, ok := l.state(); !ok || s != StateWarmedPendingWait || !hooked || !l.v.Group.Known() {
		return Hook{}, false
	}
	if l.hooked && !(l.completed() && l.v.Group.At.After(l.v.Receipts[CompleteKey(l.hook.Name)].Succeeded)) {
		return Hook{}, false
	}
	r := l.v.Receipts[CompleteKey(h.Name)]
	return h, !(r.Done() && r.Succeeded.After(l.mark.Since))
}

// cannotRemove says why this node's member may not be removed now: because the
// rest would not be a healthy majority, or because the probes that could tell are
// not young enough to rest a disruption on, and are being repeated.
func (p *pass) cannotRemove() Verdict {
	for _, m := range p.list.Members {
		if m.ID != p.own && p.healthy(m, p.cfg.StaleAfter) && !p.healthy(m, p.cfg.ActWithin) {
			return Verdict{Reason: HealthUnknown, Detail: "the last probe of " + m.ID.String() + " is too old to act on"}
		}
	}
	return Verdict{Reason: QuorumWouldBreak, Detail: p.quorumDetail()}
}

func (p *pass) quorumDetail() string {
	total, healthy := p.voters(p.cfg.ActWithin, func(m Member) bool { return m.ID != p.own })
	return fmt.Sprintf("%d voters, %d of the others healthy, %d needed", total, healthy, Quorum(total-1))
}
