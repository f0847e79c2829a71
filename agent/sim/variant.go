package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// Variant is a policy broken on purpose, by changing what Next sees or what it
// answered. Invariant is the promise that catches it.
type Variant struct {
	Name      string
	Invariant Invariant
	View      func(cfg policy.Config, v *policy.View)
	Decide    func(cfg policy.Config, v policy.View, d *policy.Decision)
}

// Variants lists the broken policies.
func Variants() []Variant {
	return append(electionVariants(), []Variant{
		{Name: "lock ignored", Invariant: OneDisrupted, View: ignoreLock},
		{Name: "quorum check off", Invariant: QuorumKept, View: allHealthy},
		{Name: "promote at once", Invariant: PromotedCaughtUp, View: allCaughtUp},
		{Name: "unknown taken for healthy", Invariant: QuorumKept, View: unknownHealthy},
		{Name: "bootstrap without promise", Invariant: OneCluster, Decide: startAlone},
		{Name: "hook completed while the lock is unknown", Invariant: HookUnderLock, Decide: completeBlindly},
		{Name: "versions ignored", Invariant: VersionsFit, View: anyVersion},
		{Name: "fresh start granted to whoever asks", Invariant: OneCluster, Decide: freshAlways},
		{Name: "reboot without the lock", Invariant: RebootUnderLock, Decide: rebootAtOnce},
		{Name: "reboot whatever the others' health", Invariant: RebootKeepsQuorum, View: othersWell},
		{Name: "grant whatever the others' health", Invariant: RebootKeepsQuorum, Decide: grantAlways},
		{Name: "reboot while another joins", Invariant: RebootWhenWhole, View: nobodyJoins},
		{Name: "reboot whoever leaves", Invariant: RebootWhenWhole, View: nobodyLeaves},
		{Name: "reboot whoever is missing", Invariant: RebootWhenWhole, View: nobodyMissing},
		{Name: "reboot as the leader", Invariant: RebootNotLeading, View: otherLeads},
		{Name: "hold given back at the return, healthy or not", Invariant: HoldKept, Decide: releaseAtBoot},
		{Name: "hold given back at the agent's restart", Invariant: HoldKept, Decide: releaseAtStart},
		{Name: "hold evicted after a time", Invariant: HoldKept, Decide: evictByTime},
		{Name: "never reboots", Invariant: Converges, Decide: neverReboot},
		{Name: "reboots again and again", Invariant: FewActions, View: alwaysWanted},
	}...)
}

// ignoreLock makes a leaver believe that it holds the slot already.
func ignoreLock(_ policy.Config, v *policy.View) {
	if v.Record.Leaving == nil || !v.Members.Known() {
		return
	}
	v.Lock = policy.Observed(policy.Lock{Slots: 1, Holders: []policy.Hold{{
		Instance: v.Self.Instance, Member: v.Record.Member, Cluster: v.Record.Cluster,
		Reason: policy.HoldLeaving, Phase: policy.Acting,
	}}}, v.Now)
	if v.Members.Value.Via != v.Record.Member {
		if _, in := v.Members.Value.Find(v.Record.Member); !in {
			v.Lock.Value.Holders = nil // removed: nothing to give back
		}
	}
}

// allHealthy makes every other voter of the list look healthy.
func allHealthy(_ policy.Config, v *policy.View) {
	v.Health = maps.Clone(v.Health)
	for _, m := range v.Members.Value.Members {
		if m.ID != v.Record.Member && !m.Learner {
			healthyNow(v, m)
		}
	}
}

func healthyNow(v *policy.View, m policy.Member) {
	h := v.Health[m.ID].Value
	h.Member, h.Cluster, h.Serves = m.ID, v.Members.Value.Cluster, true
	v.Health[m.ID] = policy.Observed(h, v.Now)
}

// allCaughtUp makes every learner that answers look caught up.
func allCaughtUp(_ policy.Config, v *policy.View) {
	v.Health = maps.Clone(v.Health)
	for _, m := range v.Members.Value.Members {
		if f := v.Health[m.ID]; m.Learner && f.Known() {
			f.Value.Applied = 1 << 62
			v.Health[m.ID] = f
		}
	}
}

// unknownHealthy takes every voter whose probe failed, or was not made, for healthy.
func unknownHealthy(_ policy.Config, v *policy.View) {
	v.Health = maps.Clone(v.Health)
	for _, m := range v.Members.Value.Members {
		if f := v.Health[m.ID]; !m.Learner && !f.Known() {
			healthyNow(v, m)
		}
	}
}

