package sim

import (
	"errors"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// actionTimeout is after how long the loop gives an action up.
const actionTimeout = 10 * time.Second

var (
	errTimeout  = errors.New("context deadline exceeded")
	errRefused  = errors.New("connection reset")
	errNoAction = errors.New("no active lifecycle action")
	errRunning  = errors.New("etcd runs")
	errLeader   = errors.New("etcdserver: not leader")
)

// begin starts a decision's action. Its effect and its end are two events, and
// the agent may die before, between and after them.
func (a *agent) begin(d policy.Decision) {
	w := a.w
	act, reason := d.Action, d.Verdicts[d.Concern].Reason
	w.actions++
	if _, answer := act.(policy.AnswerRequest); w.calm && !answer {
		w.calmAct++
		if w.now > w.opt.Length+w.opt.Quiet/2 { // what began before has come to its end
			a.calm[string(reason)+"/"+act.Key()]++
		}
	}
	a.action++
	gen, began, start := a.action, w.now, a.m.clock()
	a.view.InFlight = &policy.InFlight{Action: act, Started: start}
	a.say("-> %s (%s) %+v", act.Kind(), reason, act)
	lock := a.view.Lock
	w.tell(Began{
		Instance: a.m.id, Action: act, Reason: reason, Member: a.m.disk.record.Member != 0,
		LockKnown: lock.Fresh(start, w.cfg.ActWithin),
	})
	if w.chance(w.trouble(0.004)) {
		a.m.restartAgent(w.between(time.Second, 15*time.Second))
		return
	}
	effect, result, err := a.course(act)
	var seen policy.Lock // by the transaction, if the action is one
	w.after(effect, func() {
		if isLocal(act) && (a.m.agent != a || a.action != gen) {
			return
		}
		if e := a.effect(act, reason, began); e != nil && err == nil {
			err = e
		}
		if _, c := a.server(0); c != nil && w.chance(0.8) {
			seen = c.readLock()
		}
		if w.chance(w.trouble(0.004)) && a.m.agent == a {
			a.m.restartAgent(w.between(time.Second, 15*time.Second))
		}
	})
	w.after(result, func() {
		if a.alive && a.action == gen {
			a.finish(act, start, err)
			if err == nil && policy.Shown(act, a.view.Self, seen) {
				a.view.Lock = policy.Observed(seen, start)
			}
		}
	})
}

// isLocal: the action is done by this process on this machine, and ends with it.
func isLocal(act policy.Action) bool {
	switch act.(type) {
	case policy.WriteRecord, policy.StartEtcd, policy.StopEtcd, policy.ArchiveData, policy.AnswerRequest, policy.Reboot,
		policy.SaveSnapshot, policy.RestartEtcd:
		return true
	}
	return false
}

// course draws how an action goes: when it takes effect, when the agent learns
// of it, and what.
func (a *agent) course(act policy.Action) (effect, result time.Duration, err error) {
	w := a.w
	effect = w.between(2*time.Millisecond, 60*time.Millisecond)
	switch act.(type) {
	case policy.StopEtcd, policy.RestartEtcd:
		effect = w.between(50*time.Millisecond, 3*time.Second)
	}
	if a.m.slow && !w.calm {
		effect += w.between(0, 4*time.Second)
	}
	result = effect + w.between(time.Millisecond, 20*time.Millisecond)
	if isLocal(act) {
		return effect, result, nil
	}
	switch p := w.rng.Float64(); {
	case p < w.trouble(0.03): // lost on the way
		err = errRefused
		effect = 1000 * time.Hour
	case p < w.trouble(0.05): // done, but the answer is lost
		err = errRefused
	case p < w.trouble(0.08): // done long after the agent gave up
		effect = w.between(actionTimeout, 30*time.Second)
		result, err = actionTimeout, errTimeout
	case p < w.trouble(0.11):
		effect += w.between(0, 9*time.Second)
		result = effect + time.Millisecond
	}
	if result > actionTimeout { // given up before it is done: no answer is no success
		result, err = actionTimeout, errTimeout
	}
	if err != nil || result > time.Second {
		a.m.bad = w.now + min(result, actionTimeout)
	}
	return effect, min(result, actionTimeout), err
}

// finish records an action's outcome, and has observed anew what it may have
// changed.
func (a *agent) finish(act policy.Action, start time.Time, err error) {
	end := a.m.clock()
	a.w.tell(Ended{Instance: a.m.id})
	a.view.InFlight = nil
	a.view.Last = policy.LastAction{Action: act, Ended: end}
	r := a.view.Receipts[act.Key()].After(start, end, err)
	if err != nil {
		a.say("<- %s: %v", act.Kind(), err)
	} else {
		if wr, ok := act.(policy.WriteRecord); ok {
			a.view.Record = wr.Record
		}
		if ans, ok := policy.Answer(act); ok {
			a.answered(ans, true)
		}
	}
	a.view.Receipts[act.Key()] = r
	for _, name := range policy.Affected(act) {
		for s := range policy.NumSources {
			if s.String() == name {
				a.kick(s)
			}
		}
	}
	a.poke()
}

// effect changes the world.
func (a *agent) effect(act policy.Action, reason policy.Reason, began time.Duration) error {
	m, w := a.m, a.w
	applied := func() {
		w.tell(Applied{
			Instance: m.id, Action: act, Reason: reason, Began: began,
			Wiped: m.disk.data.empty(), Data: m.disk.data.member, DataCluster: m.disk.data.cluster,
			Etcd: m.version, Secret: w.etcds.secret, Restarts: m.etcd.restarts,
		})
	}
	switch act := act.(type) {
	case policy.WriteRecord:
		m.disk.record = act.Record
		is := PlanIs{Instance: m.id}
		if e := act.Record.Election; e.Open() {
			is.Plan = e.Plan.ID()
		}
		w.tell(is)
		w.touch(policy.SourcePeers)
	case policy.StartEtcd:
		applied()
		m.disk.allowed, m.disk.initial = true, act.Initial
		if m.etcd.unit.Stopped() || m.etcd.unit.Down() {
			m.startUnit(act.New, act.Token)
		}
	case policy.StopEtcd:
		m.disk.allowed = false
		m.stopUnit()
		return a.effectElection(act, applied)
	case policy.SaveSnapshot, policy.RestartEtcd:
		return a.effectElection(act, applied)
	case policy.ArchiveData:
		if !m.etcd.unit.Stopped() {
			return errRunning
		}
		applied()
		m.disk.data = data{}
		m.touchLocal()
		w.touch(policy.SourcePeers)
	case policy.AnswerRequest: // what follows is the loop's own
	case policy.Reboot:
		applied()
		return m.askReboot()
	case policy.WriteTag, policy.DeleteTag, policy.CompleteHook:
		if !a.aws() {
			return errAWS
		}
		if hook, ok := act.(policy.CompleteHook); ok && !w.group.opened(m, hook) {
			return nil // completed or expired already: done, as the adapter sees it
		}
		applied()
		a.effectAWS(act)
	default:
		return a.effectEtcd(act, applied)
	}
	return nil
}

func (a *agent) effectAWS(act policy.Action) {
	g := a.w.group
	switch act := act.(type) {
	case policy.WriteTag:
		g.tag = act.Cluster.String()
		g.changed()
	case policy.DeleteTag:
		if g.tag == act.Value {
			a.fresh()
			g.tag = ""
			g.changed()
		}
	case policy.CompleteHook:
		g.complete(a.m, act)
	}
}

func (a *agent) effectEtcd(act policy.Action, applied func()) error {
	not := policy.MemberID(0)
	if r, ok := act.(policy.RemoveMember); ok {
		not = r.Member
	}
	_, c := a.server(not)
	if c == nil {
		return errNoServer
	}
	switch act := act.(type) {
	case policy.AddLearner:
		if err := c.add(act.Instance, act.PeerURL); err != nil {
			return err
		}
		applied()
	case policy.Promote:
		if err := c.promotable(act.Member); err != nil {
			return err
		}
		c.report()
		applied()
		c.promote(act.Member)
	case policy.RemoveMember:
		if err := c.removable(act.Member); err != nil {
			return err
		}
		applied()
		c.remove(act.Member)
	case policy.MoveLeader:
		to := c.find(act.To)
		if c.leader != a.m.disk.data.member || to == nil || !c.electable(to, c.side) || !a.m.linked(c.host(act.To)) {
			return errLeader
		}
		c.freeze()
		c.moveTo(act.To)
		a.say("leadership moves to %s", to.name)
		c.settle()
	case policy.TakeSlot:
		return c.take(a, act, applied)
	case policy.MarkActing:
		return c.markActing(act.Revision, applied)
	case policy.ReleaseHold:
		return c.release(act.Revision, applied)
	}
	return nil
}
