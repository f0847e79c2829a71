package policy

import (
	"fmt"
	"time"
)

const (
	// turnTime is how long a plan waits for one member, at most.
	turnTime = 60 * time.Second
	// settleTime is how long after a member was started again a leader is waited for.
	settleTime = 5 * time.Second
	// proposeGap is between the instants at which voters propose a plan, the one with the
	// least id first.
	proposeGap = 3 * time.Second
	// planSlack is what a plan may take beyond all turns.
	planSlack = time.Minute
	// forcedGap is between two plans that operators asked for.
	forcedGap = time.Minute
)

// election restarts an etcd that does not elect a leader, across the peers and in
// agreement: design.md section 6.
func election(p *pass) Verdict {
	f, e := p.found, p.plan()
	ver := p.elect(f, e)
	switch {
	case e.Open():
		ver.Duties = append(ver.Duties, WatchPlan{})
		ver.Blocks = append(ver.Blocks, ConcernReboot)
		if e.Plan.Round == AllAtOnce && (e.Step == StepActing || e.Step == StepStopped) && e.By.Equal(p.v.Started) {
			ver.Blocks = append(ver.Blocks, ConcernJoin) // else it would start what is to be stopped
		}
	case f.Reason != NoVote && !f.leads:
		ver.Duties = append(ver.Duties, WatchClosely{})
	}
	return ver
}

// plan is the plan on this node's disk, of its present cluster; nil: none.
func (p *pass) plan() *Election {
	r := p.v.Record
	if r.Instance != p.v.Self.Instance || r.Election == nil || r.Election.Plan.Cluster != r.Cluster {
		return nil
	}
	return r.Election
}

// elect answers the question itself. An attempt that another process began is spent: this
// one only sees to it that etcd runs.
func (p *pass) elect(f finding, e *Election) Verdict {
	switch {
	case f.Reason == NoVote && !e.Open():
		return Verdict{Reason: NoVote}
	case e.Open() && !e.By.Equal(p.v.Started) && e.Step != StepDone:
		if p.stoppedHere(e) {
			return p.startAgain(e) // at once: an agent that ends again and again must not leave it stopped
		}
		return p.write(e, StepDone, ElectionCut, "begun by an agent that ended")
	case p.stoppedHere(e) && (f.leads || p.v.Record.Leaving != nil):
		return p.startAgain(e)
	case f.leads && e.Open():
		return p.write(e, StepClosed, ElectionWon, e.Plan.ID())
	case f.leads:
		return p.withLeader(f, e)
	case e.Open():
		return p.follow(f, e)
	case !f.hopeful:
		return Verdict{Reason: f.Reason, Detail: f.Detail}
	}
	return p.consider(f, e)
}

// stoppedHere reports whether etcd is, may be, or is about to be stopped for a plan: then
// it is this concern's to start, whatever comes. A node that is told to go would not start it.
func (p *pass) stoppedHere(e *Election) bool {
	u := p.v.Unit
	return e.Open() && e.Plan.Round == AllAtOnce && (e.Step == StepActing || e.Step == StepStopped) &&
		(!u.Known() || u.Value.Stopped() || u.Value.Active == "deactivating")
}

// startAgain starts what was stopped for a plan.
func (p *pass) startAgain(e *Election) Verdict {
	if !p.v.Unit.Known() {
		return Verdict{Reason: UnitUnknown, Detail: p.v.Unit.Err}
	}
	return Verdict{Reason: StartStuck, Detail: e.Plan.ID(), Action: StartEtcd{Initial: p.initial()}}
}

// withLeader: nothing to do but, a while later, to count attempts anew.
func (p *pass) withLeader(f finding, e *Election) Verdict {
	ver := Verdict{Reason: f.Reason, Detail: f.Detail}
	if back, held := p.thawed(); held && (f.Reason != FrozenMember || back.Action != nil) {
		ver = back
	} else if f.Reason == FrozenMember {
		ver = p.frozen(f)
	}
	if e == nil || ver.Action != nil {
		return ver
	}
	again := later(p.next.Vote.LedSince, e.Ended).Add(p.cfg.Force.Cooldown)
	if p.now.Before(again) {
		ver.Recheck = earlier(ver.Recheck, again)
		return ver
	}
	r := p.record()
	r.Election = nil
	ver.Detail, ver.Action = "attempts are counted anew", WriteRecord{Why: "election over", Record: r}
	return ver
}

