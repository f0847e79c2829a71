package policy

import (
	"fmt"
	"time"
)

// join brings this node into the cluster, keeps its member running, and lets the
// group count it as in service once it votes.
func join(p *pass) Verdict {
	if p.cfg.Role == RoleWorker {
		return p.joinWorker()
	}
	var ver Verdict
	if p.v.Group.Known() && p.v.Group.Value.Weighted {
		// Its launch hook is held open all the same: the next instance could not join either.
		ver = Verdict{Reason: WeightedCapacity, Detail: p.v.Group.Value.Name}
	} else {
		ver = p.joinStep()
	}
	ver.Duties = append(ver.Duties, p.joinDuties(ver.Reason)...)
	return ver
}

// joinWorker lets the group count a node without a member as in service, once its
// units are up.
func (p *pass) joinWorker() Verdict {
	if p.v.Record.Instance != p.v.Self.Instance {
		return Verdict{Reason: ForeignRecord, Detail: string(p.v.Record.Instance),
			Action: WriteRecord{Why: string(ForeignRecord), Record: Record{Instance: p.v.Self.Instance, Endpoints: p.v.Record.Endpoints}}}
	}
	ver := Verdict{Reason: Worker}
	s, ok := p.state()
	hook, hooked := p.hook(Launching)
	if ok && !s.Pending() {
		return ver
	}
	ver.Duties = []Duty{WatchGroup{Every: 5 * time.Second}}
	if !ok || !hooked || p.launchDone(hook) {
		return ver
	}
	ver.Duties = append(ver.Duties, Heartbeat{Hook: hook.Name, Every: HeartbeatInterval(hook)})
	if up, what := p.well(p.cfg.StaleAfter); !up {
		return Verdict{Reason: ComingBack, Detail: what, Duties: ver.Duties}
	}
	if s == StatePendingWait && p.v.Group.Known() {
		ver.Reason, ver.Detail, ver.Action = CompleteLaunch, hook.Name, CompleteHook{Hook: hook.Name, Result: Continue}
	}
	return ver
}

// joinDuties keeps the launch hook open, and the group in sight, until this node
// is known to be in service.
func (p *pass) joinDuties(why Reason) []Duty {
	var duties []Duty
	s, ok := p.state()
	hook, hooked := p.hook(Launching)
	if ok && hooked && !(why == GroupUnsettled && p.surplus()) && (s == StatePendingWait || s == StatePending) && !p.launchDone(hook) {
		duties = append(duties, Heartbeat{Hook: hook.Name, Every: HeartbeatInterval(hook)})
	}
	settled := ok && !s.Pending() && (why == Voting || why == MemberUnhealthy || why == Starting || why == NotWanted)
	switch {
	case !settled && why == Voting && p.v.Group.Known() && !ok: // detached, and goes on
		duties = append(duties, WatchGroup{Every: time.Minute})
	case !settled && p.v.Group.Err != "" && !ok:
		duties = append(duties, WatchGroup{Every: 30 * time.Second})
	case !settled:
		duties = append(duties, WatchGroup{Every: 5 * time.Second})
	case why == Starting && !p.listed:
		duties = append(duties, WatchGroup{Every: 30 * time.Second})
	}
	if !p.listed && why != NotWanted {
		// No member that this node knows answers: others may have come meanwhile.
		every := 5 * time.Second
		if settled {
			every = 30 * time.Second
		}
		duties = append(duties, p.watchOthers(every)...)
	}
	if why != Voting && why != NotWanted {
		duties = append(duties, WatchClosely{})
	}
	if m, in := p.list.Find(p.own); why != NotWanted && (p.own == 0 || in && m.Learner) {
		duties = append(duties, WatchVersions{})
	}
	return duties
}

// surplus: the group has more instances than it wants and this one is beyond that
// number. Before the first cluster nothing else ends it while its launch hook is
// open, and the agreement waits for as many instances as desired.
func (p *pass) surplus() bool {
	g := p.v.Group
	if !fresh(p, SourceGroup, g, groupFresh) {
		return false
	}
	for n, i := range g.Value.Instances {
		if i.ID == p.v.Self.Instance {
			return n >= g.Value.Desired
		}
	}
	return false
}

func (p *pass) joinStep() Verdict {
	v := p.v
	if v.Record.Instance != v.Self.Instance {
		return p.takeDisk()
	}
	if !v.Data.Known() {
		return Verdict{Reason: DataUnknown, Detail: v.Data.Err}
	}
	if !v.Unit.Known() {
		return Verdict{Reason: UnitUnknown, Detail: v.Unit.Err}
	}
	if v.Unit.Value.Load == "not-found" {
		return Verdict{Reason: UnitMissing}
	}
	if !v.Data.Value.Empty {
		return p.withData()
	}
	return p.withoutData()
}

