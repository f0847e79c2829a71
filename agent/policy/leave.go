package policy

import (
	"fmt"
	"time"
)

// lifecycleStale is how old the target lifecycle state may be: it is polled every
// second, so thirty missed polls.
const lifecycleStale = 30 * time.Second

// told reports whether this instance is told to go right now.
func (p *pass) told() (string, bool) {
	if l := p.v.Lifecycle; fresh(p, SourceTarget, l, lifecycleStale) && l.Value.Leaves() {
		return string(l.Value), true
	}
	if s := p.v.Spot; s.Ever() && !s.Value.Time.IsZero() {
		return "Spot:" + s.Value.Action, true
	}
	return "", false
}

// leave takes this node's member out of the cluster before its instance ends.
func leave(p *pass) Verdict {
	mark := p.record().Leaving
	target, told := p.told()
	switch {
	case mark == nil && !told:
		return p.stay()
	case mark == nil && p.v.Receipts[WriteRecord{}.Key()].Failures < unwritable:
		return p.markLeaving(target)
	case mark == nil:
		// The disk takes no more writes: a reason to go, not to stay. The notice stands
		// for as long as this process does.
		mark = p.unwritten(target)
	case !told && p.revoked(mark):
		r := p.record()
		r.Leaving = nil
		p.next.BackSince = p.now
		return Verdict{Reason: LeaveRevoked, Blocks: []Concern{ConcernJoin},
			Action: WriteRecord{Why: string(LeaveRevoked), Record: r}}
	}
	l := p.leaving(mark)
	var ver Verdict
	if !told && !l.open && l.doubted() {
		// The notice was taken back by metadata or by the group, and only the other has
		// not confirmed it yet: nothing is disrupted for what nobody asks any more.
		ver = Verdict{Reason: LeaveDoubted, Detail: string(p.v.Lifecycle.Value)}
	} else {
		ver = l.decide()
	}
	ver.Blocks = []Concern{ConcernJoin}
	every := 2 * time.Second
	if s, ok := p.state(); ok && s == StateWarmedRunning && told && ver.Reason == Left {
		every = time.Minute // it may wait here for weeks, and metadata says when it is needed
	}
	ver.Duties = append(ver.Duties, WatchGroup{Every: every}, WatchClosely{})
	if !p.listed {
		// Every member that this node knew may have been replaced meanwhile.
		ver.Duties = append(ver.Duties, p.watchOthers(5*time.Second)...)
	}
	if l.heartbeat() {
		ver.Duties = append(ver.Duties, Heartbeat{Hook: l.hook.Name, Every: HeartbeatInterval(l.hook)})
	}
	for _, t := range l.times {
		if t.After(p.now) {
			ver.Recheck = earlier(ver.Recheck, t)
		}
	}
	return ver
}

// unwritable is how many failures to write the marker make us go without it.
const unwritable = 3

// unwritten is the marker of a notice that is not on disk yet.
func (p *pass) unwritten(target string) *Leaving {
	if p.next.Unwritten == nil {
		p.next.Unwritten = &Leaving{Since: p.now, Target: target}
		if p.listed {
			p.next.Unwritten.Voters = len(p.list.Voters())
		}
	}
	return p.next.Unwritten
}

// markLeaving writes the marker down, before anything else.
func (p *pass) markLeaving(target string) Verdict {
	r := p.record()
	r.Leaving = p.unwritten(target)
	ver := Verdict{Reason: MarkLeaving, Detail: target, Blocks: []Concern{ConcernJoin},
		Action: WriteRecord{Why: string(MarkLeaving), Record: r},
		Duties: []Duty{WatchGroup{Every: 2 * time.Second}}}
	if l := p.leaving(r.Leaving); l.heartbeat() {
		ver.Duties = append(ver.Duties, Heartbeat{Hook: l.hook.Name, Every: HeartbeatInterval(l.hook)})
	}
	return ver
}

// stay is leave's answer where nobody told this node to go.
func (p *pass) stay() Verdict {
	p.next.Unwritten = nil
	p.next.QueuedSince, p.next.NotServingSince, p.next.ServingSince = time.Time{}, time.Time{}, time.Time{}
	if h, ok := p.ownHold(); ok && h.Reason == HoldLeaving && p.lockNow() &&
		fresh(p, SourceTarget, p.v.Lifecycle, lifecycleStale) {
		if ver, ok := p.leftFromReboot(h); ok {
			return ver
		}
		// A removal of ours that was given up may still take effect: the slot is held
		// until it cannot, also by a process that does not remember asking for it.
		if until := later(p.mayLand(p.own), p.v.Started.Add(landsWithin)); h.Phase == Acting && p.now.Before(until) {
			return Verdict{Reason: GiveBackLock, Detail: "after a removal that may still take effect", Recheck: until}
		}
		return Verdict{Reason: GiveBackLock, Action: h.release()}
	}
	if !fresh(p, SourceTarget, p.v.Lifecycle, lifecycleStale) {
		return Verdict{Reason: LifecycleUnknown, Detail: p.v.Lifecycle.Err}
	}
	return Verdict{Reason: NotLeaving}
}