// consider: etcd is stuck and no plan is open here.
func (p *pass) consider(f finding, e *Election) Verdict {
	since, spent := p.next.Vote.StuckSince, 0
	if e != nil {
		spent = e.Plan.Attempt
	}
	if best := p.best(e); best != nil {
		return p.adopt(*best)
	}
	cfg := p.cfg.Force
	due := since.Add(cfg.After)
	switch {
	case !cfg.Enabled:
		return Verdict{Reason: ElectionOff, Detail: f.Detail}
	case p.now.Before(due):
		return Verdict{Reason: Electing, Detail: f.Detail, Recheck: earlier(p.forcedDue(e), due)}
	case spent >= cfg.MaxAttempts:
		return Verdict{Reason: AttemptsSpent, Detail: fmt.Sprintf("%d", spent)}
	case e != nil && p.now.Before(e.Ended.Add(cfg.Cooldown)):
		return Verdict{Reason: ElectionCooldown, Detail: fmt.Sprintf("attempt %d", spent), Recheck: e.Ended.Add(cfg.Cooldown)}
	case e != nil:
		due = later(due, e.Ended.Add(cfg.Cooldown))
	}
	if who, until := p.awayForReboot(); p.now.Before(until) {
		return Verdict{Reason: AwaitHolder, Detail: who, Recheck: until}
	}
	return p.propose(Plan{Attempt: spent + 1, Round: OneByOne}, due)
}

// awayForReboot names the member whose machine was about to reboot under the lock when
// the lock was last read, and that has not come back; until is how long that may take.
// With its return there may be a leader without any restart.
func (p *pass) awayForReboot() (who string, until time.Time) {
	for _, h := range p.v.Lock.Value.Holders {
		if h.Phase != Acting || h.Reason == HoldLeaving || h.Cluster != p.v.Record.Cluster || h.Instance == p.v.Self.Instance {
			continue
		}
		for _, v := range p.hear() {
			if v.Member == h.Member && (v.says == noWord || v.says == starting) {
				return string(h.Instance) + " reboots (" + string(h.Reason) + ")", p.v.Lock.At.Add(rebootWithin)
			}
		}
	}
	return "", time.Time{}
}

// forcedDue is when a plan that an operator asked for elsewhere could be joined: the
// same words then decide differently. Zero: at no later instant.
func (p *pass) forcedDue(e *Election) time.Time {
	at := p.next.Vote.StuckSince.Add(forcedAfter)
	if e != nil {
		at = later(at, e.Ended.Add(forcedGap))
	}
	if p.now.Before(at) {
		return at
	}
	return time.Time{}
}

// propose publishes a plan of this node's own, unless another voter's turn to do so is
// first; since is when it was due.
func (p *pass) propose(pl Plan, since time.Time) Verdict {
	rank := 0
	for _, v := range p.hear() {
		if v.Member < p.own && v.stuck() {
			rank++
		}
	}
	if at := since.Add(time.Duration(rank) * proposeGap); p.now.Before(at) {
		return Verdict{Reason: AwaitPlan, Detail: "a voter with a lesser id proposes first", Recheck: at}
	}
	pl.Cluster, pl.Proposer, pl.At, pl.Order = p.v.Record.Cluster, p.own, p.now, p.restartOrder()
	ver := p.adopt(pl)
	ver.Reason = ProposePlan
	return ver
}

// adopt takes part in a plan, on disk first.
func (p *pass) adopt(pl Plan) Verdict {
	return p.write(&Election{Plan: pl, Since: p.now}, StepAgreed, JoinPlan, fmt.Sprintf("attempt %d, round %d, order %v", pl.Attempt, pl.Round, pl.Order))
}

// write changes the step of a plan on disk.
func (p *pass) write(e *Election, s Step, why Reason, detail string) Verdict {
	r, next := p.record(), *e
	next.Step, next.By = s, p.v.Started
	if s == StepClosed {
		next.Ended = p.now
	}
	r.Election = &next
	return Verdict{Reason: why, Detail: detail, Action: WriteRecord{Why: string(why), Record: r}}
}

// follow goes on with an open plan.
func (p *pass) follow(f finding, e *Election) Verdict {
	st := &p.next.Vote
	if id := e.Plan.ID(); st.Plan != id {
		*st = VoteState{StuckSince: st.StuckSince, LedSince: st.LedSince, SilentSince: st.SilentSince, Plan: id, Since: p.now}
	}
	if best := p.best(e); best != nil {
		return p.adopt(*best)
	}
	n := time.Duration(len(e.Plan.Order))
	limit := st.Since.Add(n*(turnTime+settleTime) + planSlack)
	if e.Plan.Round == AllAtOnce {
		limit = st.Since.Add(2*turnTime + p.cfg.Force.Pause + planSlack)
	}
	if !p.now.Before(limit) {
		if p.stoppedHere(e) {
			return p.startAgain(e)
		}
		return p.write(e, StepClosed, ElectionFailed, fmt.Sprintf("attempt %d, round %d: no leader", e.Plan.Attempt, e.Plan.Round))
	}
	agreed, hopeful := p.support(e)
	var ver Verdict
	if e.Plan.Round == OneByOne {
		ver = p.oneByOne(f, e, agreed, hopeful)
	} else {
		ver = p.together(e, agreed, hopeful)
	}
	if ver.Action == nil {
		ver.Recheck = earlier(ver.Recheck, limit)
	}
	return ver
}

