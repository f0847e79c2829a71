package sim

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// audit runs Next, and checks what must hold of it whatever the world is.
func (w *world) audit(a *agent, v policy.View) (policy.State, policy.Decision) {
	before, kept := copyState(a.state), copyView(v)
	state, d := policy.Next(w.cfg, a.state, v)
	if !reflect.DeepEqual(before, a.state) || !reflect.DeepEqual(kept, v) {
		w.check.fail(w.now, InputsKept, "%s: Next changed its input", a.m.id)
	}
	w.auditRecheck(a, state, v, d)
	w.auditUnknown(a, v, d)
	return state, d
}

// auditRecheck: the same facts decide the same until Recheck and Stale.
func (w *world) auditRecheck(a *agent, state policy.State, v policy.View, d policy.Decision) {
	until := v.Now.Add(20 * time.Minute)
	for _, t := range [...]time.Time{d.Recheck, d.Stale} {
		if !t.IsZero() && t.Before(until) {
			until = t
		}
	}
	left := until.Sub(v.Now)
	for _, t := range [...]time.Duration{left / 3, left - 1} {
		if t <= 0 {
			continue
		}
		later := v
		later.Now = v.Now.Add(t)
		_, e := policy.Next(w.cfg, state, later)
		if !sameAction(d.Action, e.Action) || !sameReasons(d, e) {
			w.check.fail(w.now, RecheckHonest, "%s: %s now, %s %s later (named: %s)", a.m.id, describe(d), describe(e), t, left)
			return
		}
	}
}

func sameAction(a, b policy.Action) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Key() == b.Key())
}

func sameReasons(d, e policy.Decision) bool {
	for _, c := range policy.Concerns() {
		if d.Verdicts[c].Reason != e.Verdicts[c].Reason {
			return false
		}
	}
	return true
}

func describe(d policy.Decision) string {
	s := ""
	for _, c := range policy.Concerns() {
		s += string(d.Verdicts[c].Reason) + " "
	}
	if d.Action != nil {
		s += d.Action.Key()
	}
	return s
}

// disruptive are the actions that may hurt when they rest on too little.
func disruptive(v *policy.View, a policy.Action) bool {
	switch a := a.(type) {
	case policy.RemoveMember, policy.StopEtcd, policy.ArchiveData, policy.CompleteHook, policy.Promote,
		policy.MoveLeader, policy.MarkActing, policy.WriteTag, policy.DeleteTag, policy.Reboot, policy.RestartEtcd:
		return true
	case policy.TakeSlot:
		return a.Take.Phase == policy.Acting
	case policy.ReleaseHold: // a granted hold may be given back at any time, a leaver's is not what protects anybody
		return slices.ContainsFunc(v.Lock.Value.Holders, func(h policy.Hold) bool {
			// Nor is one whose reboot does not come, by logind's word.
			proven := h.Reason == policy.HoldRebooting && h.Boot == v.Self.Boot && v.Login.Known() && !v.Login.Value.GoingDown
			return h.Revision == a.Revision && h.Phase == policy.Acting && h.Reason != policy.HoldLeaving && !proven
		})
	case policy.StartEtcd:
		return a.New
	}
	return false
}

