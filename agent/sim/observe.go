package sim

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// seen is what tells a new observation from a repeated one.
type seen struct {
	members, lock version
	group         int
}

type version struct {
	cluster policy.ClusterID
	n       int
	own     bool // answered by this node's own member
}

var (
	errAWS    = errors.New("AWS does not answer")
	errIMDS   = errors.New("instance metadata does not answer")
	errSilent = errors.New("connection refused")
)

// observe reads one source now; the answer lands when the returned function runs,
// which reports whether it is any news.
func (a *agent) observe(s policy.Source) func() bool {
	began := a.m.clock()
	switch s {
	case policy.SourceGroup:
		return a.observeGroup(began)
	case policy.SourceInstances:
		return a.observeInstances(began)
	case policy.SourceTarget:
		if a.m.noIMDS {
			return func() bool { return fail(&a.view.Lifecycle, errIMDS) }
		}
		t := a.m.target
		return func() bool { return land(&a.view.Lifecycle, t, began) }
	case policy.SourceSpot:
		n := policy.Notice{}
		if !a.m.spot.IsZero() {
			n = policy.Notice{Action: "terminate", Time: a.m.spot}
		}
		return func() bool { return land(&a.view.Spot, n, began) }
	case policy.SourceUnit:
		u := a.m.etcd.unit
		return func() bool { return land(&a.view.Unit, u, began) }
	case policy.SourceData:
		d := a.m.disk.data
		is := policy.Data{Empty: d.empty(), Member: d.member, Cluster: d.cluster}
		return func() bool { return land(&a.view.Data, is, began) }
	case policy.SourceWants:
		return a.observeWants(began)
	case policy.SourceLogin:
		l, err := a.m.logind()
		return func() bool { return landAny(&a.view.Login, l, began, err) }
	case policy.SourceDown:
		var down []string
		if a.m.sys.down {
			down = []string{"web.service"}
		}
		return func() bool { return landAny(&a.view.Down, down, began, nil) }
	case policy.SourceMembers:
		return a.observeMembers(began)
	case policy.SourcePulse:
		return a.observePulse(began)
	case policy.SourceHealth:
		return a.observeHealth(began)
	case policy.SourceLock:
		return a.observeLock(began)
	case policy.SourceVersions:
		return a.observeVersions(began)
	default:
		return a.observePeers(began)
	}
}

// land stores a value; fail an error, which keeps the last value.
func land[T comparable](f *policy.Fact[T], v T, began time.Time) bool {
	changed := !f.Known() || f.Value != v
	*f = policy.Observed(v, began)
	return changed
}

func fail[T any](f *policy.Fact[T], err error) bool {
	changed := f.Err == ""
	f.Err = err.Error()
	return changed
}

// aws reports whether a call to AWS gets through.
func (a *agent) aws() bool {
	return !a.m.noAWS && !a.w.awsDown && !(a.w.throttled && a.w.chance(0.6))
}

func (a *agent) observeGroup(began time.Time) func() bool {
	if !a.aws() {
		return func() bool { return fail(&a.view.Group, errAWS) }
	}
	g, v := a.w.group.shown, a.w.group.shownAs
	return func() bool {
		changed := !a.view.Group.Known() || a.seen.group != v
		a.view.Group, a.seen.group = policy.Observed(g, began), v
		return changed
	}
}

func (a *agent) observeInstances(began time.Time) func() bool {
	if !a.aws() {
		return func() bool { return fail(&a.view.Instances, errAWS) }
	}
	is := make(map[policy.InstanceID]policy.Instance)
	for id := range strings.SplitSeq(a.watched, ",") {
		i := policy.Instance{State: policy.InstanceNotFound}
		if m := a.w.machine(policy.InstanceID(id)); m != nil {
			i.State = m.state
			if m.state != policy.InstanceTerminated && m.state != policy.InstanceNotFound {
				i.Address = m.address()
			}
		}
		is[policy.InstanceID(id)] = i
	}
	return func() bool {
		old := a.view.Instances
		changed := !old.Known() || len(old.Value) != len(is)
		for id, i := range is {
			changed = changed || old.Value[id] != i
		}
		a.view.Instances = policy.Observed(is, began)
		if changed {
			a.touch(policy.SourcePeers)
			a.touch(policy.SourceMembers)
		}
		return changed
	}
}

