package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// isSteward reports whether this agent does the cluster-wide work: the one
// beside the leader, sure of it by a linearizable read through its own member a
// moment ago (a stalled leader still believes in itself); or, when the leader's
// agent has been silent for a while, the healthy voter with the least id.
func (p *pass) isSteward() bool {
	me, ok := p.list.Find(p.own)
	if !p.listed || !ok || me.Learner || !p.healthy(me, p.cfg.StaleAfter) {
		return false
	}
	leader := p.v.Health[me.ID].Value.Leader
	if leader == me.ID {
		return true
	}
	lm, ok := p.list.Find(leader)
	if !ok || !p.silent(InstanceID(lm.Name)) {
		return false
	}
	for _, m := range p.list.Members { // sorted by id
		if m.ID != leader && p.healthy(m, p.cfg.StaleAfter) && (m.ID == me.ID || !p.silent(InstanceID(m.Name))) {
			return m.ID == me.ID
		}
	}
	return false
}

// silent reports whether an agent has not been heard for StewardSilence.
func (p *pass) silent(id InstanceID) bool {
	heard := p.v.Peers[id].At
	if heard.Before(p.v.Started) {
		heard = p.v.Started
	}
	if quiet := heard.Add(p.cfg.StewardSilence); p.now.Before(quiet) {
		if f := p.v.Peers[id]; f.Known() {
			p.expires[SourcePeers] = earlier(p.expires[SourcePeers], quiet)
		} else {
			p.recheck = earlier(p.recheck, quiet)
		}
		return false
	}
	return true
}

// trackForgotten notes since when EC2 does not know a member's instance.
func (p *pass) trackForgotten() {
	f := p.v.Instances
	if !f.Known() {
		return
	}
	next := make(map[InstanceID]time.Time)
	for id, i := range f.Value {
		if i.State != InstanceNotFound {
			continue
		}
		next[id] = f.At
		if since, ok := p.next.Forgotten[id]; ok {
			next[id] = since
		}
	}
	if len(next) == 0 {
		next = nil
	}
	if !maps.Equal(next, p.next.Forgotten) {
		p.next.Forgotten = next
	}
}

// trackLearners notes since when each learner stands where it stands.
func (p *pass) trackLearners() {
	if !p.listed {
		return
	}
	var next map[MemberID]Progress
	for _, m := range p.list.Members {
		if !m.Learner {
			continue
		}
		at := Progress{Since: p.now}
		if h := p.v.Health[m.ID]; h.Ever() {
			at.Index = h.Value.Applied
		}
		if was, ok := p.next.Learners[m.ID]; ok && was.Index == at.Index {
			at = was
		}
		if next == nil {
			next = make(map[MemberID]Progress)
		}
		next[m.ID] = at
	}
	if !maps.Equal(next, p.next.Learners) {
		p.next.Learners = next
	}
}

// terminated reports whether EC2 proves that an instance is gone for good:
// state terminated, or unknown for over an hour to calls that did find another
// instance of ours, and absent from the group.
func (p *pass) terminated(id InstanceID) bool {
	f := p.v.Instances
	i, ok := f.Value[id]
	if !ok || id == "" || id == p.v.Self.Instance {
		return false
	}
	// What is terminated stays so: old news is as good as new.
	if f.Ever() && i.State == InstanceTerminated {
		return true
	}
	if i.State != InstanceNotFound || !fresh(p, SourceInstances, f, lifecycleStale) || !fresh(p, SourceGroup, p.v.Group, 2*time.Minute) {
		return false
	}
	if _, listed := p.v.Group.Value.Find(id); listed {
		return false
	}
	ours := false
	for other, o := range f.Value {
		ours = ours || (other != id && o.State != InstanceNotFound)
	}
	since, ok := p.next.Forgotten[id]
	if !ok || !ours {
		return false
	}
	if due := since.Add(p.cfg.ForgottenAfter); p.now.Before(due) {
		p.recheck = earlier(p.recheck, due)
		return false
	}
	return true
}

