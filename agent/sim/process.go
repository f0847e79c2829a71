package sim

import (
	"crypto/sha1"
	"encoding/binary"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// etcd is etcd on one machine: its unit, and its process where there is one.
type etcd struct {
	unit    policy.Unit
	running bool
	why     string // it exited the last time
	paused  bool   // hangs: answers nobody
	broken  bool   // does not start: exits at once
	fresh   bool   // the drop-in under /run that says "new" is there
	token   string
	gen     int // of starts; a late event of an old one is void
	// restarts: systemd is in the middle of a restart job, so it starts etcd by itself.
	restarts bool
	// linked tells since when it reaches the majority; negative: it does not.
	linked time.Duration
	synced bool // and has every committed entry
}

// startUnit starts etcd, without waiting.
func (m *machine) startUnit(fresh bool, token string) {
	m.etcd.restarts = false
	m.etcd.fresh, m.etcd.token = fresh, token
	m.etcd.gen++
	gen := m.etcd.gen
	m.setUnit("activating", "start")
	m.w.after(m.w.between(200*time.Millisecond, 2*time.Second), func() {
		if m.on && m.etcd.gen == gen {
			m.runEtcd()
		}
	})
}

// restartUnit stops etcd and starts it again, in one job of systemd's.
func (m *machine) restartUnit() {
	m.etcd.gen++
	gen := m.etcd.gen
	m.endProcess(policy.Unit{Load: "loaded", Active: "deactivating", Sub: "stop-sigterm", Job: true})
	m.etcd.restarts = true
	m.w.after(m.w.between(0, 2*time.Second), func() {
		if !m.on || m.etcd.gen != gen {
			return
		}
		m.etcd.unit = policy.Unit{Load: "loaded", Active: "inactive", Sub: "dead", Job: true}
		m.touchLocal()
		m.w.after(m.w.between(0, time.Second), func() {
			if m.on && m.etcd.gen == gen {
				m.startUnit(false, "")
			}
		})
	})
}

// stopUnit stops etcd.
func (m *machine) stopUnit() {
	m.etcd.gen++
	m.endProcess(policy.Unit{Load: "loaded", Active: "inactive", Sub: "dead"})
}

func (m *machine) setUnit(active, sub string) {
	m.etcd.unit = policy.Unit{Load: "loaded", Active: active, Sub: sub}
	m.touchLocal()
}

func (m *machine) touchLocal() {
	if m.agent != nil {
		m.agent.touch(policy.SourceUnit)
		m.agent.touch(policy.SourceData)
		m.agent.touch(policy.SourcePulse)
	}
}

// exit is the process's own end: systemd starts it again after 10 s.
func (m *machine) exit(why string) {
	if m.etcd.why != why {
		m.w.say(m.id, "etcd exits: %s", why)
	}
	m.etcd.why = why
	m.etcd.gen++
	gen := m.etcd.gen
	m.endProcess(policy.Unit{Load: "loaded", Active: "activating", Sub: "auto-restart"})
	m.w.after(10*time.Second, func() {
		if m.on && m.etcd.gen == gen && m.disk.allowed {
			m.runEtcd()
		}
	})
}

// endProcess ends the process, if there is one, and leaves the unit in a state.
func (m *machine) endProcess(u policy.Unit) {
	was := m.etcd.running
	c := m.cluster()
	if was && c != nil {
		m.unlink(c)
	}
	m.etcd.running, m.etcd.paused, m.etcd.linked, m.etcd.synced = false, false, -1, false
	m.etcd.restarts = false
	m.etcd.unit = u
	m.touchLocal()
	if was {
		m.w.tell(EtcdEnded{Instance: m.id})
		m.w.touchEtcd()
		if c != nil {
			c.settle()
		}
	}
}

// cluster is the one that the data directory belongs to.
func (m *machine) cluster() *cluster { return m.w.cluster(m.disk.data.cluster) }

// runEtcd is the process coming up: on its data, or on an empty directory with
// what the drop-in says.
func (m *machine) runEtcd() {
	if m.etcd.broken {
		m.exit("broken")
		return
	}
	if m.disk.data.empty() && !m.firstStart() {
		return
	}
	c := m.cluster()
	if c.gone[m.disk.data.member] && c.leaderReachable(m) {
		m.exit("the member has been permanently removed")
		return
	}
	m.etcd.running, m.etcd.linked, m.etcd.synced, m.etcd.why = true, -1, false, ""
	m.w.tell(EtcdStarted{Instance: m.id, Member: m.disk.data.member, Cluster: c.id, New: m.etcd.fresh})
	m.etcd.fresh = false
	m.setUnit("active", "running")
	m.w.say(m.id, "etcd runs as %s of %s", m.disk.data.member, c.id)
	m.w.touchEtcd()
	c.settle()
}

// firstStart gives an empty data directory its identity, as etcd would, or exits.
func (m *machine) firstStart() bool {
	w := m.w
	if m.etcd.fresh {
		c := w.form(m.disk.initial, m.etcd.token)
		me := c.byURL(m.peerURL())
		if me != nil && me.client != "" && !c.kept() {
			// etcd learns from other members that it was there before. Of a cluster of which
			// no disk is left nobody tells: the same list makes the same ids, and it begins anew.
			w.forget(c)
			c = w.form(m.disk.initial, m.etcd.token)
			me = c.byURL(m.peerURL())
		}
		switch {
		case me == nil:
			m.exit("not in the initial cluster")
			return false
		case me.client != "":
			m.exit("the member has already been bootstrapped")
			return false
		}
		m.disk.data = data{member: me.id, cluster: c.id, started: true}
		return true
	}
	for _, o := range w.machines {
		if o == m || !m.reaches(o) || !o.etcd.running || o.etcd.paused {
			continue
		}
		if !slices.ContainsFunc(m.disk.initial, func(i policy.InitialMember) bool { return i.PeerURL == o.peerURL() }) {
			continue
		}
		c := o.cluster()
		me := c.byURL(m.peerURL())
		switch {
		case len(c.members) != len(m.disk.initial) || me == nil:
			m.exit("the initial cluster does not match the members")
			return false
		case me.client != "":
			m.exit("panic: a started member without its log")
			return false
		case c.refuses(m.version) != "":
			m.exit(c.refuses(m.version))
			return false
		}
		m.disk.data = data{member: me.id, cluster: c.id, started: true}
		return true
	}
	m.exit("no member of the initial cluster answers")
	return false
}

// memberID and clusterID compute etcd's ids on their own, not with policy's code.
func memberID(peerURL, token string) policy.MemberID {
	sum := sha1.Sum([]byte(peerURL + token))
	return policy.MemberID(binary.BigEndian.Uint64(sum[:]))
}

func clusterID(initial []policy.InitialMember, token string) policy.ClusterID {
	var ids []uint64
	for _, i := range initial {
		ids = append(ids, uint64(memberID(i.PeerURL, token)))
	}
	slices.Sort(ids)
	var b []byte
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	sum := sha1.Sum(b)
	return policy.ClusterID(binary.BigEndian.Uint64(sum[:]))
}