// support counts who publishes this plan, and whether a majority still says that there
// is no leader: a member that is being restarted for the plan said so before.
func (p *pass) support(e *Election) (agreed, hopeful bool) {
	stuck, against := 0, 0
	own := voice{}
	for _, v := range p.hear() {
		mine := p.publishes(v, &e.Plan)
		if v.Member == p.own {
			own = v
		}
		switch {
		case v.says == serving || v.says == led || v.says == cannotTell || v.word.NoSpace && v.says != noWord || v.word.Corrupt && v.says != noWord:
			against++
		case v.stuck(), mine && v.says == starting && (v.plan.Step == StepActing || v.plan.Step == StepStopped):
			stuck++
		}
	}
	return p.agreed(&e.Plan), stuck >= p.neededFor(&e.Plan) && against == 0 && !p.reads() && own.stuck()
}

// oneByOne is the first round: one member after another.
func (p *pass) oneByOne(f finding, e *Election, agreed, hopeful bool) Verdict {
	st, me := &p.next.Vote, e.Plan.Index(p.own)
	next := p.turns(e, agreed)
	wait := func(r Reason, detail string) Verdict { return Verdict{Reason: r, Detail: detail, Recheck: next} }
	switch {
	case e.Step == StepAgreed && !agreed:
		return wait(AwaitPlan, "a majority must publish the plan")
	case e.Step == StepAgreed && st.Turn < me:
		return wait(AwaitTurn, fmt.Sprintf("%s is first", e.Plan.Order[st.Turn]))
	case e.Step == StepAgreed && st.Turn == me && !hopeful:
		return wait(Electing, f.Detail)
	case e.Step == StepAgreed && st.Turn == me:
		return p.write(e, StepActing, BeginRestart, e.Plan.ID())
	case e.Step == StepActing:
		return p.restartInTurn(e, agreed && hopeful, wait)
	case st.Turn == len(e.Plan.Order) && f.hopeful:
		return p.propose(Plan{Attempt: e.Plan.Attempt, Round: AllAtOnce, Forced: e.Plan.Forced}, st.OverSince)
	}
	return wait(AwaitLeader, f.Detail)
}

// restartInTurn saves a snapshot, restarts etcd, and says so; stands tells whether a
// majority still publishes the plan and says that there is no leader.
func (p *pass) restartInTurn(e *Election, stands bool, wait func(Reason, string) Verdict) Verdict {
	id := e.Plan.ID()
	act := RestartEtcd{Plan: id, Initial: p.initial()}
	r, tried := p.v.Receipts[act.Key()]
	switch {
	case r.Done():
		return p.write(e, StepDone, Restarted, id)
	case p.next.Vote.Turn > e.Plan.Index(p.own):
		return p.write(e, StepDone, Restarted, "its turn is over")
	case !tried && !stands:
		return wait(Electing, "the words have changed since its turn began")
	case !p.saved(id):
		return Verdict{Reason: SaveFirst, Action: SaveSnapshot{Plan: id}}
	case !stands:
		return wait(Electing, "the words have changed since its turn began")
	}
	return Verdict{Reason: RestartStuck, Detail: id, Action: act}
}

// saved reports whether a snapshot was saved for a plan, or tried: it is best effort.
func (p *pass) saved(id string) bool {
	_, tried := p.v.Receipts[SaveSnapshot{Plan: id}.Key()]
	return tried
}

// turns goes on to whose turn it is, and gives when that may change by itself.
func (p *pass) turns(e *Election, agreed bool) (next time.Time) {
	st := &p.next.Vote
	if st.TurnSince.IsZero() {
		if !agreed {
			return time.Time{}
		}
		st.TurnSince = p.now
	}
	for st.Turn < len(e.Plan.Order) {
		st.DoneSince = keep(st.DoneSince, p.now, p.done(e, e.Plan.Order[st.Turn]))
		at := st.TurnSince.Add(turnTime)
		if !st.DoneSince.IsZero() {
			at = st.DoneSince.Add(settleTime)
		}
		if p.now.Before(at) {
			return at
		}
		st.Turn, st.TurnSince, st.DoneSince = st.Turn+1, p.now, time.Time{}
	}
	st.OverSince = keep(st.OverSince, p.now, true)
	return time.Time{}
}

