package policy

import (
	"fmt"
	"testing"
	"time"
)

// words that a member's agent may say, for tests.
var sayings = map[evidence]EtcdWord{
	serving:    {Known: true, Active: true, Running: true, Disk: true, Pulse: Pulse{Leader: LeaderSome, LeaderID: 1, Serves: true, Term: 5, Met: true}},
	led:        {Known: true, Active: true, Running: true, Disk: true, Pulse: Pulse{Leader: LeaderSome, LeaderID: 1, Term: 5, Met: true}},
	leaderless: {Known: true, Active: true, Running: true, Disk: true, Pulse: Pulse{Leader: LeaderNone, Applied: 100, Met: true, Metrics: Port{Answer: PortAnswers}}},
	silent:     {Known: true, Active: true, Running: true, Disk: true, Pulse: mute},
	starting:   {Known: true, Disk: true, Pulse: mute},
	cannotTell: {Known: true, Active: true, Running: true, Disk: true, Pulse: Pulse{Client: Port{Answer: PortCannotTell}, Met: true}},
	noWord:     {},
}

var mute = Pulse{Client: Port{Answer: PortSilent}, PeerPort: Port{Answer: PortSilent}, Metrics: Port{Answer: PortSilent}, Met: true}

// stuckView is what the agent of instance 1 sees when the voters say this, its own
// first. Nothing of etcd can be read.
func stuckView(says ...evidence) View {
	v := steady()
	v.Members.Err, v.Lock.Err = "no leader", "no leader"
	v.Health, v.Local = map[MemberID]Fact[Health]{}, Fact[Health]{Err: "no leader"}
	v.Peers = map[InstanceID]Fact[Peer]{}
	var l MemberList
	l.Cluster = 9
	for i, s := range says {
		id, n := InstanceID(fmt.Sprintf("i-%d", i+1)), MemberID(i+1)
		l.Members = append(l.Members, Member{ID: n, Name: string(id), PeerURLs: []string{fmt.Sprintf("https://%d:2380", i+1)}, ClientURLs: []string{fmt.Sprintf("https://%d:2379", i+1)}})
		w := sayings[s]
		switch {
		case i > 0 && s != noWord:
			v.Peers[id] = Observed(Peer{Instance: id, HasData: true, Member: n, Cluster: 9, Etcd: w}, t0)
		case i > 0:
			v.Peers[id] = Fact[Peer]{Err: "refused"}
		case s == noWord:
			v.Pulse = Fact[Pulse]{}
		default:
			v.Pulse = Observed(w.Pulse, t0)
			v.Unit = Observed(Unit{Load: "loaded", Active: "active", Sub: "running", MainPID: 7}, t0)
			if !w.Running {
				v.Unit = Observed(Unit{Load: "loaded", Active: "inactive", Sub: "dead"}, t0)
			}
		}
	}
	v.Members.Value = l
	return v
}

// foundIn is what the words of a view come to.
func foundIn(v View) finding {
	return look(DefaultConfig(), State{}, &v).found
}