// auditUnknown: making any fact unknown never yields a bolder action, that is, a
// disruptive one which no concern wanted before.
func (w *world) auditUnknown(a *agent, v policy.View, d policy.Decision) {
	try := func(what string, less policy.View) {
		_, e := policy.Next(w.cfg, a.state, less)
		if e.Action == nil || !disruptive(&less, e.Action) || sameAction(d.Action, e.Action) {
			return
		}
		// An action that only stood behind another concern's is not new.
		if d.Action != nil && d.Verdicts[e.Concern].Reason == e.Verdicts[e.Concern].Reason {
			return
		}
		// Nor is one that only waited for what the last action changed to be observed:
		// what it rests on itself, it sees unknown.
		if d.Verdicts[e.Concern].Reason == policy.Settling {
			return
		}
		// Nor is what only stood behind a disruption of the same concern that is tried again
		// in a moment.
		if d.Verdicts[e.Concern].Reason == policy.BackedOff {
			return
		}
		// design.md section 4: silence of the leader's agent is what lets another do
		// the cluster's work; and the deadline rule acts when nothing is known.
		if e.Steward && !d.Steward || byDeadline(e.Verdicts[e.Concern].Reason) {
			return
		}
		// A node without data and without a record of a member has nothing that a
		// cluster could miss, whatever a list would say of its past.
		if e.Verdicts[e.Concern].Reason == policy.NothingToLeave {
			return
		}
		// Who else leaves is the group's to tell. An agent's own word comes sooner, and
		// only makes others wait for a replacement in vain a little less often.
		if strings.HasPrefix(what, "peer") && e.Concern == policy.ConcernLeave {
			return
		}
		// Nor does anything end with a slot that is granted just before the word: a leaver
		// takes the lock like anybody, and waits.
		if strings.HasPrefix(what, "peer") && d.Verdicts[e.Concern].Reason == policy.MemberLeaving {
			return
		}
		// A hold whose member is out of the cluster protects nobody. Without time it is given
		// back though nobody can tell that etcd is stopped.
		if d.Verdicts[e.Concern].Reason == policy.StopAfterRemoval && e.Verdicts[e.Concern].Reason == policy.GiveBackLock {
			return
		}
		// A node whose hook is completed is EC2's to take down: nothing counts on it.
		if d.Verdicts[policy.ConcernLeave].Reason == policy.Left && e.Concern == policy.ConcernLeave {
			return
		}
		// The same silence lets the steward take out the learner of an instance that
		// leaves: its own agent would, and a learner's removal never affects the quorum.
		if strings.HasPrefix(what, "peer") && e.Verdicts[e.Concern].Reason == policy.LearnerLeaving {
			return
		}
		// Who promotes a learner that is about to leave only makes it leave as a voter.
		if strings.HasPrefix(what, "peer") && d.Verdicts[e.Concern].Reason == policy.LearnerLeaving && e.Verdicts[e.Concern].Reason == policy.PromoteLearner {
			return
		}
		// The data of a member that was removed is moved aside whether its node goes or stays:
		// only the coming back afterwards rests on that.
		if what == "spot" && e.Verdicts[e.Concern].Reason == policy.Removed {
			return
		}
		// A hold is evicted on EC2's word, whatever else is known; a removal goes first.
		if e.Verdicts[e.Concern].Reason == policy.EvictHold {
			return
		}
		// Writing down what a reboot is for is a step on its way, left out by an order's.
		if d.Verdicts[e.Concern].Reason == policy.NoteReboot && e.Concern == policy.ConcernReboot {
			return
		}
		// Writing the tag is the step before starting the same promised cluster.
		if s, ok := d.Action.(policy.StartEtcd); ok && s.New && e.Verdicts[e.Concern].Reason == policy.TagFirst {
			return
		}
		w.check.fail(w.now, UnknownTimid, "%s: without %s %s instead of %s", a.m.id, what, describe(e), describe(d))
	}
	less := v
	less.Lifecycle = policy.Fact[policy.Target]{}
	try("lifecycle", less)
	less = v
	less.Spot = policy.Fact[policy.Notice]{}
	try("spot", less)
	less = v
	less.Group = policy.Fact[policy.Group]{}
	try("group", less)
	less = v
	less.Instances = policy.Fact[map[policy.InstanceID]policy.Instance]{}
	try("instances", less)
	less = v
	less.Unit = policy.Fact[policy.Unit]{}
	try("unit", less)
	less = v
	less.Data = policy.Fact[policy.Data]{}
	try("data", less)
	less = v
	less.Members = policy.Fact[policy.MemberList]{}
	try("members", less)
	less = v
	less.EtcdVersion = policy.Fact[string]{}
	try("its version of etcd", less)
	less = v
	less.ClusterVersion = policy.Fact[string]{}
	try("the cluster's version", less)
	less = v
	less.Pulse = policy.Fact[policy.Pulse]{}
	try("pulse", less)
	less = v
	less.Lock = policy.Fact[policy.Lock]{}
	try("lock", less)
	less = v
	less.Login = policy.Fact[policy.Login]{}
	try("logind", less)
	less = v
	less.Down = policy.Fact[[]string]{}
	try("units", less)
	less = v
	less.Wants = nil
	try("wants", less)
	for id := range v.Health {
		less = v
		less.Health = maps.Clone(v.Health)
		delete(less.Health, id)
		try("health of "+id.String(), less)
	}
	for id := range v.Peers {
		less = v
		less.Peers = maps.Clone(v.Peers)
		delete(less.Peers, id)
		try("peer "+string(id), less)
	}
}

func byDeadline(r policy.Reason) bool {
	switch r {
	case policy.DeadlineRemoveSelf, policy.DeadlineHandOver, policy.DeadlineStop, policy.DeadlineComplete:
		return true
	}
	return false
}

func copyState(s policy.State) policy.State {
	s.Learners, s.Forgotten = maps.Clone(s.Learners), maps.Clone(s.Forgotten)
	if s.Ask != nil {
		ask := *s.Ask
		s.Ask = &ask
	}
	return s
}

// copyView copies everything that Next could change through a reference.
func copyView(v policy.View) policy.View {
	v.Health, v.Peers, v.Receipts = maps.Clone(v.Health), maps.Clone(v.Peers), maps.Clone(v.Receipts)
	v.Instances.Value = maps.Clone(v.Instances.Value)
	v.Requests = slices.Clone(v.Requests)
	v.Wants = maps.Clone(v.Wants)
	v.Lock.Value.Queue = slices.Clone(v.Lock.Value.Queue)
	if o := v.Record.Rebooted; o != nil {
		v.Record.Rebooted = &policy.Rebooted{Boot: o.Boot, For: slices.Clone(o.For)}
	}
	v.Group.Value.Instances = slices.Clone(v.Group.Value.Instances)
	v.Group.Value.Hooks = slices.Clone(v.Group.Value.Hooks)
	v.Members.Value.Members = slices.Clone(v.Members.Value.Members)
	v.Members.Value.Joins = maps.Clone(v.Members.Value.Joins)
	v.Lock.Value.Holders = slices.Clone(v.Lock.Value.Holders)
	v.Lock.Value.Leaving = slices.Clone(v.Lock.Value.Leaving)
	v.Record.Endpoints = slices.Clone(v.Record.Endpoints)
	if p := v.Record.Promise; p != nil {
		q := *p
		q.Members = slices.Clone(p.Members)
		v.Record.Promise = &q
	}
	if e := v.Record.Election; e != nil {
		f := *e
		f.Plan.Order = slices.Clone(e.Plan.Order)
		v.Record.Election = &f
	}
	v.Record.Voters = slices.Clone(v.Record.Voters)
	if l := v.Record.Leaving; l != nil {
		m := *l
		v.Record.Leaving = &m
	}
	return v
}
