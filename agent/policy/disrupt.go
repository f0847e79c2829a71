package policy

import (
	"fmt"
	"strings"
	"time"
)

// hindered tells why this node's member may not be away for a while now, by facts
// of at most maxAge; no Reason: it may. Design.md section 5: quorum first.
func (p *pass) hindered(maxAge time.Duration) Verdict {
	if p.cfg.Role == RoleWorker {
		return Verdict{} // nobody's quorum rests on it
	}
	watch := []Duty{WatchGroup{Every: rebootWatch}}
	no := func(r Reason, format string, args ...any) Verdict {
		return Verdict{Reason: r, Detail: fmt.Sprintf(format, args...), Duties: watch}
	}
	me, ok := p.list.Find(p.own)
	switch {
	case !p.listed:
		return no(HealthUnknown, "the member list: %s", p.v.Members.Err)
	case !ok || me.Learner:
		return no(RebootNoMember, "")
	case p.noSpace():
		return no(RebootNoSpace, "")
	case !p.v.Group.Known():
		return no(GroupUnknown, "%s", p.v.Group.Err)
	case !fresh(p, SourceGroup, p.v.Group, lifecycleStale):
		return no(HealthUnknown, "the group is read anew")
	}
	for _, m := range p.list.Members {
		id := p.list.Instance(m)
		switch {
		case m.Learner:
			return no(MemberJoining, "%s (%s)", m.ID, id)
		case m.ID != me.ID && p.instanceLeaving(id):
			return no(MemberLeaving, "%s (%s)", m.ID, id)
		}
	}
	n := len(p.list.Voters())
	if n < p.v.Group.Value.Desired {
		return no(VotersMissing, "%d voters, the group wants %d", n, p.v.Group.Value.Desired)
	}
	if n <= 2 && !p.cfg.Reboot.SmallClusters {
		return no(SmallCluster, "%d voters", n)
	}
	if !fresh(p, SourceMembers, p.v.Members, maxAge) {
		watch = append(watch, WatchClosely{})
		return no(HealthUnknown, "the member list is read anew")
	}
	for _, m := range p.list.Members {
		if p.healthy(m, maxAge) || m.ID == me.ID && n > 2 && p.failing(m) {
			continue // its own may be what the reboot is to repair
		}
		if p.failing(m) {
			return no(VotersUnhealthy, "%s (%s)", m.ID, p.list.Instance(m))
		}
		watch = append(watch, WatchClosely{})
		return no(HealthUnknown, "the last probe of %s is too old to act on", m.ID)
	}
	return Verdict{}
}

// carried tells whether the others go on without this node's member, by facts of a
// moment ago: they follow a leader of their own, a quorum of all voters, or where there
// are only one or two, all others. No Reason: they do.
//
// That all of them serve does not prove it. Where two of them do not reach each other,
// each serves through this node's member as long as that leads, and neither when it is
// away. A read that was answered under another leader has gone to that leader.
func (p *pass) carried() Verdict {
	if p.cfg.Role == RoleWorker {
		return Verdict{}
	}
	if to, ok := p.successor(p.own); ok {
		return Verdict{Reason: HandOver, Detail: "to " + to.String(), Action: MoveLeader{To: to}}
	}
	n := len(p.list.Voters())
	need := min(Quorum(n), n-1)
	if need <= 0 {
		return Verdict{}
	}
	follow := map[MemberID]int{}
	var not []string
	for _, m := range p.list.Members {
		h := p.v.Health[m.ID].Value
		switch {
		case m.Learner || m.ID == p.own:
		case p.healthy(m, p.cfg.ActWithin) && h.Leader != 0 && h.Leader != p.own:
			if follow[h.Leader]++; follow[h.Leader] >= need {
				return Verdict{}
			}
		default:
			not = append(not, fmt.Sprintf("%s (%s)", m.ID, p.list.Instance(m)))
		}
	}
	return Verdict{Reason: LeaderUnsettled, Detail: strings.Join(not, ", "), Duties: []Duty{WatchClosely{}}}
}

// sinceClear tells whether the members were looked at since nobody else could
// disrupt one (trackLock); needed where the slot is taken straight into acting.
func (p *pass) sinceClear() bool {
	if p.cfg.Role == RoleWorker {
		return true
	}
	t := p.next.ClearSince
	if t.IsZero() {
		return false
	}
	if p.v.Members.At.Before(t) {
		p.wants[SourceMembers] = p.v.Members.Known()
		return false
	}
	for _, m := range p.list.Members {
		if h := p.v.Health[m.ID]; h.At.Before(t) {
			p.wants[SourceHealth] = h.Known()
			return false
		}
	}
	return true
}

