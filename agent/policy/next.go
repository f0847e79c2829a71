package policy

import (
	"slices"
	"strings"
	"time"
)

// Next decides what one pass does. It changes neither st nor v.
func Next(cfg Config, st State, v View) (State, Decision) {
	p := look(cfg, st, &v)
	d := Decision{Verdicts: make(map[Concern]Verdict, 6), Steward: p.steward}
	var blocked []Concern
	for _, c := range [...]struct {
		name Concern
		ask  func(*pass) Verdict
	}{
		{ConcernRequest, requests},
		{ConcernElection, election},
		{ConcernLeave, leave},
		{ConcernSteward, steward},
		{ConcernJoin, join},
		{ConcernReboot, reboot},
	} {
		ver := c.ask(p)
		d.Recheck = earlier(d.Recheck, ver.Recheck)
		if slices.Contains(blocked, c.name) && ver.Action != nil {
			ver.Action, ver.Reason = nil, Blocked
		}
		blocked = append(blocked, ver.Blocks...)
		if ver.Action != nil {
			ver, d.Recheck = p.gate(ver, d.Recheck)
		}
		for _, duty := range ver.Duties {
			if !slices.Contains(d.Duties, duty) {
				d.Duties = append(d.Duties, duty)
			}
		}
		if ver.Action != nil {
			if d.Action == nil {
				d.Action, d.Concern = ver.Action, c.name
			} else {
				ver.Action = nil
			}
		}
		d.Verdicts[c.name] = ver
	}
	d.Warnings = p.warnings()
	d.Expires, d.Wants = p.expires, p.wants
	for _, t := range p.expires {
		d.Stale = earlier(d.Stale, t)
	}
	d.Recheck = earlier(d.Recheck, p.recheck)
	return p.next, d
}

// gate holds back an action that may not be taken in this pass: another one is
// under way, what the last one may have changed was not observed since, or the
// same attempt failed a moment ago.
func (p *pass) gate(ver Verdict, recheck time.Time) (Verdict, time.Time) {
	hold := func(r Reason) Verdict {
		ver.Detail = strings.TrimSuffix(string(ver.Reason)+": "+ver.Detail, ": ")
		ver.Reason, ver.Action = r, nil
		return ver
	}
	if p.v.InFlight != nil {
		return hold(Busy), recheck
	}
	if last := p.v.Last; last.Action != nil && !p.observedSince(p.unseen(last.Action), last.Ended) {
		ver.Duties = append(ver.Duties, WatchClosely{})
		return hold(Settling), recheck
	}
	if r, ok := p.v.Receipts[ver.Action.Key()]; ok && r.Failures > 0 {
		if at := r.Ended.Add(p.backoff(ver.Action, r.Failures)); p.v.Now.Before(at) {
			return hold(BackedOff), earlier(recheck, at)
		}
	}
	if _, ok := ver.Action.(StartEtcd); ok {
		// A start that succeeded and did not hold is systemd's to repeat, not ours.
		if r, ok := p.v.Receipts[ver.Action.Key()]; ok && p.v.Now.Before(r.Ended.Add(startAgain)) {
			return hold(BackedOff), earlier(recheck, r.Ended.Add(startAgain))
		}
	}
	return ver, recheck
}

// startAgain is etcd's RestartSec in the units we ship, and Flatcar's.
const startAgain = 10 * time.Second

// backoff is the pause after n failures in a row: 0.5 s doubling to 30 s. Changes
// of the member list are tried again every second at the latest: etcd refuses them
// for 5 s after the last one, which is the commonest cause, and asks no more than
// to wait. But it adds nobody while any voter is away, which may be for long.
func (p *pass) backoff(a Action, n int) time.Duration {
	longest := 30 * time.Second
	switch a.(type) {
	case AddLearner:
		if total, healthy := p.voters(p.cfg.StaleAfter, nil); healthy == total {
			longest = time.Second
		}
	case RemoveMember:
		longest = time.Second
	}
	d := 500 * time.Millisecond
	for i := 1; i < n && d < longest; i++ {
		d *= 2
	}
	return min(d, longest)
}

