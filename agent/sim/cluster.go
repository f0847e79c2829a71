package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// cluster is one etcd cluster: what its majority agreed on.
type cluster struct {
	w       *world
	id      policy.ClusterID
	members []*member // sorted by id
	gone    map[policy.MemberID]bool
	joins   map[string]policy.InstanceID
	lock    lock
	noSpace bool
	// wedged: it elects nobody, until all voters were down at once; hopeless: not even then.
	wedged, hopeless bool

	level policy.Version // that all members have agreed on; zero: not yet
	rough time.Duration  // until then the next version cannot read the log

	leader   policy.MemberID
	led      policy.MemberID            // the leader before, for those in heard
	heard    map[*machine]time.Duration // when who hears of the last hand-over
	electing bool
	term     uint64
	rev      int64
	// The log grows by rate entries a second while there is a leader.
	index   uint64
	indexAt time.Duration
	rate    float64
	side    int // of the partition, where the majority is

	list    policy.MemberList // as read; made anew after a change
	version int
}

// member is one entry of the list.
type member struct {
	id      policy.MemberID
	name    policy.InstanceID // empty until it started and said so
	url     string
	client  string
	learner bool
	// A learner catches up within need of being linked; stuck: never.
	need, got time.Duration
	stuck     bool
	// version of its process, as it last told the others; zero: never. first: of the first
	// cluster, whose versions are what they are.
	version policy.Version
	first   bool
}

func (w *world) cluster(id policy.ClusterID) *cluster {
	for _, c := range w.clusters {
		if c.id == id {
			return c
		}
	}
	return nil
}

// form gives the cluster of an initial list, made when its first member starts.
func (w *world) form(initial []policy.InitialMember, token string) *cluster {
	id := clusterID(initial, token)
	if c := w.cluster(id); c != nil {
		return c
	}
	c := &cluster{w: w, id: id, gone: map[policy.MemberID]bool{}, joins: map[string]policy.InstanceID{}, rate: w.plan.rate}
	c.lock.slots = 1
	for _, i := range initial {
		// etcd takes the names of a first cluster from the list; that a member has
		// started shows in its client URL.
		c.members = append(c.members, &member{id: memberID(i.PeerURL, token), url: i.PeerURL, name: policy.InstanceID(i.Name), first: true})
	}
	c.changed()
	w.clusters = append(w.clusters, c)
	return c
}

// kept reports whether a disk that is left holds a member of the cluster.
func (c *cluster) kept() bool {
	return slices.ContainsFunc(c.w.machines, func(m *machine) bool { return m.disk.data.started && m.disk.data.cluster == c.id })
}

// forget takes a cluster out of the world of which nothing is left.
func (w *world) forget(c *cluster) {
	w.clusters = slices.DeleteFunc(w.clusters, func(o *cluster) bool { return o == c })
}

