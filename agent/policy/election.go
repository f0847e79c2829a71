package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ForceConfig is the part of the configuration about an etcd that does not elect a
// leader although enough members are there.
type ForceConfig struct {
	// Enabled: without an operator's word, too.
	Enabled bool
	// After is how long a majority must be without a leader.
	After time.Duration
	// Pause is between the stop and the start of all, in the second round.
	Pause time.Duration
	// Cooldown is the time between two attempts, and how long a leader must have been
	// there before attempts are counted anew.
	Cooldown    time.Duration
	MaxAttempts int
}

const (
	// evidenceAge is how old a word may be that speaks for a restart: two polls of
	// another agent (2 s and a little) and one look at an etcd that does not answer.
	evidenceAge = 6 * time.Second
	// forcedAfter is what an operator's word makes of ForceConfig.After: etcd's own
	// elections take a second or two.
	forcedAfter = 5 * time.Second
)

// VoteState is what one view cannot show of an election.
type VoteState struct {
	// StuckSince is since when a majority has said that it knows no leader; LedSince
	// since when a leader has been there; zero: not so now.
	StuckSince, LedSince time.Time
	// SilentSince is since when this node's etcd answers nothing at all.
	SilentSince time.Time
	// Plan is the plan that the rest is about.
	Plan string
	// Since is when this process began to follow it; OverSince when its last turn was over.
	Since, OverSince time.Time
	// Turn is whose turn it is, by index; TurnSince since when (zero: not begun), DoneSince
	// since when that member says that it is done.
	Turn                 int
	TurnSince, DoneSince time.Time
	// StoppedSince is since when this node's etcd is stopped for the plan; AllStoppedSince
	// since when everybody's is whose agent takes part.
	StoppedSince, AllStoppedSince time.Time
}

// evidence is what a voter's word proves.
type evidence int

const (
	noWord     evidence = iota // its agent does not answer, or what it said is too old
	serving                    // it has a leader and commits
	led                        // it knows a leader
	leaderless                 // it runs and knows none
	silent                     // it runs and none of its ports accepts requests
	starting                   // it is stopped, or its process has not answered yet
	cannotTell                 // certificates, passwords or what is not understood
)

// voice is one voter's word.
type voice struct {
	Voter
	says evidence
	word EtcdWord
	// plan and step are what it publishes, if that is fresh.
	plan *Election
}

// stuck reports whether the voice speaks for a restart.
func (v voice) stuck() bool { return v.says == leaderless || v.says == silent }

// youngWord reports whether a word is at most maxAge old, and notes until when.
func (p *pass) youngWord(s Source, at time.Time, age, maxAge time.Duration) bool {
	until := at.Add(maxAge - age)
	if p.now.After(until) {
		p.wants[s] = true
		return false
	}
	p.expires[s] = earlier(p.expires[s], until.Add(1))
	return true
}

// hear collects every voter's word, in the order of their ids.
func (p *pass) hear() []voice {
	if p.voices != nil {
		return p.voices
	}
	for _, voter := range p.electorate() {
		v := voice{Voter: voter}
		if voter.Member == p.own {
			v.word = p.ownWord()
			v.says = p.weigh(SourcePulse, p.v.Pulse.At, v.word)
			v.plan = p.v.Record.Election
		} else if f := p.v.Peers[voter.Instance]; f.Known() && f.Value.Member == voter.Member && f.Value.Cluster == p.v.Record.Cluster {
			v.word = f.Value.Etcd
			v.says = p.weigh(SourcePeers, f.At, v.word)
			if e := f.Value.Election; e != nil && p.youngWord(SourcePeers, f.At, 0, evidenceAge) {
				v.plan = e
			}
		}
		p.voices = append(p.voices, v)
	}
	return p.voices
}

// electorate are the voters as last known: from etcd's list, else from disk. A node that
// leaves has none from disk: its own member may be out of the list by now, and others in it.
func (p *pass) electorate() []Voter {
	if p.v.Members.Ever() && p.list.Cluster == p.v.Record.Cluster {
		return VotersOf(p.list)
	}
	if p.v.Record.Leaving != nil {
		return nil
	}
	return p.v.Record.Voters
}

// needed is how many voters' words a restart needs: a learner that was seen last, and does
// not itself say that it still is one, may vote by now.
func (p *pass) needed() int {
	n := len(p.electorate())
	if p.v.Members.Ever() && p.list.Cluster == p.v.Record.Cluster {
		for _, m := range p.list.Members {
			if m.Learner && !p.saysLearner(m) {
				n++
			}
		}
	}
	return Quorum(n)
}

// saysLearner reports whether a member's own agent says that it is a learner.
func (p *pass) saysLearner(m Member) bool {
	f := p.v.Peers[p.list.Instance(m)]
	w := f.Value.Etcd
	return f.Known() && f.Value.Member == m.ID && f.Value.Cluster == p.v.Record.Cluster && w.Known && w.Learner &&
		p.youngWord(SourcePeers, f.At, w.Age, evidenceAge)
}