// leftFromReboot decides about an acting hold that was one for a reboot before this
// node was told to go, now that it is to stay after all: the reboot may still come.
func (p *pass) leftFromReboot(h Hold) (Verdict, bool) {
	r, l := p.v.Receipts[Reboot{}.Key()], p.v.Login
	switch {
	case h.Phase != Acting:
	case h.Client != "":
		return Verdict{Reason: TakeLock, Detail: "it is client " + h.Client + "'s again", Action: TakeSlot{Take: p.take(HoldFleetLock, Acting)}}, true
	case l.Known() && l.Value.GoingDown:
		return Verdict{Reason: Rebooting}, true
	case r.Done() && p.now.Before(r.Succeeded.Add(rebootWithin)):
		return Verdict{Reason: Rebooting, Recheck: r.Succeeded.Add(rebootWithin)}, true
	}
	return Verdict{}, false
}

// revoked reports whether AWS positively says, by two sources and since the
// notice, that the instance is to be in service again.
func (p *pass) revoked(mark *Leaving) bool {
	if !fresh(p, SourceTarget, p.v.Lifecycle, lifecycleStale) || p.v.Lifecycle.Value != TargetInService {
		return false
	}
	s, ok := p.state()
	return ok && p.v.Group.Known() && p.v.Group.At.After(mark.Since) && (s == StateInService || s.Pending())
}

// doubted reports whether one source says that the instance is not to go.
func (p *pass) doubted() bool {
	if fresh(p, SourceTarget, p.v.Lifecycle, lifecycleStale) {
		return true // asked only where this is no notice
	}
	s, ok := p.state()
	return ok && !s.Leaving() && fresh(p, SourceGroup, p.v.Group, lifecycleStale)
}

// leaver is one pass of a node that was told to go.
type leaver struct {
	*pass
	mark   *Leaving
	hook   Hook
	hooked bool // the group has a terminate hook for us
	open   bool // and it is seen open
	hurry  bool // no time is left to wait
	times  []time.Time
	member Member
	in     bool // in the survivors' list
	out    bool // proven out of it, or never in any cluster
}

func (p *pass) leaving(mark *Leaving) *leaver {
	l := &leaver{pass: p, mark: mark}
	l.hook, l.hooked = p.hook(Terminating)
	if s, ok := p.state(); ok {
		l.open = l.hooked && OpenTransition(s) == Terminating
	}
	l.findDeadline()
	l.findMembership()
	return l
}

// heartbeat: for as long as the hook is open as far as anybody knows, and not
// completed by us.
func (l *leaver) heartbeat() bool { return l.open && !l.completed() }

// completed reports whether the hook of this notice was completed: not one of an
// earlier time that this instance was told to go (a warm pool's).
func (l *leaver) completed() bool {
	r := l.v.Receipts[CompleteKey(l.hook.Name)]
	return r.Done() && r.Succeeded.After(l.mark.Since)
}

// findDeadline applies the deadline rule: the earliest of what the last
// acknowledged heartbeat gives, the hook's global limit since the first notice,
// and Spot's time; less the margin.
func (l *leaver) findDeadline() {
	var deadline time.Time
	margin := l.cfg.Margin
	if l.hooked {
		margin = min(margin, l.hook.Timeout/4)
		r := l.v.Receipts[HeartbeatKey(l.hook.Name)]
		base := l.mark.Since
		// A new process does not know the last heartbeat of the one before, which came
		// at most an interval before that ended.
		if began := l.v.Started.Add(-HeartbeatInterval(l.hook)); began.After(base) {
			base = began
		}
		if r.Succeeded.After(base) {
			base = r.Succeeded
		}
		// The hook may have opened up to one timeout before the notice was seen, by an
		// agent that was away: no earlier, or it would have expired.
		deadline = earlier(base.Add(l.hook.Timeout), l.mark.Since.Add(l.hook.Global-l.hook.Timeout))
	}
	if s := l.v.Spot; s.Ever() && !s.Value.Time.IsZero() {
		deadline = earlier(deadline, s.Value.Time)
	}
	if deadline.IsZero() {
		return
	}
	act := deadline.Add(-margin)
	l.hurry = !l.now.Before(act)
	l.times = append(l.times, act)
}