// unseen is what an action may have changed and the view does not show.
func (p *pass) unseen(a Action) source {
	s := a.affects()
	if p.v.Lock.Known() && Shown(a, p.v.Self, p.v.Lock.Value) {
		s &^= srcLock
	}
	return s
}

// Shown reports whether a look at the lock shows by itself that an action of this node's was
// done: it was made by the action's own transaction, or after it.
func Shown(a Action, self Self, l Lock) bool {
	own := slices.IndexFunc(l.Holders, func(h Hold) bool { return h.Instance == self.Instance })
	switch a := a.(type) {
	case TakeSlot:
		if own < 0 {
			return false
		}
		h, t := l.Holders[own], a.Take
		return h.Boot == self.Boot && h.Revision > t.Revision && h.Reason == t.Reason && h.Phase == t.Phase && h.Client == t.Client
	case MarkActing:
		return own >= 0 && l.Holders[own].Phase == Acting && l.Holders[own].Revision > a.Revision
	case ReleaseHold:
		return l.Revision > a.Revision && !slices.ContainsFunc(l.Holders, func(h Hold) bool { return h.Slot == a.Slot && h.Revision <= a.Revision })
	}
	return false
}

// observedSince reports whether every named fact was observed by an attempt that
// began at t or later. A fact whose newest attempt failed after having been
// affected is unknown, which is for the concerns to judge, except that a
// success older than t must not be taken for news: callers see Err.
func (p *pass) observedSince(s source, t time.Time) bool {
	ok := func(known bool, at time.Time) bool { return !known || !at.Before(t) }
	v := p.v
	switch {
	case s&srcGroup != 0 && !ok(v.Group.Known(), v.Group.At),
		s&srcUnit != 0 && !ok(v.Unit.Known(), v.Unit.At),
		s&srcData != 0 && !ok(v.Data.Known(), v.Data.At),
		s&srcMembers != 0 && !ok(v.Members.Known(), v.Members.At),
		s&srcLock != 0 && !ok(v.Lock.Known(), v.Lock.At),
		s&srcLogin != 0 && !ok(v.Login.Known(), v.Login.At),
		s&srcPulse != 0 && !ok(v.Pulse.Known(), v.Pulse.At):
		return false
	}
	if s&srcHealth != 0 {
		for _, h := range v.Health {
			if !ok(h.Known(), h.At) {
				return false
			}
		}
	}
	return true
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// pass is one reading of the view: what several concerns need to know.
type pass struct {
	cfg  Config
	v    *View
	next State
	now  time.Time

	list    MemberList
	listed  bool // the list is fresh enough to wait on
	own     MemberID
	steward bool
	recheck time.Time // see Decision.Recheck, for what is no single concern's
	// By source: when the first fact that this pass rested on becomes too old, and
	// whether a known one was too old already.
	expires [NumSources]time.Time
	wants   [NumSources]bool

	voices []voice // every voter's word, once collected
	found  finding // what they come to
}

// listNow reports whether the list is fresh enough to act on. It is asked only
// where an action depends on it: at rest the list is read less often than that.
func (p *pass) listNow() bool { return fresh(p, SourceMembers, p.v.Members, p.cfg.ActWithin) }

// fresh reports whether a fact is known and young enough, and notes until when
// that holds.
func fresh[T any](p *pass, s Source, f Fact[T], maxAge time.Duration) bool {
	switch {
	case !f.Known():
		return false
	case p.now.Sub(f.At) > maxAge:
		p.wants[s] = true
		return false
	}
	p.expires[s] = earlier(p.expires[s], f.At.Add(maxAge+1))
	return true
}

func look(cfg Config, st State, v *View) *pass {
	p := &pass{cfg: cfg, v: v, next: st, now: v.Now}
	p.list = v.Members.Value
	p.listed = fresh(p, SourceMembers, v.Members, cfg.StaleAfter)
	if v.Record.Instance == v.Self.Instance {
		p.own = v.Record.Member
	}
	p.steward = p.isSteward()
	p.trackLock()
	p.adoptPlace()
	p.trackForgotten()
	p.trackLearners()
	p.trackVote()
	return p
}

// healthy reports whether a voter is known to serve in this cluster, by a probe
// of at most maxAge.
func (p *pass) healthy(m Member, maxAge time.Duration) bool {
	h := p.v.Health[m.ID]
	return !m.Learner && fresh(p, SourceHealth, h, maxAge) && h.Value.Serves && !h.Value.Learner &&
		h.Value.Member == m.ID && h.Value.Cluster == p.list.Cluster && !h.Value.Corrupt
}

// failing reports whether a voter is positively seen not to serve: it never
// started, or the newest probe failed, or said so.
func (p *pass) failing(m Member) bool {
	h := p.v.Health[m.ID]
	return len(m.ClientURLs) == 0 || h.Err != "" ||
		(fresh(p, SourceHealth, h, p.cfg.StaleAfter) && !p.healthy(m, p.cfg.StaleAfter))
}

// voters counts the voters of the list, and the healthy ones among those that
// keep says yes to.
func (p *pass) voters(maxAge time.Duration, keep func(Member) bool) (total, healthy int) {
	for _, m := range p.list.Members {
		if m.Learner {
			continue
		}
		total++
		if (keep == nil || keep(m)) && p.healthy(m, maxAge) {
			healthy++
		}
	}
	return total, healthy
}

// mayRemove reports whether removing a member now keeps a healthy majority. A
// learner's removal never affects the quorum.
func (p *pass) mayRemove(id MemberID) bool {
	m, ok := p.list.Find(id)
	if !ok || !p.listNow() {
		return false
	}
	if m.Learner {
		return true
	}
	total, rest := p.voters(p.cfg.ActWithin, func(m Member) bool { return m.ID != id })
	return RemovalKeepsQuorum(total, rest)
}

// me gives this node's entry in the member list: by recorded id, by name, or, not
// started yet, by peer URL and join key.
func (p *pass) me() (Member, bool) {
	if p.own != 0 {
		if m, ok := p.list.Find(p.own); ok {
			return m, true
		}
	}
	for _, m := range p.list.Members {
		if p.list.Instance(m) == p.v.Self.Instance {
			return m, true
		}
	}
	return Member{}, false
}

// state gives this instance's state in the group, as last known.
func (p *pass) state() (LifecycleState, bool) {
	g, ok := p.v.Group.Value.Find(p.v.Self.Instance)
	return g.State, ok && p.v.Group.Ever()
}

// hook chooses the hook of a transition that this agent serves: the configured
// one, else the only one, else the one whose name starts with quorumd.
func (p *pass) hook(t Transition) (Hook, bool) {
	name := p.cfg.TerminateHook
	if t == Launching {
		name = p.cfg.LaunchHook
	}
	h, err := ChooseHook(p.v.Group.Value.Hooks, t, name)
	return h, err == nil
}

// instanceLeaving reports whether an instance is known to be on its way out.
func (p *pass) instanceLeaving(id InstanceID) bool {
	if g, ok := p.v.Group.Value.Find(id); ok && g.State.Leaving() {
		return true
	}
	f := p.v.Peers[id]
	return f.Ever() && f.Value.Leaving
}

// ownHold gives this instance's hold on the disruption lock.
func (p *pass) ownHold() (Hold, bool) {
	for _, h := range p.v.Lock.Value.Holders {
		if h.Instance == p.v.Self.Instance {
			return h, true
		}
	}
	return Hold{}, false
}

// record gives a copy of this node's record to be changed: an empty one when the
// disk holds another instance's.
func (p *pass) record() Record {
	r := p.v.Record
	if r.Instance != p.v.Self.Instance {
		r = Record{Instance: p.v.Self.Instance}
	}
	return r
}
