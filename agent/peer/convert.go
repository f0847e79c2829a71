package peer

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quorumd/quorumd/agent/policy"
)

// Names of facts in [Status.Facts]. A member's health is FactHealth and its id,
// another agent's status FactAgent and its instance id.
const (
	FactLifecycle = "lifecycle"
	FactSpot      = "spot"
	FactGroup     = "group"
	FactInstances = "instances"
	FactUnit      = "unit"
	FactData      = "data"
	FactMembers   = "members"
	FactLocal     = "local"
	FactPulse     = "pulse"
	FactLock      = "lock"
	// Which etcd this node's unit starts, and what the cluster's members agreed on.
	FactVersion        = "etcd-version"
	FactClusterVersion = "cluster-version"
	FactHealth         = "health/"
	FactAgent          = "agent/"
)

// About is what a status tells beyond the pass.
type About struct {
	// Sequence numbers the pass.
	Sequence uint64
	// OS and Quorumd are versions.
	OS, Quorumd string
	// AgentURL gives the base URL of the agent on a host; nil leaves the other
	// agents' URLs out.
	AgentURL func(host string) string
}

// Bounds that keep a status far below [MaxSize] whatever happens.
const (
	maxWords    = 400 // bytes of an error or a detail
	maxReceipts = 40
	keepReceipt = time.Hour // for how long a success is worth showing
)

// FromPass gives the status of one pass: what it saw and what it decided.
func FromPass(v policy.View, d policy.Decision, about About) Status {
	s := Status{
		Version:   Version,
		Instance:  string(v.Self.Instance),
		Machine:   v.Self.Machine,
		Boot:      v.Self.Boot,
		OS:        about.OS,
		Quorumd:   about.Quorumd,
		PeerURL:   v.Self.PeerURL,
		ClientURL: v.Self.ClientURL,
		Record:    fromRecord(v.Record),
		Lifecycle: fromLifecycle(v),
		Decision:  fromDecision(v, d, about.Sequence),
		Facts:     fromFacts(v),
		Agents:    fromPeers(v, about.AgentURL),
	}
	if v.Data.Known() {
		has := !v.Data.Value.Empty
		s.HasData = &has
		s.Etcd.DataMember = ID(v.Data.Value.Member)
	}
	if v.Unit.Known() {
		u := v.Unit.Value
		s.Etcd.Unit = &Unit{Load: u.Load, Active: u.Active, Sub: u.Sub}
	}
	s.Etcd.Health = fromHealth(v.Local)
	s.Etcd.Pulse = fromPulse(v)
	if v.Record.Instance == v.Self.Instance {
		s.Election = fromElection(v.Record.Election)
	}
	if s.Etcd.Version = v.Local.Value.Version; s.Etcd.Version == "" {
		s.Etcd.Version = v.EtcdVersion.Value // what would run
	}
	if v.Group.Ever() {
		s.Group = fromGroup(v.Group.Value, v.Instances.Value)
	}
	if v.Members.Ever() {
		s.Members = fromMembers(v.Members.Value, v.Health)
	}
	if v.Lock.Ever() {
		s.Lock = FromLock(v.Lock.Value)
	}
	return s
}

func fromRecord(r policy.Record) Record {
	out := Record{Instance: string(r.Instance), Member: ID(r.Member), Cluster: ID(r.Cluster)}
	if p := r.Promise; p != nil {
		out.Promise = &Promise{Group: p.GroupARN, Hash: p.Hash(), Withdrawn: p.Withdrawn, Committed: p.Committed}
		for _, m := range p.Members {
			out.Promise.Members = append(out.Promise.Members, PromisedMember{Instance: string(m.Instance), PeerURL: m.PeerURL})
		}
	}
	if l := r.Leaving; l != nil {
		out.Leaving = &Leaving{Since: l.Since, Target: l.Target}
	}
	return out
}

