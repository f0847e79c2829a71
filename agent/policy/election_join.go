package policy

import "slices"

// best is the best plan that others publish and that this node may join now; nil: none.
func (p *pass) best(e *Election) *Plan {
	var best *Plan
	for _, v := range p.hear() {
		if v.Member == p.own || !v.plan.Open() || v.says == noWord {
			continue
		}
		pl := &v.plan.Plan
		if p.joinable(e, pl) && (best == nil || p.better(pl, best)) {
			best = pl
		}
	}
	return best
}

// better orders plans. Of two of one round, the one that a majority publishes: it may have
// been begun, and who left it for the other would take the majority from under whoever acts.
// Else the order is the same for everybody.
func (p *pass) better(a, b *Plan) bool {
	switch {
	case a.Attempt != b.Attempt:
		return a.Attempt > b.Attempt
	case a.Round != b.Round:
		return a.Round > b.Round
	}
	if first, second := p.agreed(a), p.agreed(b); first != second {
		return first
	}
	return a.ID() < b.ID()
}

// agreed reports whether a majority publishes a plan.
func (p *pass) agreed(pl *Plan) bool {
	n := 0
	for _, v := range p.hear() {
		if p.publishes(v, pl) {
			n++
		}
	}
	return n >= p.neededFor(pl)
}

// neededFor is how many must publish a plan, and say that there is no leader, by this node's
// list of voters and by the plan's: where they differ, both majorities count.
func (p *pass) neededFor(pl *Plan) int { return max(p.needed(), Quorum(len(pl.Order))) }

// publishes reports whether a voter publishes a plan. This node's own counts from its disk,
// however its etcd is.
func (p *pass) publishes(v voice, pl *Plan) bool {
	return v.plan.Open() && (v.says != noWord || v.Member == p.own) && v.plan.Plan.ID() == pl.ID()
}

// joinable reports whether this node may take part in another's plan: one of this
// cluster's voters, whose time has come here, too.
func (p *pass) joinable(e *Election, pl *Plan) bool {
	if pl.Cluster != p.v.Record.Cluster || pl.Round != OneByOne && pl.Round != AllAtOnce || !p.knowsVoters(pl.Order) {
		return false
	}
	if e.Open() {
		// What was agreed to and not begun may be left for something better; a round that
		// is over, for the next one.
		return p.better(pl, &e.Plan) && (e.Step == StepAgreed || e.Step == StepDone && pl.Attempt == e.Plan.Attempt && pl.Round == AllAtOnce) &&
			pl.Attempt <= p.mostAttempts(pl.Forced)
	}
	after, gap := p.cfg.Force.After, p.cfg.Force.Cooldown
	if pl.Forced {
		after, gap = forcedAfter, forcedGap
	}
	spent := 0
	if e != nil {
		if spent = e.Plan.Attempt; p.now.Before(e.Ended.Add(gap)) {
			return false
		}
	}
	return (p.cfg.Force.Enabled || pl.Forced) && pl.Attempt > spent && pl.Attempt <= p.mostAttempts(pl.Forced) &&
		!p.now.Before(p.next.Vote.StuckSince.Add(after))
}

// mostAttempts bounds attempts. Operators have as many again, for whoever lies to be one
// must not have etcd restarted for ever either.
func (p *pass) mostAttempts(forced bool) int {
	if forced {
		return 2 * p.cfg.Force.MaxAttempts
	}
	return p.cfg.Force.MaxAttempts
}

// knowsVoters reports whether a plan is about this node's voters, this node among them. Lists
// of voters may differ for as long as there is no leader: a member that was removed right before
// is in those that were read before that, and nobody can read it again. A majority of the longer
// list must be in both; whoever acts needs a majority by either (neededFor).
func (p *pass) knowsVoters(order []MemberID) bool {
	voters, both := p.electorate(), 0
	for _, v := range voters {
		if slices.Contains(order, v.Member) {
			both++
		}
	}
	return slices.Contains(order, p.own) && both >= Quorum(max(len(voters), len(order)))
}