// TestFindings: each state of an etcd has its own reason.
func TestFindings(t *testing.T) {
	with := func(v View, f func(*View)) View { f(&v); return v }
	peer := func(v *View, id InstanceID, f func(*Peer)) {
		p := v.Peers[id]
		f(&p.Value)
		v.Peers[id] = p
	}
	// The second voter's metrics alone answer; the others follow that leader.
	stalled := func(leads bool, silent time.Duration, follow MemberID) func(*View) {
		return func(v *View) {
			v.Pulse.Value.LeaderID = follow
			peer(v, "i-3", func(p *Peer) { p.Etcd.LeaderID = follow })
			peer(v, "i-2", func(p *Peer) {
				p.Etcd.LeaderID, p.Etcd.Term, p.Etcd.Leads = 0, 0, leads
				p.Etcd.Client = Port{Answer: PortSilent, For: silent}
			})
		}
	}
	for _, c := range []struct {
		name string
		view View
		want Reason
	}{
		{"all well", steady(), LeaderKnown},
		{"no voter", with(steady(), func(v *View) { v.Record.Member = 0 }), NoVote},
		{"nobody knows a leader", stuckView(leaderless, leaderless, leaderless), ElectionStuck},
		{"a majority frozen, this one not", stuckView(leaderless, silent, silent), ElectionStuck},
		{"this one and another frozen", stuckView(silent, silent, leaderless), ElectionStuck},
		{"one host off", stuckView(leaderless, leaderless, noWord), ElectionStuck},
		{"this one frozen, the others well", stuckView(silent, serving, serving), FrozenMember},
		{"another one frozen", stuckView(serving, silent, serving), LeaderKnown},
		{"another says that it commits", stuckView(leaderless, leaderless, serving), LeaderKnown},
		{"this agent read through a quorum", with(stuckView(leaderless, leaderless, leaderless), func(v *View) { v.Members.Err = "" }), LeaderKnown},
		{"this agent probed one that serves", with(stuckView(leaderless, leaderless, leaderless), func(v *View) {
			v.Health[3] = Observed(Health{Cluster: 9, Member: 3, Serves: true}, t0)
		}), LeaderKnown},
		{"alone", stuckView(leaderless, noWord, noWord), PeersUnreachable},
		{"two of five", stuckView(leaderless, leaderless, noWord, noWord, noWord), PeersUnreachable},
		{"others start", stuckView(leaderless, starting, starting), Electing},
		{"this one starts", stuckView(starting, leaderless, leaderless), Electing},
		{"one still knows a leader", stuckView(leaderless, leaderless, led), Electing},
		{"this one cannot tell", stuckView(cannotTell, leaderless, leaderless), ElectionCannotTell},
		{"another cannot tell", stuckView(leaderless, leaderless, cannotTell), ElectionCannotTell},
		{"nobody looked", stuckView(noWord, leaderless, leaderless), ElectionCannotTell},
		{"a leader that commits nothing", stuckView(led, led, leaderless), LeaderStalled},
		{"a leader, and no agent may read whether it commits", with(stuckView(led, led, leaderless), func(v *View) {
			v.Pulse.Value.Client.Answer = PortCannotTell
		}), ElectionCannotTell},
		{"a former leader still believes", with(stuckView(serving, led, serving), func(v *View) {
			peer(v, "i-2", func(p *Peer) { p.Etcd.LeaderID, p.Etcd.Term = 2, 4 })
		}), LeaderStalled},
		{"a former leader still believes, its own agent", with(stuckView(led, serving, serving), func(v *View) {
			v.Pulse.Value.LeaderID, v.Pulse.Value.Term = 1, 4
			peer(v, "i-2", func(p *Peer) { p.Etcd.LeaderID = 2 })
		}), LeaderStalled},
		// It is a follower.
		{"a former leader has heard of the other one", with(stuckView(serving, led, serving), func(v *View) {
			peer(v, "i-2", func(p *Peer) { p.Etcd.LeaderID, p.Etcd.Term = 1, 4 })
		}), LeaderKnown},
		{"a leader of the newest term does not commit yet", with(stuckView(serving, led, serving), func(v *View) {
			peer(v, "i-2", func(p *Peer) { p.Etcd.LeaderID, p.Etcd.Term = 2, 6 })
		}), LeaderKnown},
		// Seen with a disk that stands still: Status and the peers' port hang, and metrics tell
		// neither whom it takes for its leader nor the term.
		{"a former leader of which only metrics answer", with(stuckView(serving, led, serving), stalled(true, 7*time.Second, 3)), LeaderStalled},
		{"a follower of which only metrics answer", with(stuckView(serving, led, serving), stalled(false, 7*time.Second, 3)), LeaderKnown},
		{"a leader that does not answer for a moment", with(stuckView(serving, led, serving), stalled(true, time.Second, 3)), LeaderKnown},
		{"a leader of which only metrics answer", with(stuckView(serving, led, serving), stalled(true, 7*time.Second, 2)), LeaderKnown},
		{"two terminated", with(stuckView(leaderless, noWord, noWord), func(v *View) {
			v.Instances = Observed(map[InstanceID]Instance{"i-2": {State: InstanceTerminated}, "i-3": {State: InstanceTerminated}}, t0)
		}), MajorityLost},
		{"two without data", with(stuckView(leaderless, starting, starting), func(v *View) {
			for _, id := range []InstanceID{"i-2", "i-3"} {
				peer(v, id, func(p *Peer) { p.Etcd.Disk = false })
			}
		}), MajorityLost},
		{"full", with(stuckView(leaderless, leaderless, leaderless), func(v *View) { peer(v, "i-2", func(p *Peer) { p.Etcd.NoSpace = true }) }), AlarmNoSpace},
		{"corrupt", with(stuckView(leaderless, leaderless, leaderless), func(v *View) { v.Pulse.Value.Corrupt = true }), AlarmCorrupt},
		{"disks cannot be read", with(stuckView(leaderless, leaderless, leaderless), func(v *View) {
			v.Data.Err = "input/output error"
			peer(v, "i-2", func(p *Peer) { p.Etcd.Disk = false })
		}), ElectionCannotTell},
		{"words of another member", with(stuckView(leaderless, leaderless, noWord), func(v *View) { peer(v, "i-2", func(p *Peer) { p.Member = 77 }) }), PeersUnreachable},
		{"words of another cluster", with(stuckView(leaderless, leaderless, noWord), func(v *View) { peer(v, "i-2", func(p *Peer) { p.Cluster = 77 }) }), PeersUnreachable},
		{"old words", with(stuckView(leaderless, leaderless, noWord), func(v *View) { peer(v, "i-2", func(p *Peer) { p.Etcd.Age = evidenceAge + 1 }) }), PeersUnreachable},
		{"only the list on disk", with(stuckView(leaderless, leaderless, noWord), func(v *View) {
			v.Record.Voters, v.Members = VotersOf(v.Members.Value), Fact[MemberList]{Err: "no leader"}
		}), ElectionStuck},
	} {
		if f := foundIn(c.view); f.Reason != c.want || f.hopeful != (f.Reason == ElectionStuck) {
			t.Errorf("%s: %s (%s), hopeful %t, want %s", c.name, f.Reason, f.Detail, f.hopeful, c.want)
		}
	}
}