// steward does what is the cluster's and not one node's: the tag, dead members,
// orphaned holds, learners.
func steward(p *pass) Verdict {
	if !p.steward {
		if p.own != 0 && !p.listed {
			return Verdict{Reason: StewardUnsure, Detail: p.v.Members.Err}
		}
		return Verdict{Reason: NotSteward}
	}
	ver := Verdict{Reason: AllWell}
	suspects := p.suspects()
	// What waits must not keep the steward from its other work: a tag that cannot be
	// read, say, from a promotion.
	for _, ask := range [...]func(*pass) (Verdict, bool){reap, evict, tag, learners} {
		v, ok := ask(p)
		if !ok {
			continue
		}
		v.Recheck = earlier(v.Recheck, ver.Recheck)
		if v.Action == nil && ver.Reason != AllWell {
			ver.Recheck = v.Recheck
			continue
		}
		if ver = v; ver.Action != nil {
			break
		}
	}
	// What is done here rests on a confirmation of a moment ago; at rest nothing is
	// to be done, and the confirmation is not sought.
	me, _ := p.list.Find(p.own)
	if ver.Action != nil && !(p.listNow() && p.healthy(me, p.cfg.ActWithin)) {
		ver = Verdict{Reason: StewardUnsure, Detail: string(ver.Reason) + ": " + ver.Detail}
	}
	every := time.Minute
	if len(suspects) > 0 {
		every = 5 * time.Second
		ver.Duties = append(ver.Duties, WatchInstances{Every: every, IDs: strings.Join(suspects, ",")})
	}
	learning := slices.ContainsFunc(p.list.Members, func(m Member) bool { return m.Learner })
	busy := len(suspects) > 0 || learning
	if learning {
		ver.Duties = append(ver.Duties, WatchVersions{})
	}
	if busy || ver.Action != nil || ver.Reason == StewardUnsure {
		ver.Duties = append(ver.Duties, WatchClosely{})
	}
	ver.Duties = append(ver.Duties, WatchGroup{Every: every})
	return ver
}

// suspects are the instances to ask EC2 about: those of members that do not
// serve, and those of members whose instance the group no longer lists. One of
// ours that is there goes with them, to tell "unknown id" from "wrong account".
func (p *pass) suspects() []string {
	var ids []string
	for _, m := range p.list.Members {
		id := p.list.Instance(m)
		if id == "" || id == p.v.Self.Instance {
			continue
		}
		_, listed := p.v.Group.Value.Find(id)
		gone := p.v.Group.Known() && !listed
		serves := p.healthy(m, p.cfg.StaleAfter) || (m.Learner && fresh(p, SourceHealth, p.v.Health[m.ID], p.cfg.StaleAfter))
		if gone || !serves {
			ids = append(ids, string(id))
		}
	}
	for _, h := range p.v.Lock.Value.Holders {
		if _, member := p.list.Find(h.Member); !member && !slices.Contains(ids, string(h.Instance)) && h.Instance != p.v.Self.Instance {
			ids = append(ids, string(h.Instance))
		}
	}
	if len(ids) == 0 {
		return nil
	}
	ids = append(ids, string(p.v.Self.Instance))
	slices.Sort(ids)
	return slices.Compact(ids)
}

// reap removes members whose instance EC2 proves gone.
func reap(p *pass) (Verdict, bool) {
	var waiting Verdict
	for _, m := range p.list.Members {
		id := p.list.Instance(m)
		if !p.terminated(id) {
			if !m.Learner && m.ID != p.own && !p.healthy(m, p.cfg.StaleAfter) {
				waiting = Verdict{Reason: Unproven, Detail: fmt.Sprintf("%s (%s)", m.ID, id)}
			}
			continue
		}
		remove := RemoveMember{Member: m.ID, Instance: id, Learner: m.Learner, Why: "instance terminated"}
		switch {
		case p.healthy(m, p.cfg.StaleAfter):
			waiting = Verdict{Reason: TerminatedServes, Detail: fmt.Sprintf("%s (%s)", m.ID, id)}
		case !p.mayRemove(m.ID):
			waiting = Verdict{Reason: ReapWouldBreak, Detail: fmt.Sprintf("%s (%s)", m.ID, id)}
		default:
			return Verdict{Reason: Reap, Detail: fmt.Sprintf("%s (%s)", m.ID, id), Action: remove}, true
		}
	}
	return waiting, waiting.Reason != ""
}