// knows reports whether the agent has found another machine's address.
func (a *agent) knows(o *machine) bool {
	v := &a.view
	i, ok := v.Instances.Value[o.id]
	if ok && i.Address != "" {
		return true
	}
	for _, m := range v.Members.Value.Members {
		if m.PeerURLs[0] == o.peerURL() && v.Members.Value.Instance(m) == o.id {
			return true
		}
	}
	if !v.Members.Ever() && v.Record.Instance == v.Self.Instance && !(ok && i.State == policy.InstanceTerminated) &&
		slices.ContainsFunc(v.Record.Voters, func(vo policy.Voter) bool { return vo.Instance == o.id && vo.PeerURL == o.peerURL() }) {
		return true
	}
	if p := v.Record.Promise; p != nil && !v.Members.Ever() && !(ok && i.State == policy.InstanceTerminated) {
		return p.Has(o.id)
	}
	return false
}

// server finds a member that serves, the own one only for want of another, and
// never the excluded one.
func (a *agent) server(not policy.MemberID) (*machine, *cluster) {
	var found []*machine
	own := false
	for _, o := range a.w.machines {
		if !o.etcd.running || o.disk.data.member == not || !a.m.reaches(o) {
			continue
		}
		if o != a.m && !a.knows(o) && !slices.Contains(a.view.Record.Endpoints, o.clientURL()) {
			continue
		}
		if c := o.cluster(); !c.serves(o) {
			continue
		}
		if o == a.m {
			own = true
			continue
		}
		found = append(found, o)
	}
	if len(found) == 0 && own || own && a.w.chance(0.1) {
		return a.m, a.m.cluster()
	}
	if len(found) == 0 {
		return nil, nil
	}
	o := found[a.w.rng.IntN(len(found))]
	return o, o.cluster()
}

func (a *agent) observeMembers(began time.Time) func() bool {
	o, c := a.server(0)
	if c == nil {
		return func() bool { return fail(&a.view.Members, errNoServer) }
	}
	l := c.list
	l.Via = o.disk.data.member
	is := version{cluster: c.id, n: c.version, own: o == a.m}
	return func() bool {
		changed := !a.view.Members.Known() || a.seen.members != is
		a.view.Members, a.seen.members = policy.Observed(l, began), is
		if changed {
			a.touch(policy.SourceHealth)
			a.touch(policy.SourceLock)
			a.touch(policy.SourcePeers)
		}
		return changed
	}
}

// probe asks exactly one member.
func (a *agent) probe(id policy.MemberID) (policy.Health, error) {
	var m policy.Member
	for _, e := range a.view.Members.Value.Members {
		if e.ID == id {
			m = e
		}
	}
	if len(m.ClientURLs) == 0 {
		return policy.Health{}, errSilent
	}
	return a.probeURL(m.ClientURLs[0])
}

// probeURL asks whatever listens there.
func (a *agent) probeURL(url string) (policy.Health, error) {
	for _, o := range a.w.machines {
		if o.clientURL() != url {
			continue
		}
		if !a.m.reaches(o) || !o.etcd.running || o.etcd.paused {
			break
		}
		c := o.cluster()
		h := policy.Health{Cluster: c.id, Member: o.disk.data.member, Term: c.term, Version: o.version.String(), NoSpace: c.noSpace, Serves: c.serves(o)}
		if o.etcd.linked >= 0 {
			h.Leader = c.named(o)
		}
		if me := c.find(h.Member); me != nil {
			h.Learner = me.learner
			h.Applied = c.applied(o, me)
		}
		h.Committed = max(h.Applied, c.index)
		if h.Serves {
			h.Committed = c.at(c.w.now)
		}
		return h, nil
	}
	return policy.Health{}, errSilent
}