// unfenced: a release of this hold was tried whose outcome is not known, so it may
// yet vanish. Whoever is to rest on it marks it again first: what was sent before
// then compares an old revision.
func (p *pass) unfenced(h Hold) bool { return p.v.Receipts[h.release().Key()].Failures > 0 }

// lockNow reports whether the lock was read a moment ago.
func (p *pass) lockNow() bool { return fresh(p, SourceLock, p.v.Lock, p.cfg.ActWithin) }

// free tells whether a slot of the ordinary queue is this node's to take, and if
// not, who is ahead.
func (p *pass) free() (bool, string) {
	l := p.v.Lock.Value
	self := p.v.Self.Instance
	switch {
	case len(l.Holders) >= max(1, l.Slots):
		h := l.Holders[0]
		return false, fmt.Sprintf("%s holds it (%s, %s)", h.Instance, h.Reason, h.Phase)
	case len(l.Leaving) > 0:
		return false, fmt.Sprintf("%s is leaving", l.Leaving[0].Instance)
	case len(l.Queue) > 0 && l.Queue[0].Instance != self:
		return false, fmt.Sprintf("%s is ahead", l.Queue[0].Instance)
	}
	return true, ""
}

// await waits for a slot and takes it, granted: everything is looked at again
// before it becomes acting.
func (p *pass) await(t Take) Verdict {
	place := KeepQueued{Reason: t.Reason}
	if a := p.next.Ask; a != nil && a.Reason == HoldFleetLock {
		place.Client = a.Client
	}
	if p.next.WaitingSince.IsZero() {
		p.next.WaitingSince = p.now
	}
	if !p.v.Lock.Known() {
		return Verdict{Reason: LockUnknown, Detail: p.v.Lock.Err, Duties: []Duty{place, WatchClosely{}}}
	}
	ok, ahead := p.free()
	if !ok {
		// The watch on the key ahead tells when to look: thousands may wait.
		ver := Verdict{Reason: AwaitLock, Detail: ahead, Duties: []Duty{place}}
		return p.evictAhead(ver)
	}
	ver := p.hindered(p.cfg.StaleAfter)
	if ver.Reason == "" && t.Reason == HoldFleetLock {
		ver = p.window(wish{})
	}
	if ver.Reason == "" && !p.lockNow() {
		return Verdict{Reason: LockUnknown, Detail: "it is read anew", Duties: []Duty{place, WatchClosely{}}}
	}
	if ver.Reason == "" {
		ver = p.hindered(p.cfg.ActWithin)
	}
	if ver.Reason != "" {
		ver.Duties = append(ver.Duties, place)
		return ver
	}
	ver = Verdict{Reason: TakeLock, Detail: string(t.Reason), Action: TakeSlot{Take: t},
		Duties: []Duty{WatchGroup{Every: rebootWatch}, WatchClosely{}}}
	if len(p.v.Lock.Value.Queue) > 0 { // else one transaction takes it directly
		ver.Duties = append(ver.Duties, place)
	}
	return ver
}

// evictAhead lets the first of a workers' queue delete the hold of an instance that
// EC2 says is gone: workers have no steward.
func (p *pass) evictAhead(ver Verdict) Verdict {
	l := p.v.Lock.Value
	if p.cfg.Role != RoleWorker || len(l.Queue) == 0 || l.Queue[0].Instance != p.v.Self.Instance {
		return ver
	}
	ids := string(p.v.Self.Instance)
	for _, h := range l.Holders {
		if p.terminated(h.Instance) && p.lockNow() {
			return Verdict{Reason: EvictHold, Detail: string(h.Instance), Action: h.release(), Duties: ver.Duties}
		}
		ids += "," + string(h.Instance)
	}
	// NotFound alone proves nothing without the group's list.
	ver.Duties = append(ver.Duties, WatchInstances{Every: 30 * time.Second, IDs: ids}, WatchGroup{Every: 30 * time.Second})
	return ver
}

// well tells whether this node is healthy again after a disruption, and if not,
// what is missing, by facts of at most maxAge.
func (p *pass) well(maxAge time.Duration) (bool, string) {
	if p.cfg.Role != RoleWorker {
		me, ok := p.list.Find(p.own)
		switch {
		case !ok || !fresh(p, SourceMembers, p.v.Members, maxAge):
			return false, "this node's member is not seen in the member list"
		case me.Learner:
			return false, "its member does not vote yet"
		case !p.healthy(me, maxAge):
			return false, "its member does not serve: " + p.v.Health[me.ID].Err
		}
	}
	if p.cfg.Reboot.Services {
		d := p.v.Down
		switch {
		case !fresh(p, SourceDown, d, p.cfg.StaleAfter):
			return false, "whether its units are up is not known: " + d.Err
		case len(d.Value) > 0:
			return false, d.Value[0] + " is not up"
		}
	}
	return true, ""
}
