package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// groupFresh is how old the group's list may be when a first cluster rests on it.
const groupFresh = 15 * time.Second

// watchOthers asks EC2 about every instance of the group and of the promise: that
// is how their addresses are found, and whether they are gone.
func (p *pass) watchOthers(every time.Duration) []Duty {
	ids := make([]string, 0, len(p.v.Group.Value.Instances))
	for _, i := range p.v.Group.Value.Instances {
		ids = append(ids, string(i.ID))
	}
	if pr := p.v.Record.Promise; pr != nil {
		for _, m := range pr.Members {
			ids = append(ids, string(m.Instance))
		}
	}
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) == 0 {
		return nil
	}
	return []Duty{WatchInstances{Every: every, IDs: strings.Join(ids, ",")}}
}

// firstCluster is the agreement on a first cluster. Every node promises one list,
// on disk; a cluster starts only when every instance of the group, in whatever
// lifecycle state, publishes the same promise in one pass, they are as many as
// desired, and the cluster's id stands on the group before etcd first starts.
// A promise is replaced only when every node in it that EC2 does not call
// terminated says that it has not started and will not.
func (p *pass) firstCluster() Verdict {
	g, rec := p.v.Group, p.record()
	if !fresh(p, SourceGroup, g, groupFresh) {
		return Verdict{Reason: GroupUnknown, Detail: g.Err}
	}
	mine := rec.Promise
	if tag := g.Value.ClusterTag; tag != "" {
		if mine != nil && mine.ClusterID().String() == tag && !rec.Ran {
			return p.finish(rec)
		}
		return Verdict{Reason: ClusterMissing, Detail: fmt.Sprintf(
			"the group's tag names cluster %s and no member of it answers; if it is gone for good: quorumd bootstrap --fresh", tag)}
	}
	if mine != nil && mine.Committed && !rec.Ran {
		return p.finish(rec)
	}
	if rec.Member != 0 {
		return Verdict{Reason: ClusterMissing, Detail: fmt.Sprintf(
			"this node was member %s of cluster %s, of which no member answers; if it is gone for good: quorumd bootstrap --fresh", rec.Member, rec.Cluster)}
	}
	want, ver, ok := p.candidate()
	if !ok {
		// What was promised may be impossible by now: others wait for us to say so.
		if mine != nil && !mine.Withdrawn && p.listChanged(mine) {
			return p.withdraw(rec)
		}
		return ver
	}
	switch {
	case mine == nil:
		return p.promise(rec, want)
	case mine.Hash() != want.Hash() && !mine.Withdrawn:
		return p.withdraw(rec)
	case mine.Withdrawn && mine.Hash() == want.Hash():
		// The group is what it was: to stand by the same list again takes nothing from
		// anybody, and others may never have seen the change.
		return p.promise(rec, want)
	case mine.Withdrawn:
		if who, stands := p.standsBy(mine); stands {
			return Verdict{Reason: AwaitWithdrawal, Detail: who}
		}
		return p.promise(rec, want)
	}
	if missing := p.disagree(mine); len(missing) > 0 {
		return Verdict{Reason: AwaitAgreement, Detail: strings.Join(missing, ", ")}
	}
	return p.commit(rec)
}

// candidate is the list this node would promise now: all instances of the group,
// with the peer URLs that their agents publish.
func (p *pass) candidate() (*Promise, Verdict, bool) {
	g := p.v.Group.Value
	if len(g.Instances) != g.Desired || g.Desired == 0 {
		return nil, Verdict{Reason: GroupUnsettled, Detail: fmt.Sprintf("%d instances, %d desired", len(g.Instances), g.Desired)}, false
	}
	if _, ok := g.Find(p.v.Self.Instance); !ok {
		return nil, Verdict{Reason: NotInGroup, Detail: g.Name}, false
	}
	want := &Promise{GroupARN: g.ARN}
	var silent, data []string
	for _, i := range g.Instances {
		if i.State.Leaving() {
			return nil, Verdict{Reason: GroupUnsettled, Detail: string(i.ID) + " is " + string(i.State)}, false
		}
		url := p.v.Self.PeerURL
		if i.ID != p.v.Self.Instance {
			f := p.v.Peers[i.ID]
			if !fresh(p, SourcePeers, f, p.cfg.StaleAfter) {
				silent = append(silent, string(i.ID))
				continue
			}
			if f.Value.HasData || f.Value.Member != 0 {
				data = append(data, string(i.ID))
			}
			url = f.Value.PeerURL
		}
		want.Members = append(want.Members, PromisedMember{Instance: i.ID, PeerURL: url})
	}
	switch {
	case len(silent) > 0:
		return nil, Verdict{Reason: PeersSilent, Detail: strings.Join(silent, ", ")}, false
	case len(data) > 0:
		// Where it started what was promised, the tag is on the group or about to be.
		return nil, Verdict{Reason: PeersHaveData, Detail: strings.Join(data, ", "), Duties: []Duty{WatchGroup{Every: time.Second}}}, false
	}
	return want, Verdict{}, true
}