func (a *agent) observeHealth(began time.Time) func() bool {
	type answer struct {
		id  policy.MemberID
		h   policy.Health
		err error
	}
	var all []answer
	for _, m := range a.view.Members.Value.Members {
		if len(m.ClientURLs) == 0 {
			continue
		}
		h, err := a.probe(m.ID)
		all = append(all, answer{m.ID, h, err})
	}
	return func() bool {
		changed := len(all) != len(a.view.Health)
		for id := range a.view.Health {
			if !slices.ContainsFunc(all, func(n answer) bool { return n.id == id }) {
				delete(a.view.Health, id)
				changed = true
			}
		}
		for _, n := range all {
			f := a.view.Health[n.id]
			if n.err != nil {
				changed = fail(&f, n.err) || changed
			} else {
				was := f.Value
				if !n.h.Learner { // a voter's indices alone are no news
					was.Applied, was.Committed = n.h.Applied, n.h.Committed
				}
				changed = changed || !f.Known() || was != n.h
				f = policy.Observed(n.h, began)
			}
			a.view.Health[n.id] = f
		}
		return changed
	}
}

func (a *agent) observeLock(began time.Time) func() bool {
	if !a.view.Members.Ever() {
		return func() bool { return false }
	}
	_, c := a.server(0)
	if c == nil {
		return func() bool { return fail(&a.view.Lock, errNoServer) }
	}
	l := c.readLock()
	is := version{cluster: c.id, n: int(c.rev)}
	return func() bool {
		changed := !a.view.Lock.Known() || a.seen.lock != is
		a.view.Lock, a.seen.lock = policy.Observed(l, began), is
		return changed
	}
}

func (a *agent) observePeers(began time.Time) func() bool {
	type answer struct {
		id  policy.InstanceID
		p   policy.Peer
		err error
	}
	var all []answer
	for _, o := range a.w.machines {
		if o == a.m || !a.knows(o) {
			continue
		}
		n := answer{id: o.id, err: errSilent}
		if a.m.reaches(o) && o.agent != nil && !a.m.deaf[o.id] {
			n.p, n.err = o.publish(), nil
		}
		all = append(all, n)
	}
	return func() bool {
		changed := false
		for id := range a.view.Peers {
			_, listed := a.view.Group.Value.Find(id)
			if !listed && !slices.ContainsFunc(all, func(n answer) bool { return n.id == id }) {
				delete(a.view.Peers, id)
				changed = true
			}
		}
		for _, n := range all {
			f := a.view.Peers[n.id]
			if n.err != nil {
				changed = fail(&f, n.err) || changed
			} else {
				changed = !f.Known() || !samePeer(f.Value, n.p) || changed
				f = policy.Observed(n.p, began)
			}
			a.view.Peers[n.id] = f
		}
		return changed
	}
}

// publish is what an agent says of itself: of its own record only, never of one
// that came with a copied disk.
func (m *machine) publish() policy.Peer {
	p := policy.Peer{
		Instance: m.id, Boot: m.agent.view.Self.Boot, PeerURL: m.peerURL(), ClientURL: m.clientURL(),
		HasData: !m.disk.data.empty(),
	}
	if r := m.disk.record; r.Instance == m.id {
		p.Promise, p.Member, p.Cluster, p.Leaving = r.Promise, r.Member, r.Cluster, r.Leaving != nil
		p.Election, p.Etcd = r.Election, m.agent.word()
	}
	return p
}

func (a *agent) observeWants(began time.Time) func() bool {
	is := a.m.wants()
	return func() bool {
		changed := false
		for s, want := range is {
			f := a.view.Wants[s]
			changed = land(&f, want, began) || changed
			a.view.Wants[s] = f
		}
		return changed
	}
}

// landAny is land for values that cannot be compared.
func landAny[T any](f *policy.Fact[T], v T, began time.Time, err error) bool {
	if err != nil {
		return fail(f, err)
	}
	changed := !f.Known() || !reflect.DeepEqual(f.Value, v)
	*f = policy.Observed(v, began)
	return changed
}