// ownWord is what this agent would say to another one.
func (p *pass) ownWord() EtcdWord {
	v := p.v
	w := EtcdWord{Known: v.Pulse.Known() && v.Unit.Known(), Pulse: v.Pulse.Value}
	w.Active = v.Unit.Known() && v.Unit.Value.Active == "active"
	w.Running = v.Unit.Known() && !v.Unit.Value.Down()
	w.Disk = v.Data.Known() && !v.Data.Value.Empty && v.Data.Value.Member == v.Record.Member
	return w
}

// weigh tells what a word proves. What speaks against a restart may be older than what
// speaks for it.
func (p *pass) weigh(s Source, at time.Time, w EtcdWord) evidence {
	if !w.Known || !p.youngWord(s, at, w.Age, p.cfg.StaleAfter) {
		return noWord
	}
	switch {
	case !w.Running:
	case w.Serves:
		return serving
	case w.Leader == LeaderSome:
		return led
	}
	if !p.youngWord(s, at, w.Age, evidenceAge) {
		return noWord
	}
	switch {
	case !w.Running, w.Silent() && !w.Active && !w.Met:
		return starting // it may load its data: silence then is no sign
	case w.Learner:
		return starting
	case w.Silent():
		return silent
	case w.Leader == LeaderNone:
		return leaderless
	}
	return cannotTell
}

// tally is what all words together say.
type tally struct {
	voters, need                        int
	serving, led, stuck, mute, starting int
	disks, cannot                       int
	hidden                              int // of those that know a leader: their clients' port is closed to their own agent
	own                                 voice
	member                              bool // this node votes
	noSpace, corrupt                    []string
}

func (p *pass) count() tally {
	voices := p.hear()
	t := tally{voters: len(voices), need: Quorum(len(voices))}
	for _, v := range voices {
		if v.Member == p.own {
			t.own, t.member = v, true
		}
		switch v.says {
		case noWord:
			t.mute++
		case serving:
			t.serving++
		case led:
			t.led++
			if v.word.Client.Answer == PortCannotTell {
				t.hidden++
			}
		case leaderless, silent:
			t.stuck++
		case starting:
			t.starting++
		case cannotTell:
			t.cannot++
		}
		if v.says != noWord && v.word.Disk {
			t.disks++
		}
		if v.says != noWord && v.word.NoSpace {
			t.noSpace = append(t.noSpace, v.Member.String())
		}
		if v.says != noWord && v.word.Corrupt {
			t.corrupt = append(t.corrupt, v.Member.String())
		}
	}
	return t
}

// lostVoters counts those that are gone for good, or whose agent says that there is no
// data of theirs and nothing runs.
func (p *pass) lostVoters() (n int) {
	for _, v := range p.hear() {
		if p.terminated(v.Instance) || v.says != noWord && !v.word.Disk && !v.word.Running {
			n++
		}
	}
	return n
}

// finding is what the words come to. hopeful: a majority says that there is no leader,
// and restarting could help.
type finding struct {
	Reason  Reason
	Detail  string
	hopeful bool
	leads   bool // there is a leader, and it commits
}

// find tells the states of an etcd without a leader apart.
func (p *pass) find() finding {
	t := p.count()
	of := func(n int) string { return fmt.Sprintf("%d of %d voters", n, t.voters) }
	switch {
	case p.own == 0 || !t.member:
		return finding{Reason: NoVote}
	case t.serving > 0 || p.reads():
		return p.findLed(t)
	case t.own.says == noWord:
		return finding{Reason: ElectionCannotTell, Detail: "this node's etcd was not looked at lately: " + p.v.Pulse.Err}
	case t.led >= t.need && t.led-t.hidden < t.need:
		return finding{Reason: ElectionCannotTell, Detail: p.leaderNamed() + " leads by the word of " + of(t.led) + "; whether it commits cannot be told: certificates or passwords"}
	case t.led >= t.need:
		return finding{Reason: LeaderStalled, Detail: p.leaderNamed() + " leads by the word of " + of(t.led) + " and commits nothing; etcd elects another by itself"}
	case t.cannot > 0:
		return finding{Reason: ElectionCannotTell, Detail: p.whoSays(cannotTell) + ": certificates, passwords or an answer that is not understood"}
	case t.voters-p.lostVoters() < t.need:
		return finding{Reason: MajorityLost, Detail: of(p.lostVoters()) + " are gone for good or have no data"}
	case len(t.corrupt) > 0:
		return finding{Reason: AlarmCorrupt, Detail: strings.Join(t.corrupt, ", ")}
	case len(t.noSpace) > 0:
		return finding{Reason: AlarmNoSpace, Detail: strings.Join(t.noSpace, ", ")}
	case t.voters-t.mute < t.need:
		return finding{Reason: PeersUnreachable, Detail: "no word of " + p.whoSays(noWord)}
	case t.led > 0 || !t.own.stuck() || t.stuck < p.needed():
		return finding{Reason: Electing, Detail: of(t.stuck) + " know no leader"}
	case t.disks < t.need:
		return finding{Reason: ElectionCannotTell, Detail: "the data of only " + of(t.disks) + " can be read"}
	}
	return finding{Reason: ElectionStuck, Detail: of(t.stuck) + " know no leader", hopeful: true}
}