// done reports whether a member has had its turn, by its own agent's word, and its etcd
// says something again: a slow start is no failed one. Whose agent is done with another
// plan of the same round joins this one never (joinable), so its turn is not waited for: an
// agent that was killed after it had proposed leaves such a plan behind.
func (p *pass) done(e *Election, id MemberID) bool {
	for _, v := range p.hear() {
		if v.Member != id || v.says == noWord || v.says == silent || v.says == starting {
			continue
		}
		if id == p.own {
			return e.Step == StepDone
		}
		return v.plan != nil && v.plan.Plan.Cluster == e.Plan.Cluster && v.plan.Plan.Attempt == e.Plan.Attempt && v.plan.Plan.Round == e.Plan.Round &&
			(v.plan.Step == StepDone || v.plan.Step == StepClosed)
	}
	return false
}

// together is the second round: all stop, and after a pause start again.
func (p *pass) together(e *Election, agreed, hopeful bool) Verdict {
	id := e.Plan.ID()
	switch u := p.v.Unit; {
	case e.Step == StepAgreed && !agreed:
		return Verdict{Reason: AwaitPlan, Detail: "a majority must publish the plan"}
	case e.Step == StepAgreed && !hopeful:
		return Verdict{Reason: Electing, Detail: "the words have changed since the plan was made"}
	case (e.Step == StepAgreed || e.Step == StepActing && u.Known() && !u.Value.Stopped()) && p.v.Record.Leaving != nil:
		return p.write(e, StepDone, Restarted, "a node that leaves is not stopped")
	case e.Step == StepAgreed:
		return p.write(e, StepActing, BeginRestart, id)
	case e.Step == StepDone:
		return Verdict{Reason: AwaitLeader}
	case !u.Known():
		return Verdict{Reason: UnitUnknown, Detail: u.Err}
	case e.Step == StepActing && u.Value.Stopped():
		return p.write(e, StepStopped, StopStuck, id)
	case e.Step == StepActing && !(agreed && hopeful):
		return Verdict{Reason: Electing, Detail: "the words have changed since the plan was begun"}
	case e.Step == StepActing && !p.saved(id):
		return Verdict{Reason: SaveFirst, Action: SaveSnapshot{Plan: id}}
	case e.Step == StepActing:
		return Verdict{Reason: StopStuck, Detail: id, Action: StopEtcd{}}
	case !u.Value.Stopped():
		return p.write(e, StepDone, StartStuck, id)
	}
	return p.pauseThenStart(e)
}

// pauseThenStart waits until everybody who takes part is stopped, or had the time.
func (p *pass) pauseThenStart(e *Election) Verdict {
	st, id := &p.next.Vote, e.Plan.ID()
	st.StoppedSince = keep(st.StoppedSince, p.now, true)
	all := true
	for _, v := range p.hear() {
		if v.Member != p.own && v.plan.Open() && v.plan.Plan.ID() == id && (v.plan.Step == StepAgreed || v.plan.Step == StepActing) {
			all = false
		}
	}
	over := st.StoppedSince.Add(turnTime)
	st.AllStoppedSince = keep(st.AllStoppedSince, p.now, all || !p.now.Before(over) || !st.AllStoppedSince.IsZero())
	if st.AllStoppedSince.IsZero() {
		return Verdict{Reason: AwaitStopped, Recheck: over}
	}
	if at := st.AllStoppedSince.Add(p.cfg.Force.Pause); p.now.Before(at) {
		return Verdict{Reason: PauseStopped, Recheck: at}
	}
	return p.startAgain(e)
}

// forceElection is an operator's wish for a plan now: the same agreement, without the
// waiting time, refused where a restart cannot help.
func (p *pass) forceElection(r Request) Verdict {
	f, e := p.found, p.plan()
	refuse := func(why Reason, detail string) Verdict {
		return Verdict{Reason: ElectionRefused, Detail: string(why),
			Action: AnswerRequest{ID: r.ID, Reason: why, Answer: string(why) + ": " + detail}}
	}
	switch {
	case e.Open():
		return Verdict{Reason: ElectionAsked, Action: AnswerRequest{ID: r.ID, OK: true,
			Answer: fmt.Sprintf("attempt %d, round %d is under way: quorumd status shows each member's step", e.Plan.Attempt, e.Plan.Round)}}
	case !f.hopeful:
		return refuse(f.Reason, f.Detail)
	}
	spent, due := 0, p.next.Vote.StuckSince.Add(forcedAfter)
	if e != nil {
		spent, due = e.Plan.Attempt, later(due, e.Ended.Add(forcedGap))
	}
	switch {
	case spent >= p.mostAttempts(true):
		return refuse(AttemptsSpent, fmt.Sprintf("%d", spent))
	case p.now.Before(due):
		return Verdict{Reason: ElectionAsked, Detail: "etcd may still elect one by itself", Recheck: due, Duties: []Duty{WatchClosely{}}}
	}
	pl := Plan{Attempt: spent + 1, Round: OneByOne, Forced: true, Cluster: p.v.Record.Cluster, Proposer: p.own, At: p.now, Order: p.restartOrder()}
	ver := p.adopt(pl)
	ver.Reason = ElectionAsked
	return ver
}