// startAlone starts a first cluster of whoever is in the group, as soon as the
// group can be read and no cluster is found.
func startAlone(_ policy.Config, v policy.View, d *policy.Decision) {
	g := v.Group
	if v.Members.Known() || v.InFlight != nil || !g.Known() || v.Record.Instance != v.Self.Instance ||
		!v.Data.Known() || !v.Data.Value.Empty || !v.Unit.Known() || !v.Unit.Value.Stopped() {
		return
	}
	p := policy.Promise{GroupARN: g.Value.ARN, Members: []policy.PromisedMember{{Instance: v.Self.Instance, PeerURL: v.Self.PeerURL}}}
	for id, f := range v.Peers {
		if _, listed := g.Value.Find(id); listed && f.Known() {
			p.Members = append(p.Members, policy.PromisedMember{Instance: id, PeerURL: f.Value.PeerURL})
		}
	}
	if len(p.Members) < g.Value.Desired {
		return
	}
	sortMembers(p.Members)
	act(d, policy.StartEtcd{New: true, Initial: p.Initial(), Token: p.Token()}, policy.ConcernJoin, policy.StartFirst)
}

// completeBlindly completes the hook where the lock is not known.
func completeBlindly(_ policy.Config, v policy.View, d *policy.Decision) {
	if v.InFlight != nil || d.Verdicts[policy.ConcernLeave].Reason != policy.LockUnknown {
		return
	}
	for _, h := range v.Group.Value.Hooks {
		if h.Transition == policy.Terminating {
			act(d, policy.CompleteHook{Hook: h.Name, Result: policy.Continue}, policy.ConcernLeave, policy.CompleteLeave)
		}
	}
}

// anyVersion makes a node that is to join believe that its etcd is the cluster's.
func anyVersion(_ policy.Config, v *policy.View) {
	if v.ClusterVersion.Known() {
		v.EtcdVersion = v.ClusterVersion
	}
}

// freshAlways removes the tag when an operator asks, whatever is left.
func freshAlways(_ policy.Config, v policy.View, d *policy.Decision) {
	asked := slices.ContainsFunc(v.Requests, func(r policy.Request) bool { return r.Kind == policy.FreshStart })
	if tag := v.Group.Value.ClusterTag; asked && v.InFlight == nil && v.Group.Known() && tag != "" {
		act(d, policy.DeleteTag{Value: tag}, policy.ConcernRequest, policy.FreshAllowed)
	}
}

// rebootAtOnce reboots as soon as a source wants it.
func rebootAtOnce(_ policy.Config, v policy.View, d *policy.Decision) {
	for _, f := range v.Wants {
		if f.Known() && f.Value.Wanted && v.InFlight == nil && !v.Receipts[policy.Reboot{}.Key()].Done() {
			act(d, policy.Reboot{}, policy.ConcernReboot, policy.RebootNow)
		}
	}
}

// toReboot: something wants this node rebooted, and it is not to go.
func toReboot(v *policy.View) bool {
	if v.Record.Leaving != nil {
		return false
	}
	for _, f := range v.Wants {
		if f.Value.Wanted {
			return true
		}
	}
	return false
}

// othersWell makes the others look healthy to a node that is not to go.
func othersWell(cfg policy.Config, v *policy.View) {
	if toReboot(v) {
		allHealthy(cfg, v)
	}
}

// nobodyJoins hides learners from a node that is to reboot.
func nobodyJoins(_ policy.Config, v *policy.View) {
	if !toReboot(v) {
		return
	}
	l := &v.Members.Value
	l.Members = slices.DeleteFunc(slices.Clone(l.Members), func(m policy.Member) bool { return m.Learner && m.ID != v.Record.Member })
}

// nobodyMissing hides from it how many are wanted.
func nobodyMissing(_ policy.Config, v *policy.View) {
	if toReboot(v) {
		v.Group.Value.Desired = min(v.Group.Value.Desired, 1)
	}
}

// nobodyLeaves hides from it who leaves.
func nobodyLeaves(_ policy.Config, v *policy.View) {
	if !toReboot(v) {
		return
	}
	g := &v.Group.Value
	g.Instances = slices.Clone(g.Instances)
	for i := range g.Instances {
		if g.Instances[i].State.Leaving() {
			g.Instances[i].State = policy.StateInService
		}
	}
	v.Peers = maps.Clone(v.Peers)
	for id, f := range v.Peers {
		f.Value.Leaving = false
		v.Peers[id] = f
	}
}