// reads reports whether this agent itself read through a quorum a moment ago.
func (p *pass) reads() bool {
	if fresh(p, SourceMembers, p.v.Members, p.cfg.StaleAfter) && p.list.Cluster == p.v.Record.Cluster {
		return true
	}
	for _, m := range p.list.Members {
		if h := p.v.Health[m.ID]; fresh(p, SourceHealth, h, p.cfg.StaleAfter) && h.Value.Serves && h.Value.Cluster == p.v.Record.Cluster {
			return true
		}
	}
	return false
}

// findLed: there is a leader. What is wrong with single members is named.
func (p *pass) findLed(t tally) finding {
	f := finding{Reason: LeaderKnown, leads: true}
	for _, v := range p.hear() {
		if p.mistaken(v) {
			f.Reason, f.Detail = LeaderStalled, v.Member.String()+" still believes that it leads; another one does"
		}
	}
	if t.own.says == silent {
		f.Reason, f.Detail = FrozenMember, "its ports accept no requests"
	}
	return f
}

// mistaken: a voter believes that it leads, and those that serve have another leader.
// Its disk may stand still: then only its metrics answer, and tell no term.
func (p *pass) mistaken(v voice) bool {
	leader, term := p.leaderOfServing()
	w := v.word
	switch {
	case v.says != led:
		return false
	case w.LeaderID == v.Member:
		return w.Term != 0 && w.Term < term
	}
	return w.LeaderID == 0 && w.Leads && leader != 0 && leader != v.Member &&
		w.Client.Answer == PortSilent && w.Client.For >= evidenceAge
}

// leaderOfServing is the leader of the newest term by the word of those that serve.
func (p *pass) leaderOfServing() (leader MemberID, term uint64) {
	for _, v := range p.hear() {
		if v.says == serving && v.word.Term >= term {
			leader, term = v.word.LeaderID, v.word.Term
		}
	}
	return leader, term
}

// leaderNamed is the leader that most name.
func (p *pass) leaderNamed() string {
	votes := map[MemberID]int{}
	var best MemberID
	for _, v := range p.hear() {
		if v.says == led && v.word.LeaderID != 0 {
			votes[v.word.LeaderID]++
			if n := votes[v.word.LeaderID]; n > votes[best] || n == votes[best] && v.word.LeaderID < best {
				best = v.word.LeaderID
			}
		}
	}
	if best == 0 {
		return "a member that nobody names"
	}
	return best.String()
}

func (p *pass) whoSays(e evidence) string {
	var out []string
	for _, v := range p.hear() {
		if v.says == e {
			out = append(out, string(v.Instance))
		}
	}
	return strings.Join(out, ", ")
}

// trackVote finds out how etcd is, and keeps since when it is stuck or has a leader.
func (p *pass) trackVote() {
	p.found = p.find()
	f, st := p.found, &p.next.Vote
	st.StuckSince = keep(st.StuckSince, p.now, f.hopeful || !st.StuckSince.IsZero() && p.underWay())
	st.LedSince = keep(st.LedSince, p.now, f.leads)
	p.trackSilence()
}

// underWay reports whether a majority publishes one plan, and nobody knows a leader: what those
// say that are being restarted for it does not begin anew the time that this node waits before
// it takes part, for their turns would wait for it.
func (p *pass) underWay() bool {
	if r := p.found.Reason; r != Electing && r != ElectionCannotTell {
		return false
	}
	n, most := map[string]int{}, 0
	for _, v := range p.hear() {
		switch {
		case v.says == serving || v.says == led:
			return false
		case v.says != noWord && v.plan.Open():
			id := v.plan.Plan.ID()
			n[id]++
			most = max(most, n[id])
		}
	}
	return most >= p.needed()
}

// keep is since when something holds that holds now, or not.
func keep(since, now time.Time, holds bool) time.Time {
	switch {
	case !holds:
		return time.Time{}
	case since.IsZero() || since.After(now):
		return now
	}
	return since
}

// restartOrder is the order in which a plan restarts members: those that do not answer,
// then the one that knows least; those whose agent says nothing come last, as nobody
// restarts them.
func (p *pass) restartOrder() []MemberID {
	voices := slices.Clone(p.hear())
	rank := func(v voice) int {
		switch v.says {
		case silent:
			return 0
		case noWord:
			return 2
		}
		return 1
	}
	slices.SortFunc(voices, func(a, b voice) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)),
			cmp.Compare(max(a.word.Committed, a.word.Applied), max(b.word.Committed, b.word.Applied)),
			cmp.Compare(a.Member, b.Member))
	})
	out := make([]MemberID, len(voices))
	for i, v := range voices {
		out[i] = v.Member
	}
	return out
}