// TestHopefulAgainstTwin checks every combination of what three and five voters may say
// against the rule put plainly: a majority, this node among them, has no leader, and
// nobody says anything that speaks against it.
func TestHopefulAgainstTwin(t *testing.T) {
	all := []evidence{noWord, serving, led, leaderless, silent, starting, cannotTell}
	twin := func(says []evidence) bool {
		stuck := 0
		for _, s := range says {
			switch s {
			case leaderless, silent:
				stuck++
			case serving, led, cannotTell:
				return false
			}
		}
		return stuck*2 > len(says) && (says[0] == leaderless || says[0] == silent)
	}
	for _, n := range []int{1, 2, 3, 5} {
		says := make([]evidence, n)
		var each func(i int)
		each = func(i int) {
			if i < n {
				for _, s := range all {
					says[i] = s
					each(i + 1)
				}
				return
			}
			if f := foundIn(stuckView(says...)); f.hopeful != twin(says) {
				t.Fatalf("%v: %s, hopeful %t, want %t", says, f.Reason, f.hopeful, twin(says))
			}
		}
		each(0)
	}
}

// at runs Next on a view in which everything was observed at an instant.
func at(now time.Time, st State, v View) (State, Decision) {
	d := now.Sub(v.Now)
	v.Now, v.Pulse.At, v.Unit.At, v.Data.At, v.Lifecycle.At = now, v.Pulse.At.Add(d), v.Unit.At.Add(d), v.Data.At.Add(d), v.Lifecycle.At.Add(d)
	peers := map[InstanceID]Fact[Peer]{}
	for id, f := range v.Peers {
		f.At = f.At.Add(d)
		peers[id] = f
	}
	v.Peers = peers
	return Next(DefaultConfig(), st, v)
}

// TestNobodyActsAlone: whatever one other agent says, and whatever it publishes, this
// node restarts nothing while a third is not of the same word.
func TestNobodyActsAlone(t *testing.T) {
	for _, liar := range []evidence{noWord, leaderless, silent, starting, led, cannotTell} {
		for _, third := range []evidence{serving, noWord, starting, cannotTell} {
			v := stuckView(led, liar, third)
			forged := &Plan{Cluster: 9, Attempt: 1, Round: OneByOne, Forced: true, Proposer: 2, Order: []MemberID{1, 2, 3}}
			if f := v.Peers["i-2"]; f.Known() {
				f.Value.Election = &Election{Plan: *forged, Step: StepAgreed}
				v.Peers["i-2"] = f
			}
			st := State{}
			for s := range 300 {
				var d Decision
				st, d = at(t0.Add(time.Duration(s)*time.Second), st, v)
				if d.Concern == ConcernElection {
					t.Fatalf("liar %d, third %d: after %d s %s does %s", liar, third, s, d.Verdicts[ConcernElection].Reason, d.Action.Key())
				}
			}
		}
	}
}