// takeDisk makes a disk this instance's own: one that was copied from another
// instance carries that one's member, which must not start twice.
func (p *pass) takeDisk() Verdict {
	if p.v.Record.Instance != "" {
		if !p.v.Data.Known() {
			return Verdict{Reason: DataUnknown, Detail: p.v.Data.Err}
		}
		if !p.v.Data.Value.Empty {
			return p.archive(ForeignRecord, "instance-"+string(p.v.Record.Instance))
		}
	}
	return Verdict{Reason: ForeignRecord, Detail: string(p.v.Record.Instance),
		Action: WriteRecord{Why: string(ForeignRecord), Record: Record{Instance: p.v.Self.Instance, Endpoints: p.v.Record.Endpoints}}}
}

// archive moves the data directory aside, stopping etcd first.
func (p *pass) archive(r Reason, why string) Verdict {
	switch u := p.v.Unit; {
	case !u.Known():
		return Verdict{Reason: UnitUnknown, Detail: u.Err}
	case !u.Value.Stopped():
		return Verdict{Reason: StopForeign, Detail: why, Action: StopEtcd{}}
	}
	return Verdict{Reason: r, Detail: why, Action: ArchiveData{Why: why}}
}

// withData: there is a member on this disk.
func (p *pass) withData() Verdict {
	v, rec, data := p.v, p.v.Record, p.v.Data.Value
	if rec.Member == 0 || data.Member != rec.Member || data.Cluster != rec.Cluster {
		return p.strangeData()
	}
	if !rec.Ran {
		rec.Ran = true
		return Verdict{Reason: RecordIdentity, Detail: "etcd has written data",
			Action: WriteRecord{Why: "ran", Record: rec}}
	}
	m, listed := p.list.Find(rec.Member)
	if p.listed && !listed && p.list.Cluster == rec.Cluster && p.list.Via != rec.Member && p.listNow() {
		if !p.wanted() {
			return Verdict{Reason: Removed, Detail: "and not wanted in service: " + string(v.Lifecycle.Value)}
		}
		return p.archive(Removed, "removed-"+rec.Member.String())
	}
	switch u := v.Unit.Value; {
	case u.Queued():
		return Verdict{Reason: Starting, Detail: "systemd is about to start it"}
	case u.Stopped():
		return Verdict{Reason: StartMember, Detail: rec.Member.String(), Action: StartEtcd{Initial: p.initial()}}
	}
	switch {
	case !p.listed || !listed:
		return Verdict{Reason: Starting, Detail: v.Members.Err}
	case m.Learner:
		if ver, ok := p.withdrawUnfit(m); ok {
			return ver
		}
		return p.giveUpOr(Verdict{Reason: CatchingUp, Detail: m.ID.String()}, m)
	case !p.healthy(m, p.cfg.StaleAfter):
		return Verdict{Reason: MemberUnhealthy, Detail: v.Health[m.ID].Err}
	}
	p.next.LaunchingSince, p.next.GaveUp = time.Time{}, false
	p.next.FailingSince, p.next.Unfit = time.Time{}, Unfit{}
	return p.inService(m)
}

// inService lets the group count this node, once.
func (p *pass) inService(m Member) Verdict {
	hook, hooked := p.hook(Launching)
	if s, ok := p.state(); ok && hooked && s == StatePendingWait && p.v.Group.Known() &&
		!p.launchDone(hook) && p.healthy(m, p.cfg.ActWithin) {
		return Verdict{Reason: CompleteLaunch, Detail: hook.Name, Action: CompleteHook{Hook: hook.Name, Result: Continue}}
	}
	return Verdict{Reason: Voting, Detail: m.ID.String()}
}

// launchDone reports whether the launch hook that may wait now was completed: an instance
// that comes out of a warm pool meets it a second time.
func (p *pass) launchDone(h Hook) bool {
	r := p.v.Receipts[CompleteKey(h.Name)]
	return r.Done() && r.Succeeded.After(p.next.BackSince)
}