func fromLifecycle(v policy.View) Lifecycle {
	var out Lifecycle
	if v.Lifecycle.Known() {
		out.Target = string(v.Lifecycle.Value)
	}
	if i, ok := v.Group.Value.Find(v.Self.Instance); ok {
		out.State = string(i.State)
	}
	if n := v.Spot.Value; v.Spot.Ever() && n != (policy.Notice{}) {
		out.SpotAction, out.SpotTime = n.Action, &n.Time
	}
	return out
}

func fromGroup(g policy.Group, ec2 map[policy.InstanceID]policy.Instance) *Group {
	out := &Group{
		Name:            g.Name,
		Desired:         g.Desired,
		Deleting:        g.Deleting,
		LaunchSuspended: g.LaunchSuspended,
		ClusterTag:      g.ClusterTag,
	}
	for _, i := range g.Instances {
		out.Instances = append(out.Instances, Instance{ID: string(i.ID), State: string(i.State), EC2: string(ec2[i.ID].State)})
	}
	return out
}

func fromDecision(v policy.View, d policy.Decision, sequence uint64) Decision {
	out := Decision{Sequence: sequence, Time: v.Now, Concern: string(d.Concern), Steward: d.Steward}
	if d.Action != nil {
		out.Action = d.Action.Kind()
	}
	for _, c := range policy.Concerns() {
		if ver, ok := d.Verdicts[c]; ok {
			out.Concerns = append(out.Concerns, Verdict{Concern: string(c), Reason: string(ver.Reason), Detail: words(ver.Detail)})
		}
	}
	for _, w := range d.Warnings {
		out.Warnings = append(out.Warnings, Warning{Name: w.Name, Detail: words(w.Detail)})
	}
	if f := v.InFlight; f != nil {
		out.InFlight = &InFlight{Action: f.Action.Kind(), Started: f.Started}
	}
	out.Receipts = fromReceipts(v.Receipts, v.Now)
	return out
}