// findMembership tells whether this node is in the cluster, by a survivor's
// linearizable list only: never by one's own member.
func (l *leaver) findMembership() {
	if l.cfg.Role == RoleWorker {
		l.out = true
		return
	}
	r := l.record()
	never := r.Member == 0 && (r.Promise == nil || !r.Promise.Committed)
	if l.listNow() && (r.Cluster == 0 || r.Cluster == l.list.Cluster) {
		l.member, l.in = l.me()
		l.out = !l.in && l.list.Via != 0 && (never || l.list.Via != l.own)
		return
	}
	// Without an identity on disk etcd never ran here: at the worst an unstarted
	// learner is left behind, which no quorum counts and the steward reaps.
	l.out = never && l.v.Data.Known() && l.v.Data.Value.Empty
}

// allOurs reports whether the cluster ends with this group: it is the group's own,
// or every voter of it is known and in this group.
func (l *leaver) allOurs() bool {
	if !l.cfg.ClusterNamed {
		return true
	}
	if !l.v.Members.Ever() {
		return false
	}
	for _, m := range l.list.Members {
		if _, ok := l.v.Group.Value.Find(l.list.Instance(m)); !m.Learner && m.ID != l.own && !ok {
			return false
		}
	}
	return true
}

func (l *leaver) decide() Verdict {
	g := l.v.Group
	switch {
	case l.cfg.Role == RoleWorker:
		return l.afterRemoval()
	case fresh(l.pass, SourceGroup, g, 5*time.Second) && (g.Value.Desired == 0 || g.Value.Deleting) && l.allOurs():
		return l.complete(GroupEnds)
	case l.out:
		if ver, wait := l.promised(); wait {
			return ver
		}
		return l.afterRemoval()
	case !l.in && l.hurry:
		return l.stopUnremoved()
	case !l.hurry && l.stoppedByUs() && (!l.v.Unit.Known() || !l.v.Data.Known()):
		return Verdict{Reason: UnitUnknown, Detail: l.v.Unit.Err}
	case !l.hurry && l.stoppedTooSoon():
		return Verdict{Reason: StartMember, Detail: "there is time again", Action: StartEtcd{Initial: l.initial()}}
	case !l.in && !l.listed && l.awaited():
		return l.startFirst(l.record())
	case !l.in:
		return Verdict{Reason: MembershipUnknown, Detail: l.v.Members.Err}
	case l.member.Learner:
		return Verdict{Reason: RemoveSelf, Detail: "learner " + l.member.ID.String(), Action: l.remove()}
	case len(l.list.Voters()) == 1:
		return Verdict{Reason: LastVoter, Detail: l.member.ID.String()}
	case l.hurry:
		return l.atDeadline()
	}
	if l.healthy(l.member, l.cfg.StaleAfter) {
		l.serves()
	} else {
		// A voter that does not serve disrupts nothing by going, and a healthy
		// leaver must not wait for it: no replacement, no lock. But not known to
		// serve is not the same as known not to: a probe that was not made yet, or
		// that failed once, proves nothing.
		if !l.failing(l.member) {
			return Verdict{Reason: HealthUnknown, Detail: l.member.ID.String()}
		}
		l.fails()
		if at := l.next.NotServingSince.Add(l.cfg.StaleAfter); l.now.Before(at) {
			return Verdict{Reason: MemberUnhealthy, Detail: l.member.ID.String(), Recheck: at}
		}
		if !l.mayRemove(l.member.ID) {
			return l.cannotRemove()
		}
		return Verdict{Reason: RemoveSelf, Detail: l.member.ID.String(), Action: l.remove()}
	}
	if h, ok := l.ownHold(); ok && h.Reason != HoldLeaving && !l.noSpace() {
		// Told to go in the middle of a reboot, or while somebody holds the lock here:
		// it never queues behind itself. Acting stays acting: the reboot may come yet.
		if !l.lockNow() {
			return Verdict{Reason: LockUnknown, Detail: l.v.Lock.Err}
		}
		return Verdict{Reason: TakeLock, Detail: fmt.Sprintf("its own hold (%s, %s) becomes one for leaving", h.Reason, h.Phase),
			Action: TakeSlot{Take: l.take(HoldLeaving, h.Phase)}}
	}
	if ver, wait := l.awaitReplacement(); wait {
		if h, ok := l.ownHold(); ok && l.lockNow() {
			// The replacement became due after the slot was taken: others go first.
			return Verdict{Reason: GiveBackLock, Detail: ver.Detail, Action: h.release()}
		}
		return ver
	}
	return l.underLock()
}