// strangeData decides about data that this node's record does not know: taken
// over where the cluster says that it is this node's member, archived where the
// cluster says that it is not, and left alone while nobody can tell.
func (p *pass) strangeData() Verdict {
	rec, data := p.record(), p.v.Data.Value
	who := fmt.Sprintf("member %s of cluster %s", data.Member, data.Cluster)
	if !p.listNow() {
		return Verdict{Reason: ForeignData, Detail: who + " is in the data directory, and no cluster answers that could tell whose it is"}
	}
	m, listed := p.list.Find(data.Member)
	ours := listed && p.list.Cluster == data.Cluster && (InstanceID(m.Name) == p.v.Self.Instance || hasURL(m, p.v.Self.PeerURL))
	if ours {
		rec.Member, rec.Cluster, rec.Ran, rec.Promise = data.Member, data.Cluster, true, nil
		return Verdict{Reason: Adopt, Detail: who, Action: WriteRecord{Why: string(Adopt), Record: rec}}
	}
	if !p.wanted() {
		return Verdict{Reason: ForeignData, Detail: who}
	}
	return p.archive(ForeignData, "foreign-"+data.Member.String())
}

func hasURL(m Member, url string) bool {
	for _, u := range m.PeerURLs {
		if u == url {
			return true
		}
	}
	return false
}

// wanted reports whether AWS positively says that this instance is to be in service.
func (p *pass) wanted() bool {
	return fresh(p, SourceTarget, p.v.Lifecycle, lifecycleStale) && p.v.Lifecycle.Value == TargetInService
}

// withoutData: this node has no member on disk.
func (p *pass) withoutData() Verdict {
	v := p.v
	if !fresh(p, SourceTarget, v.Lifecycle, lifecycleStale) {
		return Verdict{Reason: LifecycleUnknown, Detail: v.Lifecycle.Err}
	}
	if !p.wanted() {
		return Verdict{Reason: NotWanted, Detail: string(v.Lifecycle.Value)}
	}
	if p.next.LaunchingSince.IsZero() {
		p.next.LaunchingSince = p.now
	}
	if !v.Unit.Value.Down() {
		if v.Record.Member == 0 {
			return Verdict{Reason: StopForeign, Detail: "etcd runs without this agent's leave", Action: StopEtcd{}}
		}
		return Verdict{Reason: Starting, Detail: v.Unit.Value.Active + "/" + v.Unit.Value.Sub}
	}
	if v.Unit.Value.Queued() && v.Record.Member != 0 {
		return Verdict{Reason: Starting, Detail: "systemd is about to start it"}
	}
	if !p.listed {
		return p.firstCluster()
	}
	if g := v.Group; g.Known() && g.Value.ClusterTag != "" && g.Value.ClusterTag != p.list.Cluster.String() {
		return Verdict{Reason: TagConflict, Detail: fmt.Sprintf("the group's tag says %s, the members found are of %s",
			g.Value.ClusterTag, p.list.Cluster)}
	}
	if p.v.Record.Cluster != p.list.Cluster && !fresh(p, SourceGroup, v.Group, 2*time.Minute) {
		// Which cluster is ours, the group's tag tells; an address may have become
		// another cluster's.
		return Verdict{Reason: GroupUnknown, Detail: v.Group.Err}
	}
	if m, ok := p.me(); ok {
		return p.listedWithoutData(m)
	}
	return p.add()
}

// listedWithoutData: the cluster knows this node, but nothing is on its disk.
func (p *pass) listedWithoutData(m Member) Verdict {
	rec := p.record()
	known := rec.Member == m.ID && rec.Cluster == p.list.Cluster
	switch {
	case known && !rec.Ran:
		if ver, ok := p.withdrawUnfit(m); ok {
			return ver
		}
		return p.giveUpOr(p.startListed(rec), m)
	case !known && m.Name == "" && m.Learner:
		rec.Member, rec.Cluster, rec.Ran, rec.Promise = m.ID, p.list.Cluster, false, nil
		return Verdict{Reason: RecordIdentity, Detail: m.ID.String(), Action: WriteRecord{Why: string(RecordIdentity), Record: rec}}
	case !known && rec.Promise != nil && rec.Promise.ClusterID() == p.list.Cluster && rec.Promise.MemberID(p.v.Self.Instance) == m.ID && !rec.Ran && rec.Member == 0:
		// The cluster that this node promised runs already, and it never started.
		return p.commit(rec)
	}
	if !p.mayRemove(m.ID) {
		return Verdict{Reason: QuorumWouldBreak, Detail: "our member " + m.ID.String() + " lost its data; " + p.quorumDetail()}
	}
	return Verdict{Reason: WipedVoter, Detail: m.ID.String(),
		Action: RemoveMember{Member: m.ID, Instance: p.v.Self.Instance, Why: "data directory lost"}}
}

