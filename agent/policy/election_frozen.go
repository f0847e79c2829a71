package policy

import "fmt"

// frozenPlan stands in a RestartEtcd for no plan: a member that answers nothing while
// the others have a leader is its own agent's to restart, alone and under the lock.
const frozenPlan = "frozen"

// trackSilence keeps since when this node's etcd answers nothing.
func (p *pass) trackSilence() {
	silentNow := false
	for _, v := range p.hear() {
		silentNow = silentNow || v.Member == p.own && v.says == silent
	}
	p.next.Vote.SilentSince = keep(p.next.Vote.SilentSince, p.now, silentNow)
}

// frozen restarts this node's member, which answers nothing while there is a leader.
func (p *pass) frozen(f finding) Verdict {
	ver := Verdict{Reason: FrozenMember, Detail: f.Detail, Duties: []Duty{WatchClosely{}}}
	due := p.next.Vote.SilentSince.Add(p.cfg.Force.After)
	if r := p.v.Receipts[RestartEtcd{Plan: frozenPlan}.Key()]; !r.Ended.IsZero() {
		due = later(due, r.Ended.Add(p.cfg.Force.Cooldown))
	}
	total, rest := p.voters(p.cfg.ActWithin, func(m Member) bool { return m.ID != p.own })
	h, held := p.ownHold()
	switch {
	case !p.cfg.Force.Enabled, p.v.Record.Leaving != nil: // who leaves needs no lock for a member that does not serve
		return ver
	case p.now.Before(due):
		ver.Recheck = due
		return ver
	case !p.listNow() || p.list.Via == p.own || rest < Quorum(total):
		ver.Detail = fmt.Sprintf("%d of the other %d voters are healthy", rest, total-1)
		return ver
	case !p.lockNow():
		ver.Detail = "the lock is unknown: " + p.v.Lock.Err
		return ver
	case held && h.Reason != HoldRestarting:
		ver.Detail = "this node holds the lock, " + string(h.Reason)
		return ver
	case held && (h.Phase == Granted || p.unfenced(h)):
		ver.Action = MarkActing{Revision: h.Revision}
		return ver
	case held:
		ver.Action = RestartEtcd{Plan: frozenPlan, Initial: p.initial()}
		return ver
	case p.slotFree():
		ver.Action = TakeSlot{Take: p.take(HoldRestarting, Granted)}
		return ver
	}
	ver.Duties = append(ver.Duties, KeepQueued{Reason: HoldRestarting})
	return ver
}

// slotFree reports whether this node may take the slot: nobody holds it, and nobody else
// is first.
func (p *pass) slotFree() bool {
	l := p.v.Lock.Value
	if len(l.Holders) >= max(1, l.Slots) {
		return false
	}
	if len(l.Leaving) > 0 {
		return l.Leaving[0].Instance == p.v.Self.Instance
	}
	return len(l.Queue) == 0 || l.Queue[0].Instance == p.v.Self.Instance
}

// thawed gives the lock back that a frozen member was restarted under, once it serves:
// what is known of its ports may be some seconds older than that.
func (p *pass) thawed() (Verdict, bool) {
	h, held := p.ownHold()
	if !held || h.Reason != HoldRestarting || p.v.Record.Leaving != nil || !p.lockNow() {
		return Verdict{}, false
	}
	me, ok := p.list.Find(p.own)
	if h.Phase == Granted && p.next.Vote.SilentSince.IsZero() || ok && p.healthy(me, p.cfg.ActWithin) {
		return Verdict{Reason: GiveBackLock, Action: h.release()}, true
	}
	return Verdict{Reason: FrozenMember, Detail: "restarted; the lock is given back when it serves", Duties: []Duty{WatchClosely{}}}, true
}