// otherLeads makes a node that is not to go believe that all follow another leader
// where they follow itself.
func otherLeads(_ policy.Config, v *policy.View) {
	own := v.Record.Member
	if v.Record.Leaving != nil {
		return
	}
	v.Health = maps.Clone(v.Health)
	var other policy.MemberID
	for _, id := range v.Members.Value.Voters() {
		if id != own && (other == 0 || id < other) {
			other = id
		}
	}
	for id, h := range v.Health {
		if h.Value.Leader == own {
			h.Value.Leader = other
			v.Health[id] = h
		}
	}
}

// ownHold gives this node's hold for a reboot, if it is acting.
func ownHold(v policy.View) (policy.Hold, bool) {
	for _, h := range v.Lock.Value.Holders {
		if h.Instance == v.Self.Instance && h.Phase == policy.Acting && (h.Reason == policy.HoldRebooting || h.Reason == policy.HoldFleetLock) {
			return h, v.InFlight == nil && v.Lock.Known()
		}
	}
	return policy.Hold{}, false
}

// grantAlways grants the lock to a FleetLock client where it is free.
func grantAlways(_ policy.Config, v policy.View, d *policy.Decision) {
	for _, r := range v.Requests {
		if r.Kind == policy.PreReboot && v.InFlight == nil && v.Lock.Known() && len(v.Lock.Value.Holders) == 0 {
			act(d, policy.TakeSlot{Answers: r.ID, Take: policy.Take{Reason: policy.HoldFleetLock, Phase: policy.Acting, Client: r.Client,
				Member: v.Record.Member, Cluster: v.Record.Cluster, Turn: v.Lock.Value.Turn}}, policy.ConcernRequest, policy.GrantLock)
		}
	}
}

// releaseAtBoot gives the hold back as soon as the agent is back.
func releaseAtBoot(_ policy.Config, v policy.View, d *policy.Decision) {
	if h, ok := ownHold(v); ok && h.Boot != v.Self.Boot {
		act(d, release(h), policy.ConcernReboot, policy.RebootDone)
	}
}

// releaseAtStart takes a hold of this boot for one that nobody needs.
func releaseAtStart(_ policy.Config, v policy.View, d *policy.Decision) {
	if h, ok := ownHold(v); ok && h.Boot == v.Self.Boot && h.Reason == policy.HoldRebooting && v.Now.Sub(v.Started) < time.Minute {
		act(d, release(h), policy.ConcernReboot, policy.GiveBackLock)
	}
}

// evictByTime takes a hold of half an hour for one of a dead node.
func evictByTime(_ policy.Config, v policy.View, d *policy.Decision) {
	for _, h := range v.Lock.Value.Holders {
		if d.Steward && v.InFlight == nil && v.Lock.Known() && h.Reason != policy.HoldLeaving && v.Now.Sub(h.Since) > 30*time.Minute {
			act(d, release(h), policy.ConcernSteward, policy.EvictHold)
		}
	}
}

func release(h policy.Hold) policy.Action {
	return policy.ReleaseHold{Slot: h.Slot, Instance: h.Instance, Revision: h.Revision}
}

// neverReboot is very safe.
func neverReboot(_ policy.Config, _ policy.View, d *policy.Decision) {
	if d.Concern == policy.ConcernReboot {
		d.Action, d.Concern = nil, ""
	}
}

// alwaysWanted is a source that is never content, and a policy that does not notice.
func alwaysWanted(_ policy.Config, v *policy.View) {
	v.Record.Rebooted = nil
	v.Wants = map[policy.WantSource]policy.Fact[policy.Want]{policy.WantSentinel: policy.Observed(policy.Want{Wanted: true}, v.Now)}
}

func act(d *policy.Decision, a policy.Action, c policy.Concern, r policy.Reason) {
	d.Action, d.Concern = a, c
	d.Verdicts = maps.Clone(d.Verdicts)
	d.Verdicts[c] = policy.Verdict{Reason: r, Action: a}
}

func sortMembers(ms []policy.PromisedMember) {
	slices.SortFunc(ms, func(a, b policy.PromisedMember) int { return strings.Compare(string(a.Instance), string(b.Instance)) })
}