// startListed starts a member that never ran: with the promised list where it is
// one of the first, else as the learner it was added as.
func (p *pass) startListed(rec Record) Verdict {
	if rec.Promise != nil && rec.Promise.ClusterID() == rec.Cluster {
		return p.startFirst(rec)
	}
	if !p.listNow() {
		return Verdict{Reason: Settling, Detail: "the member list is read anew before etcd starts"}
	}
	return Verdict{Reason: StartLearner, Detail: rec.Member.String(), Action: StartEtcd{Initial: p.initial()}}
}

// initial is etcd's initial-cluster from the member list. A member that has not
// started has no name in the list: its instance's is as good, and etcd compares
// only the URLs of others.
func (p *pass) initial() []InitialMember {
	var out []InitialMember
	for _, m := range p.list.Members {
		name := string(p.list.Instance(m))
		if m.ID == p.own {
			name = string(p.v.Self.Instance)
		}
		if name == "" {
			name = "unnamed-" + m.ID.String()
		}
		for _, u := range m.PeerURLs {
			out = append(out, InitialMember{Name: name, PeerURL: u})
		}
	}
	return out
}

// add makes this node a learner, one at a time in the whole cluster.
func (p *pass) add() Verdict {
	rec := p.record()
	if rec.Member != 0 {
		if !p.listNow() || rec.Cluster == p.list.Cluster && p.list.Via == rec.Member {
			return Verdict{Reason: Settling, Detail: "waiting for a survivor's member list"}
		}
		rec.Member, rec.Cluster, rec.Ran, rec.Promise = 0, 0, false, nil
		return Verdict{Reason: Removed, Action: WriteRecord{Why: string(Removed), Record: rec}}
	}
	if ver, ok := p.awaitVersion(); ok {
		return ver
	}
	for _, m := range p.list.Members {
		switch {
		case hasURL(m, p.v.Self.PeerURL):
			return Verdict{Reason: URLTaken, Detail: fmt.Sprintf("%s of member %s (%s)", p.v.Self.PeerURL, m.ID, p.list.Instance(m))}
		case m.Learner:
			return p.giveUpOr(Verdict{Reason: LearnerAhead, Detail: fmt.Sprintf("%s (%s)", m.ID, p.list.Instance(m))}, Member{})
		}
	}
	total, healthy := p.voters(p.cfg.StaleAfter, nil)
	if !AdditionKeepsQuorum(total, healthy) {
		return Verdict{Reason: MembersUnhealthy, Detail: fmt.Sprintf("%d of %d voters are healthy", healthy, total)}
	}
	if at := p.v.Data.Value.NoRoom; at != "" {
		return p.giveUpOr(Verdict{Reason: AwaitRoom, Detail: at}, Member{})
	}
	return p.giveUpOr(Verdict{Reason: JoinLearner, Detail: p.v.Self.PeerURL,
		Action: AddLearner{Instance: p.v.Self.Instance, PeerURL: p.v.Self.PeerURL}}, Member{})
}

// giveUpOr answers with ver, or lets the group replace this node: when the launch
// hook is open, the cluster is healthy, this node itself is at fault for as long
// as LaunchTimeout, and its learner is out again.
func (p *pass) giveUpOr(ver Verdict, own Member) Verdict {
	hook, hooked := p.hook(Launching)
	s, _ := p.state()
	if !hooked || s != StatePendingWait || p.next.LaunchingSince.IsZero() || !(p.next.GaveUp || p.atFault(own)) {
		return ver
	}
	if at := p.next.LaunchingSince.Add(p.cfg.LaunchTimeout); p.now.Before(at) {
		ver.Recheck = earlier(ver.Recheck, at)
		return ver
	}
	total, healthy := p.voters(p.cfg.ActWithin, nil)
	if !p.listNow() || healthy < total {
		return ver
	}
	p.next.GaveUp = true
	if own.ID != 0 {
		return Verdict{Reason: WithdrawLearner, Detail: own.ID.String(),
			Action: RemoveMember{Member: own.ID, Instance: p.v.Self.Instance, Learner: own.Learner, Why: "launch abandoned"}}
	}
	if p.launchDone(hook) {
		return Verdict{Reason: AbandonLaunch, Detail: hook.Name}
	}
	return Verdict{Reason: AbandonLaunch, Detail: hook.Name, Action: CompleteHook{Hook: hook.Name, Result: Abandon}}
}

// atFault: etcd does not stay up here, or cannot be started, or has no room, or our calls
// to be added are refused by a healthy cluster.
func (p *pass) atFault(own Member) bool {
	u := p.v.Unit
	failing := u.Known() && u.Value.Failing()
	return failing || p.v.Data.Value.NoRoom != "" || p.v.Receipts[StartEtcd{}.Key()].Failures > 0 ||
		(own.ID == 0 && p.v.Receipts[AddLearner{}.Key()].Failures > 0)
}