// evict deletes leaving holds whose member is out of the cluster, and holds for a
// reboot whose instance EC2 proves gone: nothing else but its holder or an operator
// ends those.
func evict(p *pass) (Verdict, bool) {
	for _, h := range p.v.Lock.Value.Holders {
		if h.Reason != HoldLeaving && p.terminated(h.Instance) && p.lockNow() {
			return Verdict{Reason: EvictHold, Detail: fmt.Sprintf("%s (%s, %s): instance terminated", h.Instance, h.Reason, h.Phase),
				Action: h.release()}, true
		}
		if _, member := p.list.Find(h.Member); member || h.Reason != HoldLeaving || h.Cluster != p.list.Cluster {
			continue
		}
		if !p.lockNow() || p.v.Lock.At.After(p.v.Members.At) {
			// The list must have been read after the hold was seen: a hold of a member
			// that was added in between would look orphaned.
			return Verdict{}, false
		}
		if h.Instance == p.v.Self.Instance {
			continue // our own hold is the leave concern's
		}
		if f := p.v.Peers[h.Instance]; f.Value.Leaving && fresh(p, SourcePeers, f, p.cfg.StaleAfter) {
			continue // its holder is at it
		}
		return Verdict{Reason: EvictHold, Detail: string(h.Instance),
			Action: h.release()}, true
	}
	return Verdict{}, false
}

// tag restores the group's cluster tag.
func tag(p *pass) (Verdict, bool) {
	g := p.v.Group
	switch {
	case !fresh(p, SourceGroup, g, 2*time.Minute):
		return Verdict{Reason: GroupUnknown, Detail: g.Err}, g.Err != ""
	case g.Value.ClusterTag == "":
		if again := p.v.Receipts[WriteTag{}.Key()].Succeeded.Add(groupFresh); p.now.Before(again) {
			return Verdict{Reason: RestoreTag, Detail: "not shown yet", Recheck: again}, true
		}
		return Verdict{Reason: RestoreTag, Action: WriteTag{Cluster: p.list.Cluster}}, true
	case g.Value.ClusterTag != p.list.Cluster.String():
		return Verdict{Reason: TagConflict, Detail: "the tag says " + g.Value.ClusterTag}, true
	}
	return Verdict{}, false
}

// learners promotes the learner that has caught up, and removes one that makes
// no progress.
func learners(p *pass) (Verdict, bool) {
	for _, m := range p.list.Members {
		if m.Learner {
			return learner(p, m), true
		}
	}
	return Verdict{}, false
}

// landsWithin is how long after an action was given up it may still take effect.
const landsWithin = time.Minute

// mayLand is until when a removal of ours that was given up may still take
// effect: a learner that is promoted meanwhile would be removed as a voter.
func (p *pass) mayLand(id MemberID) time.Time {
	if r := p.v.Receipts[RemoveMember{Member: id}.Key()]; r.Failures > 0 {
		return r.Ended.Add(landsWithin)
	}
	return time.Time{}
}

func learner(p *pass, m Member) Verdict {
	id := p.list.Instance(m)
	who := fmt.Sprintf("%s (%s)", m.ID, id)
	ver := Verdict{Reason: LearnerBehind, Detail: who}
	stuck := p.next.Learners[m.ID].Since.Add(p.cfg.LearnerTimeout)
	h := p.v.Health[m.ID]
	lead := p.v.Health[p.own]
	if leader := p.v.Health[lead.Value.Leader]; fresh(p, SourceHealth, leader, p.cfg.ActWithin) {
		lead = leader
	}
	switch {
	case p.instanceLeaving(id):
		ver.Reason = LearnerLeaving
		if p.silent(id) {
			// Its own agent would take it out; a dead one must not keep every other node
			// from joining until its instance is gone.
			ver.Action = RemoveMember{Member: m.ID, Instance: id, Learner: true, Why: "learner of an instance that leaves"}
			return ver
		}
	case p.now.Before(p.mayLand(m.ID)):
		ver.Recheck = p.mayLand(m.ID)
		return ver
	case m.Name != "" && fresh(p, SourceHealth, h, p.cfg.ActWithin) && h.Value.Member == m.ID && h.Value.Cluster == p.list.Cluster &&
		h.Value.Learner && h.Value.Applied+p.cfg.PromoteGap >= lead.Value.Committed:
		total, healthy := p.voters(p.cfg.ActWithin, nil)
		if !AdditionKeepsQuorum(total, healthy) {
			return Verdict{Reason: PromotionUnhealthy, Detail: who}
		}
		if r, detail := p.versionForbids(h.Value.Version); r != "" {
			return Verdict{Reason: r, Detail: who + ": " + detail}
		}
		return Verdict{Reason: PromoteLearner, Detail: who, Action: Promote{Member: m.ID}}
	}
	if !p.now.Before(stuck) {
		return Verdict{Reason: LearnerStuck, Detail: who,
			Action: RemoveMember{Member: m.ID, Instance: id, Learner: true, Why: "no raft progress"}}
	}
	ver.Recheck = stuck
	return ver
}