// promised: this node's word for a first cluster is out, and others may have founded
// it on that: without this node's vote they might never be a majority. It takes its
// word back, and goes when nobody can start what it promised any more; where somebody
// did, it joins in, and leaves in order.
func (l *leaver) promised() (Verdict, bool) {
	r, g := l.record(), l.v.Group
	mine := r.Promise
	switch {
	case mine == nil || r.Member != 0 || l.hurry || l.listNow():
		return Verdict{}, false
	case !mine.Withdrawn:
		return l.withdraw(r), true
	case fresh(l.pass, SourceGroup, g, groupFresh) && g.Value.ClusterTag == mine.ClusterID().String():
		return l.commit(r), true
	}
	who, stands := l.standsBy(mine)
	return Verdict{Reason: AwaitWithdrawal, Detail: who}, stands
}

// awaited: this node committed itself to the first cluster and has not started, so
// that the others may lack its vote to become a cluster at all: it starts, and leaves
// in order.
func (l *leaver) awaited() bool {
	r, u, d, g := l.record(), l.v.Unit, l.v.Data, l.v.Group
	return r.Promise != nil && r.Promise.Committed && !r.Ran && d.Known() && d.Value.Empty && u.Known() && u.Value.Down() &&
		fresh(l.pass, SourceGroup, g, groupFresh) && g.Value.ClusterTag == r.Promise.ClusterID().String()
}

// serves notes that the member was seen to serve.
func (l *leaver) serves() {
	if l.next.ServingSince.IsZero() {
		l.next.ServingSince = l.now
	}
}

// fails notes that the member was seen not to serve. One that crashes again and again
// serves now and then, which must not count as recovered: it would wait for the lock
// of a leaver whose removal is refused because of it. Only StaleAfter without a break does.
func (l *leaver) fails() {
	n := &l.next
	served := time.Duration(0)
	if !n.ServingSince.IsZero() {
		served = l.now.Sub(n.ServingSince)
	}
	if n.NotServingSince.IsZero() || served >= l.cfg.StaleAfter {
		n.NotServingSince = l.now
	} else {
		n.NotServingSince = n.NotServingSince.Add(served)
	}
	n.ServingSince = time.Time{}
}

// awaitReplacement reports whether a replacement that is due is worth waiting for.
func (l *leaver) awaitReplacement() (Verdict, bool) {
	until := l.mark.Since.Add(l.cfg.ReplacementWait)
	// A hold that is acting is past waiting.
	if h, ok := l.ownHold(); !l.now.Before(until) || (ok && h.Phase == Acting) {
		return Verdict{}, false
	}
	g := l.v.Group
	ver := Verdict{Reason: AwaitReplacement, Recheck: until}
	if !fresh(l.pass, SourceGroup, g, lifecycleStale) {
		ver.Detail = "the group cannot be read, so a replacement may be due"
		return ver, true
	}
	inService, coming := 0, false
	for _, i := range g.Value.Instances {
		if i.ID == l.v.Self.Instance || l.instanceLeaving(i.ID) {
			continue
		}
		if i.State == StateInService {
			inService++
		}
		if i.State.Pending() || (i.State == StateInService && !l.votes(i.ID)) {
			coming = true
		}
	}
	if g.Value.LaunchSuspended || g.Value.Desired <= inService {
		return Verdict{}, false
	}
	want := g.Value.Desired
	if l.mark.Voters > 0 {
		want = min(want, l.mark.Voters)
	}
	_, staying := l.voters(l.cfg.StaleAfter, func(m Member) bool {
		id := l.list.Instance(m)
		_, known := g.Value.Find(id)
		return m.ID != l.member.ID && known && !l.instanceLeaving(id)
	})
	if staying >= want {
		return Verdict{}, false
	}
	if none := l.mark.Since.Add(l.cfg.NoReplacementAfter); !coming {
		if !l.now.Before(none) {
			return Verdict{}, false
		}
		ver.Recheck = earlier(ver.Recheck, none)
	}
	ver.Detail = fmt.Sprintf("%d of %d voters that stay are healthy", staying, want)
	return ver, true
}

// votes reports whether an instance has a voter in the list.
func (p *pass) votes(id InstanceID) bool {
	for _, m := range p.list.Members {
		if !m.Learner && InstanceID(m.Name) == id {
			return true
		}
	}
	return false
}