// TestAwaitHolder: a machine that reboots under the lock may be what is missing. Its return
// is waited for, as long as a reboot may take, and no longer; an operator does not wait.
func TestAwaitHolder(t *testing.T) {
	first := func(v View) (reason Reason, after time.Duration) {
		var st State
		for after < 20*time.Minute {
			var d Decision
			st, d = at(t0.Add(after), st, v)
			if got := d.Verdicts[ConcernElection].Reason; got != Electing {
				return got, after
			}
			after += time.Second
		}
		return "", after
	}
	due := DefaultConfig().Force.After
	v := stuckView(leaderless, leaderless, noWord)
	v.Lock.Value.Holders = []Hold{{Instance: "i-3", Member: 3, Cluster: 9, Reason: HoldRebooting, Phase: Acting, Revision: 7}}
	if got, after := first(v); got != AwaitHolder || after < due {
		t.Errorf("it says %s after %s", got, after)
	}
	st := State{Vote: VoteState{StuckSince: t0}}
	if _, d := at(t0.Add(rebootWithin+time.Second), st, v); d.Verdicts[ConcernElection].Reason != ProposePlan {
		t.Errorf("after %s it says %s", rebootWithin, d.Verdicts[ConcernElection].Reason)
	}
	for name, with := range map[string]func(*Hold){
		"not acting yet":  func(h *Hold) { h.Phase = Granted },
		"leaving":         func(h *Hold) { h.Reason = HoldLeaving },
		"another cluster": func(h *Hold) { h.Cluster = 8 },
		"it is back":      func(h *Hold) { h.Instance, h.Member = "i-2", 2 },
	} {
		v := stuckView(leaderless, leaderless, noWord)
		h := Hold{Instance: "i-3", Member: 3, Cluster: 9, Reason: HoldRebooting, Phase: Acting, Revision: 7}
		with(&h)
		v.Lock.Value.Holders = []Hold{h}
		if got, after := first(v); got != ProposePlan {
			t.Errorf("%s: it says %s after %s", name, got, after)
		}
	}
}

// TestPlanNeedsMajority: a plan that this node published alone is never begun, and ends.
func TestPlanNeedsMajority(t *testing.T) {
	v := stuckView(leaderless, leaderless, leaderless)
	var st State
	var steps []Step
	for s := 0; s < 900; s++ {
		var d Decision
		st, d = at(t0.Add(time.Duration(s)*time.Second), st, v)
		if w, ok := d.Action.(WriteRecord); ok && d.Concern == ConcernElection {
			v.Record = w.Record
			steps = append(steps, w.Record.Election.Step)
		} else if d.Concern == ConcernElection {
			t.Fatalf("after %d s it does %s", s, d.Action.Key())
		}
	}
	want := []Step{StepAgreed, StepClosed}
	if fmt.Sprint(steps) != fmt.Sprint(append(want, StepAgreed)) && fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("steps are %v", steps)
	}
	if v.Record.Election.Plan.Attempt > DefaultConfig().Force.MaxAttempts {
		t.Errorf("attempt %d", v.Record.Election.Plan.Attempt)
	}
}

// TestPlanID: the id is on disks and on the wire, so it must never change.
func TestPlanID(t *testing.T) {
	p := Plan{Cluster: 9, Attempt: 1, Round: OneByOne, Proposer: 1, At: t0, Order: []MemberID{3, 1, 2}}
	if got, want := p.ID(), "cc831e1f641eabcd802d18b2c30bfbc8"; got != want {
		t.Errorf("ID() = %q, want %q", got, want)
	}
	seen := map[string]bool{p.ID(): true}
	for _, f := range []func(*Plan){
		func(p *Plan) { p.Cluster++ }, func(p *Plan) { p.Attempt++ }, func(p *Plan) { p.Round++ }, func(p *Plan) { p.Forced = true },
		func(p *Plan) { p.Proposer++ }, func(p *Plan) { p.At = p.At.Add(1) }, func(p *Plan) { p.Order = []MemberID{1, 3, 2} },
	} {
		q := p
		f(&q)
		if seen[q.ID()] {
			t.Errorf("%+v has the id of another plan", q)
		}
		seen[q.ID()] = true
	}
}