// listChanged reports whether the group is surely not the promised list any more.
func (p *pass) listChanged(mine *Promise) bool {
	g := p.v.Group.Value
	if g.Desired != len(mine.Members) || len(g.Instances) != len(mine.Members) {
		return true
	}
	for _, i := range g.Instances {
		if !mine.Has(i.ID) || i.State.Leaving() {
			return true
		}
	}
	return false
}

func (p *pass) promise(rec Record, want *Promise) Verdict {
	if at := p.v.Data.Value.NoRoom; at != "" {
		// Others must not rest on an etcd that cannot start.
		return Verdict{Reason: AwaitRoom, Detail: at}
	}
	rec.Promise = want
	return Verdict{Reason: PromiseFirst, Detail: want.String(), Action: WriteRecord{Why: string(PromiseFirst), Record: rec}}
}

func (p *pass) withdraw(rec Record) Verdict {
	pr := *rec.Promise
	pr.Withdrawn = true
	rec.Promise = &pr
	return Verdict{Reason: Withdraw, Detail: pr.String(), Action: WriteRecord{Why: string(Withdraw), Record: rec}}
}

// standsBy names a node that may still start the promised list: one that EC2 does
// not call terminated, and that does not say that it withdrew or moved on.
func (p *pass) standsBy(mine *Promise) (string, bool) {
	hash := mine.Hash()
	for _, m := range mine.Members {
		if m.Instance == p.v.Self.Instance || p.v.Instances.Value[m.Instance].State == InstanceTerminated {
			continue
		}
		f := p.v.Peers[m.Instance]
		if !fresh(p, SourcePeers, f, p.cfg.StaleAfter) || !p.afterOwnWord(f.At) {
			return string(m.Instance) + " does not answer", true
		}
		theirs := f.Value.Promise
		if f.Value.HasData || f.Value.Member != 0 {
			return string(m.Instance) + " has started", true
		}
		if theirs.Stands() && theirs.Hash() == hash {
			return string(m.Instance) + " stands by the old list", true
		}
	}
	return "", false
}

// disagree names the instances of the group that do not publish this promise now.
func (p *pass) disagree(mine *Promise) []string {
	var missing []string
	hash := mine.Hash()
	for _, i := range p.v.Group.Value.Instances {
		if i.ID == p.v.Self.Instance {
			continue
		}
		f := p.v.Peers[i.ID]
		theirs := f.Value.Promise
		if !fresh(p, SourcePeers, f, p.cfg.ActWithin) || !p.afterOwnWord(f.At) || !theirs.Stands() || theirs.Hash() != hash {
			missing = append(missing, string(i.ID))
		}
	}
	return missing
}

// afterOwnWord reports whether an observation began after this node's own record
// was last written: what others said before may rest on what we said before.
func (p *pass) afterOwnWord(at time.Time) bool {
	return at.After(p.v.Receipts[WriteRecord{}.Key()].Ended)
}

// commit writes down, before anything else, that this node may start the list.
func (p *pass) commit(rec Record) Verdict {
	pr := *rec.Promise
	pr.Committed = true
	rec.Promise = &pr
	rec.Member, rec.Cluster, rec.Ran = pr.MemberID(p.v.Self.Instance), pr.ClusterID(), false
	return Verdict{Reason: CommitFirst, Detail: "cluster " + rec.Cluster.String(), Action: WriteRecord{Why: string(CommitFirst), Record: rec}}
}

// finish goes on with a promise that is committed, or that the group's tag names:
// the tag is on the group and read back, then etcd starts.
func (p *pass) finish(rec Record) Verdict {
	if !rec.Promise.Committed {
		return p.commit(rec)
	}
	if p.v.Group.Value.ClusterTag == "" {
		// AWS shows a tag some seconds after it took it: it is not written again at
		// every look.
		if r := p.v.Receipts[WriteTag{}.Key()]; r.Done() {
			if again := r.Succeeded.Add(groupFresh); p.now.Before(again) {
				return Verdict{Reason: TagFirst, Detail: "not shown yet", Recheck: again}
			}
		}
		return Verdict{Reason: TagFirst, Detail: rec.Cluster.String(), Action: WriteTag{Cluster: rec.Cluster}}
	}
	return p.startFirst(rec)
}