// fromReceipts keeps what still matters: failures, and successes of late; if they
// are too many, the newest.
func fromReceipts(all map[string]policy.Receipt, now time.Time) []Receipt {
	var out []Receipt
	for key, r := range all {
		if r.Failures > 0 || now.Sub(r.Ended) <= keepReceipt {
			out = append(out, Receipt{Key: key, Ended: r.Ended, Failures: r.Failures, Error: words(r.LastErr), Detail: words(r.Detail)})
		}
	}
	slices.SortFunc(out, func(a, b Receipt) int {
		return cmp.Or(b.Ended.Compare(a.Ended), cmp.Compare(a.Key, b.Key))
	})
	out = out[:min(len(out), maxReceipts)]
	slices.SortFunc(out, func(a, b Receipt) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

func fromFacts(v policy.View) []Fact {
	now := v.Now
	out := []Fact{
		fromFact(FactLifecycle, v.Lifecycle, now),
		fromFact(FactSpot, v.Spot, now),
		fromFact(FactGroup, v.Group, now),
		fromFact(FactInstances, v.Instances, now),
		fromFact(FactUnit, v.Unit, now),
		fromFact(FactData, v.Data, now),
		fromFact(FactLocal, v.Local, now),
		fromFact(FactPulse, v.Pulse, now),
		fromFact(FactMembers, v.Members, now),
		fromFact(FactLock, v.Lock, now),
	}
	if v.EtcdVersion.Ever() || v.EtcdVersion.Err != "" { // only who joins reads them
		out = append(out, fromFact(FactVersion, v.EtcdVersion, now))
	}
	if v.ClusterVersion.Ever() || v.ClusterVersion.Err != "" {
		out = append(out, fromFact(FactClusterVersion, v.ClusterVersion, now))
	}
	for _, id := range slices.Sorted(maps.Keys(v.Health)) {
		out = append(out, fromFact(FactHealth+id.String(), v.Health[id], now))
	}
	for _, id := range slices.Sorted(maps.Keys(v.Peers)) {
		out = append(out, fromFact(FactAgent+string(id), v.Peers[id], now))
	}
	return out
}

func fromFact[T any](name string, f policy.Fact[T], now time.Time) Fact {
	out := Fact{Name: name, Observed: f.Ever(), Error: words(f.Err)}
	if f.Ever() {
		out.AgeSeconds = now.Sub(f.At).Seconds()
	}
	return out
}

// fromHealth gives only what is known now: an old word of a member is no health.
func fromHealth(f policy.Fact[policy.Health]) *Health {
	if !f.Known() {
		return nil
	}
	h := f.Value
	out := &Health{
		Member: ID(h.Member), Cluster: ID(h.Cluster), Leader: ID(h.Leader),
		Term: h.Term, Committed: h.Committed, Applied: h.Applied,
		Learner: h.Learner, Serves: h.Serves, Version: h.Version,
	}
	out.Alarms = alarms(h.NoSpace, h.Corrupt)
	return out
}

func fromMembers(l policy.MemberList, health map[policy.MemberID]policy.Fact[policy.Health]) *Members {
	out := &Members{Cluster: ID(l.Cluster)}
	for _, m := range l.Members {
		out.List = append(out.List, Member{
			ID:          ID(m.ID),
			Instance:    string(l.Instance(m)),
			Started:     m.Name != "",
			Learner:     m.Learner,
			PeerURLs:    m.PeerURLs,
			ClientURLs:  m.ClientURLs,
			Health:      fromHealth(health[m.ID]),
			HealthError: words(health[m.ID].Err),
		})
	}
	return out
}

// FromLock puts a lock into the words that others read.
func FromLock(l policy.Lock) *Lock {
	out := &Lock{Group: l.Group, Slots: l.Slots}
	for _, h := range l.Holders {
		out.Holders = append(out.Holders, Hold{
			Slot: h.Slot, Instance: string(h.Instance), Member: ID(h.Member),
			Reason: string(h.Reason), Phase: string(h.Phase), Since: h.Since,
			Client: words(h.Client), Why: words(h.Why), Revision: h.Revision,
		})
	}
	out.Leaving, out.Queue = fromWaiters(l.Leaving), fromWaiters(l.Queue)
	return out
}

func fromWaiters(ws []policy.Waiter) (out []Waiter) {
	for _, w := range ws {
		out = append(out, Waiter{Instance: string(w.Instance), Reason: string(w.Reason), Since: w.Since})
	}
	return out
}

// fromPeers lists every other instance that may have an agent, with its address
// from whoever knows it: itself, the member list, EC2.
func fromPeers(v policy.View, urlOf func(host string) string) []Agent {
	hosts := map[policy.InstanceID]string{}
	for _, i := range v.Group.Value.Instances {
		hosts[i.ID] = ""
	}
	for id, i := range v.Instances.Value {
		if i.Address != "" {
			hosts[id] = i.Address
		}
	}
	for _, m := range v.Members.Value.Members {
		if id := v.Members.Value.Instance(m); id != "" && len(m.PeerURLs) > 0 {
			hosts[id] = hostOf(m.PeerURLs[0])
		}
	}
	for id, f := range v.Peers {
		if h := hostOf(f.Value.PeerURL); h != "" || hosts[id] == "" {
			hosts[id] = h
		}
	}
	delete(hosts, v.Self.Instance)
	var out []Agent
	for _, id := range slices.Sorted(maps.Keys(hosts)) {
		a := Agent{Instance: string(id), EC2: string(v.Instances.Value[id].State), Answers: v.Peers[id].Known()}
		if hosts[id] != "" && urlOf != nil {
			a.URL = urlOf(hosts[id])
		}
		out = append(out, a)
	}
	return out
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// words bounds what others said, on a boundary of characters.
func words(s string) string {
	if len(s) <= maxWords {
		return strings.ToValidUTF8(s, "?")
	}
	cut := maxWords
	for cut > maxWords-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.ToValidUTF8(s[:cut], "?") + "…"
}
