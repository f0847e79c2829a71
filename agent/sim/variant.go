package sim

import (
	"maps"
	"slices"
	"strings"

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
	return []Variant{
		{Name: "lock ignored", Invariant: OneDisrupted, View: ignoreLock},
		{Name: "quorum check off", Invariant: QuorumKept, View: allHealthy},
		{Name: "promote at once", Invariant: PromotedCaughtUp, View: allCaughtUp},
		{Name: "unknown taken for healthy", Invariant: QuorumKept, View: unknownHealthy},
		{Name: "bootstrap without promise", Invariant: OneCluster, Decide: startAlone},
		{Name: "hook completed while the lock is unknown", Invariant: HookUnderLock, Decide: completeBlindly},
		{Name: "fresh start granted to whoever asks", Invariant: OneCluster, Decide: freshAlways},
	}
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

// freshAlways removes the tag when an operator asks, whatever is left.
func freshAlways(_ policy.Config, v policy.View, d *policy.Decision) {
	if tag := v.Group.Value.ClusterTag; len(v.Requests) > 0 && v.InFlight == nil && v.Group.Known() && tag != "" {
		act(d, policy.DeleteTag{Value: tag}, policy.ConcernRequest, policy.FreshAllowed)
	}
}

func act(d *policy.Decision, a policy.Action, c policy.Concern, r policy.Reason) {
	d.Action, d.Concern = a, c
	d.Verdicts = maps.Clone(d.Verdicts)
	d.Verdicts[c] = policy.Verdict{Reason: r, Action: a}
}

func sortMembers(ms []policy.PromisedMember) {
	slices.SortFunc(ms, func(a, b policy.PromisedMember) int { return strings.Compare(string(a.Instance), string(b.Instance)) })
}