func (p *pass) startFirst(rec Record) Verdict {
	return Verdict{Reason: StartFirst, Detail: "cluster " + rec.Cluster.String(),
		Action: StartEtcd{New: true, Initial: rec.Promise.Initial(), Token: rec.Promise.Token()}}
}

// forming names a node that stands by the same first cluster as this one, which has
// not run as a member of it yet: to forget the promise now would leave the others
// without a vote that they count on.
func (p *pass) forming(rec Record) (InstanceID, bool) {
	mine := rec.Promise
	if !mine.Stands() || rec.Ran {
		return "", false
	}
	for _, i := range p.v.Group.Value.Instances {
		theirs := p.v.Peers[i.ID].Value.Promise
		if i.ID != p.v.Self.Instance && theirs.Stands() && theirs.Hash() == mine.Hash() {
			return i.ID, true
		}
	}
	return "", false
}

// freshStart removes the tag of a cluster of which nothing is left, so that the
// group agrees on a new one.
func (p *pass) freshStart(r Request) Verdict {
	refuse := func(why string) Verdict {
		return Verdict{Reason: FreshRefused, Detail: why, Action: AnswerRequest{ID: r.ID, Answer: why}}
	}
	g := p.v.Group
	// Until it is answered nothing is promised: what is forgotten here would be
	// promised anew at once, from a group that still shows the old tag.
	wait := func(r Reason, detail string, a Action) Verdict {
		return Verdict{Reason: r, Detail: detail, Action: a, Blocks: []Concern{ConcernJoin},
			Duties: []Duty{WatchGroup{Every: 2 * time.Second}, WatchClosely{}}}
	}
	if !fresh(p, SourceGroup, g, groupFresh) {
		return wait(GroupUnknown, g.Err, nil)
	}
	if p.listed {
		return refuse(fmt.Sprintf("a member of cluster %s answers: nothing to start anew", p.list.Cluster))
	}
	for _, i := range g.Value.Instances {
		if i.ID == p.v.Self.Instance {
			continue
		}
		f := p.v.Peers[i.ID]
		switch {
		case !fresh(p, SourcePeers, f, p.cfg.StaleAfter):
			return refuse(fmt.Sprintf("the agent of %s does not answer, so it may hold a member of the cluster", i.ID))
		case f.Value.HasData:
			return refuse(fmt.Sprintf("%s has etcd data of cluster %s: start that member, or archive its data directory, first", i.ID, f.Value.Cluster))
		case !fresh(p, SourcePeers, f, p.cfg.ActWithin):
			return wait(PeersSilent, string(i.ID)+" is asked anew", nil)
		}
	}
	if !p.v.Data.Known() || !p.v.Data.Value.Empty {
		return refuse("this node has etcd data: start that member, or archive its data directory, first")
	}
	rec := p.record()
	if who, forming := p.forming(rec); forming {
		return refuse(fmt.Sprintf("this node and %s are forming cluster %s now: nothing to start anew", who, rec.Promise.ClusterID()))
	}
	if rec.Member != 0 || rec.Promise != nil {
		rec.Member, rec.Cluster, rec.Ran, rec.Promise = 0, 0, false, nil
		return wait(FreshAllowed, "forgetting the old identity", WriteRecord{Why: string(FreshAllowed), Record: rec})
	}
	if tag := g.Value.ClusterTag; tag != "" {
		// AWS shows for some seconds what it has removed.
		if r := p.v.Receipts[DeleteTag{}.Key()]; r.Done() && p.now.Before(r.Succeeded.Add(groupFresh)) {
			ver := wait(FreshAllowed, "the tag's removal is not shown yet", nil)
			ver.Recheck = r.Succeeded.Add(groupFresh)
			return ver
		}
		return wait(FreshAllowed, "removing the tag "+tag, DeleteTag{Value: tag})
	}
	return Verdict{Reason: FreshAllowed, Action: AnswerRequest{ID: r.ID, OK: true,
		Answer: "the group bears no cluster tag any more; its agents now agree on a new cluster"}}
}