// changed makes the list anew.
func (c *cluster) changed() {
	slices.SortFunc(c.members, func(a, b *member) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	c.version++
	c.list = policy.MemberList{Cluster: c.id, Joins: make(map[string]policy.InstanceID, len(c.joins))}
	for u, i := range c.joins {
		c.list.Joins[u] = i
	}
	for _, m := range c.members {
		e := policy.Member{ID: m.id, Name: string(m.name), PeerURLs: []string{m.url}, Learner: m.learner}
		if m.client != "" {
			e.ClientURLs = []string{m.client}
		}
		c.list.Members = append(c.list.Members, e)
	}
	c.w.touch(policy.SourceMembers)
}

func (c *cluster) find(id policy.MemberID) *member {
	for _, m := range c.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (c *cluster) byURL(url string) *member {
	for _, m := range c.members {
		if m.url == url {
			return m
		}
	}
	return nil
}

// host is the machine on which a member's process runs, nil for none.
func (c *cluster) host(id policy.MemberID) *machine {
	for _, m := range c.w.machines {
		if m.etcd.running && m.disk.data.member == id && m.disk.data.cluster == c.id {
			return m
		}
	}
	return nil
}

func (c *cluster) voters() int {
	n := 0
	for _, m := range c.members {
		if !m.learner {
			n++
		}
	}
	return n
}

// at gives the committed index.
func (c *cluster) at(now time.Duration) uint64 {
	if c.leader == 0 {
		return c.index
	}
	return c.index + uint64(c.rate*(now-c.indexAt).Seconds())
}

func (c *cluster) freeze() {
	c.index, c.indexAt = c.at(c.w.now), c.w.now
}

// unlink freezes a process's log where it is when it loses the majority.
func (m *machine) unlink(c *cluster) {
	if m.etcd.linked < 0 {
		return
	}
	if me := c.find(m.disk.data.member); me != nil && me.learner {
		if m.disk.data.index = c.applied(m, me); !me.caught(c.w.now, m.etcd.linked) {
			me.got += c.w.now - m.etcd.linked
		} else {
			me.got = me.need
		}
	} else if m.etcd.synced {
		m.disk.data.index = c.at(c.w.now)
	}
	m.etcd.linked, m.etcd.synced = -1, false
}

func (m *member) caught(now, linked time.Duration) bool {
	return !m.stuck && linked >= 0 && m.got+now-linked >= m.need
}

// applied is the index up to which a process has applied the log.
func (c *cluster) applied(host *machine, m *member) uint64 {
	switch {
	case host.etcd.linked < 0:
		return host.disk.data.index
	case !m.learner && host.etcd.synced, m.learner && m.caught(c.w.now, host.etcd.linked):
		return c.at(c.w.now)
	case !m.learner || m.stuck:
		return host.disk.data.index
	}
	share := float64(m.got+c.w.now-host.etcd.linked) / float64(m.need)
	return max(host.disk.data.index, uint64(share*float64(c.at(c.w.now))))
}

// linkable reports whether a member's process could talk to the majority's side.
func (c *cluster) linkable(m *member, side int) *machine {
	if h := c.host(m.id); h != nil && !h.etcd.paused && h.side == side {
		return h
	}
	return nil
}

// reach counts the voters whose processes a voter's process can talk to, its own
// included, of those that say yes.
func (c *cluster) reach(h *machine, yes func(*machine, *member) bool) int {
	n := 0
	for _, m := range c.members {
		if o := c.linkable(m, h.side); !m.learner && o != nil && h.linked(o) && (yes == nil || yes(o, m)) {
			n++
		}
	}
	return n
}

// electable reports whether a majority of the voters hears this one.
func (c *cluster) electable(m *member, side int) bool {
	h := c.linkable(m, side)
	return !m.learner && h != nil && c.reach(h, nil) >= policy.Quorum(c.voters())
}

// settle finds out who has the majority now, and what follows.
func (c *cluster) settle() {
	c.unwedged()
	need := policy.Quorum(c.voters())
	best, side := 0, 0
	for s := 0; s <= 2; s++ {
		n := 0
		for _, m := range c.members {
			if !m.learner && c.linkable(m, s) != nil {
				n++
			}
		}
		if n > best {
			best, side = n, s
		}
	}
	quorum := best >= need && need > 0 && !c.wedged &&
		slices.ContainsFunc(c.members, func(m *member) bool { return c.electable(m, side) })
	lm := c.find(c.leader)
	leads := quorum && lm != nil && side == c.side && c.electable(lm, side)
	if !leads && c.leader != 0 {
		c.freeze()
		c.leader = 0
		c.w.say("", "no leader: %d of %d voters are linked", best, c.voters())
	}
	c.side = side
	c.link(quorum)
	if quorum && c.leader == 0 && !c.electing {
		c.electing = true
		c.w.after(c.w.between(time.Second, 2500*time.Millisecond), c.elect)
	}
	c.report()
	c.w.touchEtcd()
}

// link notes which processes reach the majority, and since when.
func (c *cluster) link(quorum bool) {
	lead := c.host(c.leader)
	for _, m := range c.w.machines {
		if !m.etcd.running || m.disk.data.cluster != c.id {
			continue
		}
		id := m.disk.data.member
		me := c.find(id)
		on := quorum && m.side == c.side && !m.etcd.paused && (lead == nil || m.linked(lead))
		switch {
		case me == nil && on && c.gone[id]:
			m.evicted(c)
		case me == nil || !on:
			m.unlink(c)
		case m.etcd.linked < 0:
			m.etcd.linked = c.w.now
			m.join(c, me)
		}
	}
}

// evicted: the process learns that it was removed, and ends.
func (m *machine) evicted(c *cluster) {
	m.unlink(c)
	gen := m.etcd.gen
	c.w.after(c.w.between(0, time.Second), func() {
		if m.etcd.gen == gen && m.etcd.running {
			m.exit("removed")
		}
	})
}

// join catches a process up, and publishes its name, once there is a leader.
func (m *machine) join(c *cluster, me *member) {
	gen, linked := m.etcd.gen, m.etcd.linked
	var step func()
	step = func() {
		if m.etcd.gen != gen || m.etcd.linked != linked || c.find(me.id) != me {
			return
		}
		if c.leader == 0 {
			c.w.after(500*time.Millisecond, step)
			return
		}
		if me.name != m.id || me.client == "" {
			me.name, me.client = m.id, m.clientURL()
			c.changed()
		}
		me.version = m.version
		c.agree()
		if why := c.upset(m.version); why != "" && !me.first {
			m.exit(why)
			return
		}
		m.etcd.synced = !me.learner
		if me.learner && !me.stuck {
			c.w.after(max(0, me.need-me.got-(c.w.now-linked)), func() { c.w.touch(policy.SourceHealth); c.report() })
		}
		c.report()
		c.w.touchEtcd()
	}
	c.w.after(c.w.between(50*time.Millisecond, 1500*time.Millisecond), step)
}

// elect makes the voter with the longest log the leader, of those that a majority
// hears and finds no longer log than its own.
func (c *cluster) elect() {
	c.electing = false
	if c.leader != 0 || c.wedged {
		return
	}
	var lead *member
	var host *machine
	for _, m := range c.members {
		if !c.electable(m, c.side) {
			continue
		}
		h := c.linkable(m, c.side)
		own := c.applied(h, m)
		votes := c.reach(h, func(o *machine, v *member) bool { return c.applied(o, v) <= own })
		if votes >= policy.Quorum(c.voters()) && (lead == nil || own > c.applied(host, lead)) {
			lead, host = m, h
		}
	}
	if lead == nil {
		return
	}
	c.w.tell(Elected{Cluster: c.id, Member: lead.id, Index: c.applied(host, lead), Acked: c.index})
	c.leader, c.indexAt = lead.id, c.w.now
	c.term++
	host.etcd.synced = true
	c.w.say(host.id, "leads %s", c.id)
	c.settle()
}

// moveTo makes another member the leader, by its predecessor's own will: those that
// are neither hear of it a moment later, and name the old one until then.
func (c *cluster) moveTo(id policy.MemberID) {
	old := c.leader
	c.leader, c.led, c.heard = id, old, map[*machine]time.Duration{}
	c.term++
	for _, m := range c.members {
		if h := c.host(m.id); h != nil && m.id != id && m.id != old {
			late := c.w.between(0, 300*time.Millisecond)
			c.heard[h] = c.w.now + late
			c.w.after(late, c.w.touchEtcd)
		}
	}
}

// named is the leader that a machine's process knows, while it is linked.
func (c *cluster) named(m *machine) policy.MemberID {
	if c.leader != 0 && c.w.now < c.heard[m] {
		return c.led
	}
	return c.leader
}

// report tells the checker.
func (c *cluster) report() {
	e := ClusterIs{ID: c.id, Leader: c.leader, NoSpace: c.noSpace, Version: c.level}
	for _, m := range c.members {
		is := MemberIs{ID: m.id, Instance: c.list.Instance(policy.Member{Name: string(m.name), PeerURLs: []string{m.url}}), Learner: m.learner, Version: m.version}
		is.Behind = c.at(c.w.now)
		if h := c.host(m.id); h != nil {
			is.Up = h.etcd.linked >= 0
			is.Behind -= min(is.Behind, c.applied(h, m))
		}
		e.Members = append(e.Members, is)
	}
	e.Holders = append(e.Holders, c.lock.holders...)
	c.w.tell(e)
}

// leaderReachable: there is a leader, and this machine reaches it.
func (c *cluster) leaderReachable(m *machine) bool {
	h := c.host(c.leader)
	return h != nil && m.linked(h)
}

// serving gives a member that answers linearizable reads to this machine.
func (c *cluster) serves(h *machine) bool {
	m := c.find(h.disk.data.member)
	return c.leader != 0 && m != nil && !m.learner && h.etcd.running && h.etcd.linked >= 0 && h.etcd.synced
}

var (
	errUnhealthy = errors.New("etcdserver: unhealthy cluster")
	errNoServer  = errors.New("no member serves")
	errLearners  = errors.New("etcdserver: too many learner members in cluster")
	errNotFound  = errors.New("etcdserver: member not found")
	errNotReady  = errors.New("etcdserver: can only promote a learner member which is in sync with leader")
	errExists    = errors.New("etcdserver: Peer URLs already exists")
	errNoSpace   = errors.New("etcdserver: mvcc: database space exceeded")
)

// healthInterval is how long voters must be connected before etcd adds one.
const healthInterval = 5 * time.Second

func (c *cluster) linkedSince(m *member) (time.Duration, bool) {
	if h := c.host(m.id); h != nil && h.etcd.linked >= 0 {
		return h.etcd.linked, true
	}
	return 0, false
}

func (c *cluster) add(instance policy.InstanceID, url string) error {
	if c.noSpace {
		return errNoSpace
	}
	c.joins[url] = instance
	for _, m := range c.members {
		if since, ok := c.linkedSince(m); !m.learner && (!ok || c.w.now-since < healthInterval) {
			return errUnhealthy
		}
		if m.url == url {
			return errExists
		}
		if m.learner {
			return errLearners
		}
	}
	m := &member{id: policy.MemberID(c.w.rng.Uint64() | 1), url: url, learner: true, need: c.w.between(300*time.Millisecond, 40*time.Second)}
	if c.w.chance(c.w.plan.stuckLearner) && !c.w.calm {
		m.stuck = true
	}
	c.members = append(c.members, m)
	c.changed()
	c.report()
	return nil
}

// promotable and removable are etcd's own checks, without the change.
func (c *cluster) promotable(id policy.MemberID) error {
	m := c.find(id)
	if m == nil || !m.learner {
		return errNotFound
	}
	h := c.host(id)
	if m.name == "" || h == nil || float64(c.applied(h, m)) < 0.9*float64(c.at(c.w.now)) {
		return errNotReady
	}
	return nil
}

func (c *cluster) promote(id policy.MemberID) {
	m, h := c.find(id), c.host(id)
	m.learner = false
	if m.caught(c.w.now, h.etcd.linked) {
		h.etcd.synced = h.etcd.linked >= 0
	} else {
		h.disk.data.index = c.applied(h, m)
		h.join(c, m)
	}
	c.changed()
	c.settle()
}

func (c *cluster) removable(id policy.MemberID) error {
	m := c.find(id)
	if m == nil {
		return errNotFound
	}
	if _, linked := c.linkedSince(m); m.learner || !linked {
		return nil
	}
	active := 0
	for _, o := range c.members {
		// etcd counts connections: a process that hangs keeps its own.
		if h := c.host(o.id); h != nil && h.etcd.paused && !o.learner {
			active++
		}
		if since, ok := c.linkedSince(o); !o.learner && ok && c.w.now-since >= healthInterval {
			active++
		}
	}
	if active-1 < policy.Quorum(c.voters()-1) {
		return errUnhealthy
	}
	return nil
}

func (c *cluster) remove(id policy.MemberID) {
	m, h := c.find(id), c.host(id)
	c.freeze()
	c.members = slices.DeleteFunc(c.members, func(o *member) bool { return o == m })
	c.gone[id] = true
	delete(c.joins, m.url)
	c.changed()
	c.agree()
	if h != nil && h.etcd.linked >= 0 {
		h.evicted(c)
	}
	c.settle()
}
