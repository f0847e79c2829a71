package sim

import (
	"math"
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// fault is something that goes wrong, or that somebody does.
type fault struct {
	name   string
	weight int
	// lethal: a member may be lost for good. Most of the time it is left alone
	// while another one is away, or every long run would end in a lost majority.
	lethal bool
	do     func(w *world, m *machine)
}

var faults = []fault{
	{"resize", 10, false, func(w *world, _ *machine) { w.group.resize(pick(w, 1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5)) }},
	{"terminate", 12, false, func(w *world, m *machine) { w.groupTerminates(m) }},
	{"terminate two", 4, false, func(w *world, m *machine) {
		w.groupTerminates(m)
		w.groupTerminates(w.any())
	}},
	{"replace all", 4, false, (*world).replaceAll},
	{"ec2 terminate", 6, true, func(_ *world, m *machine) { m.terminate() }},
	{"terminate, then kill", 3, true, func(w *world, m *machine) {
		w.groupTerminates(m)
		w.after(w.between(0, time.Minute), m.terminate)
	}},
	{"reboot", 6, false, func(w *world, m *machine) { m.reboot(w.between(15*time.Second, 3*time.Minute)) }},
	{"agent crash", 6, false, func(w *world, m *machine) { m.restartAgent(w.between(time.Second, 20*time.Second)) }},
	{"agent away", 3, false, func(w *world, m *machine) { m.restartAgent(w.between(time.Minute, 20*time.Minute)) }},
	{"crash in a leave", 8, false, func(w *world, m *machine) {
		w.groupTerminates(m)
		w.after(w.between(0, 90*time.Second), func() { m.restartAgent(w.between(time.Second, 30*time.Second)) })
	}},
	{"etcd crash", 4, false, func(_ *world, m *machine) {
		if m.etcd.running {
			m.exit("killed")
		}
	}},
	{"etcd hangs", 5, false, (*world).hang},
	{"etcd broken", 3, false, (*world).breakEtcd},
	{"partition", 5, false, (*world).partition},
	{"cut between two", 4, false, (*world).cutBetween},
	{"cut between two, update all", 4, false, func(w *world, m *machine) {
		w.updateAll(m)
		w.after(w.between(0, time.Minute), func() { w.cutBetween(w.any()) })
	}},
	{"aws away", 5, false, (*world).awsAway},
	{"throttled", 3, false, (*world).throttle},
	{"no aws", 3, false, (*world).cutFromAWS},
	{"no metadata", 3, false, (*world).cutFromMetadata},
	{"slow", 3, false, func(w *world, m *machine) {
		m.slow = true
		w.after(w.between(time.Minute, 20*time.Minute), func() { m.slow, m.bad = false, w.now })
	}},
	{"wipe data", 3, true, func(w *world, m *machine) { w.wipe(m, false) }},
	{"wipe disk", 3, true, func(w *world, m *machine) { w.wipe(m, true) }},
	{"spot", 3, true, (*world).spotNotice},
	{"tag removed", 2, false, func(w *world, _ *machine) {
		// While no member exists, removing the tag is the operator's "start fresh"
		// (design.md section 4): see operator.
		if c := w.current(); c != nil && c.leader != 0 && !w.fragile() {
			w.group.tag = ""
			w.group.changed()
			w.after(2*time.Minute, func() {
				if w.group.tag == "" {
					w.group.tag = c.id.String()
					w.group.changed()
				}
			})
		}
	}},
	{"revoked", 2, false, (*world).revoke},
	{"launch suspended", 2, false, func(w *world, _ *machine) {
		w.group.suspended = true
		w.group.changed()
		w.after(w.between(time.Minute, 40*time.Minute), func() { w.group.suspended = false; w.group.changed() })
	}},
	{"nospace", 2, false, (*world).fill},
	{"update", 8, false, (*world).updated},
	{"update all", 8, false, (*world).updateAll},
	{"update and scale-in", 5, false, func(w *world, m *machine) {
		w.updateAll(m)
		w.after(w.between(0, 2*time.Minute), func() { w.groupTerminates(w.any()) })
	}},
	{"update, agent crash", 5, false, func(w *world, m *machine) {
		w.updated(m)
		w.after(w.between(0, time.Minute), func() { m.restartAgent(w.between(time.Second, 30*time.Second)) })
	}},
	{"update, told to go", 5, false, func(w *world, m *machine) {
		w.updated(m)
		w.after(w.between(0, time.Minute), func() { w.groupTerminates(m) })
	}},
	{"sentinel", 2, false, func(w *world, m *machine) {
		m.sys.sentinel = true
		m.sysChanged()
		w.after(w.between(time.Minute, 3*time.Hour), func() { m.sys.sentinel, m.sys.served = false, false; m.sysChanged() })
	}},
	{"scheduled event", 3, false, (*world).scheduled},
	{"does not come back", 2, true, func(w *world, m *machine) { m.sys.dead = true; w.updated(m) }},
	{"reboot stuck", 3, false, func(w *world, m *machine) {
		w.sysFault(m, func(s *system, on bool) { s.stuck = on })
		w.updated(m)
	}},
	{"inhibitor", 3, false, func(w *world, m *machine) {
		w.updated(m)
		w.after(w.between(0, time.Minute), func() { w.sysFault(m, func(s *system, on bool) { s.blocked = on }) })
	}},
	{"user", 3, false, func(w *world, m *machine) { w.sysFault(m, func(s *system, on bool) { s.user = on }); w.updated(m) }},
	{"logind away", 2, false, func(w *world, m *machine) { w.updated(m); w.sysFault(m, func(s *system, on bool) { s.silent = on }) }},
	{"script fails", 3, false, func(w *world, m *machine) {
		m.sys.script = true
		w.updated(m)
		w.after(w.between(time.Minute, 40*time.Minute), func() { m.sys.script = false })
	}},
	{"client vanishes", 3, false, func(w *world, m *machine) {
		w.updated(m)
		w.after(w.between(0, 10*time.Minute), func() { w.vanish(m) })
	}},
	{"operator releases", 2, false, (*world).operatorReleases},
	{"operator holds", 3, false, (*world).operatorHolds},
	{"reboot ordered", 4, false, (*world).ordered},
	{"all lost", 1, true, func(w *world, _ *machine) {
		if w.chance(0.2) {
			for _, m := range w.alive() {
				m.terminate()
			}
		}
	}},
}

// scenario schedules everything that will go wrong.
func (w *world) scenario() {
	// The first cluster forms in the first minutes: trouble is best right then.
	for range w.rng.IntN(4) {
		w.at(w.between(0, 6*time.Minute), w.strike)
	}
	if w.chance(0.3) {
		w.at(w.between(0, 3*time.Minute), func() { w.group.resize(pick(w, 1, 3, 4, 5)) })
	}
	t := 20 * time.Minute
	for {
		t += time.Duration(-math.Log(1-w.rng.Float64()) * float64(w.plan.gap))
		if t >= w.opt.Length {
			break
		}
		w.at(t, w.strike)
		for w.chance(0.3) { // misfortunes come together
			w.at(t+w.between(0, 3*time.Minute), w.strike)
		}
	}
	w.scheduleTemplates()
	w.at(w.opt.Length, w.heal)
}

// strike does one fault.
func (w *world) strike() {
	m := w.any()
	if m == nil || w.calm {
		return
	}
	total := 0
	all := slices.Concat(faults, electionFaults)
	for _, f := range all {
		total += f.weight
	}
	n := w.rng.IntN(total)
	for _, f := range all {
		if n -= f.weight; n >= 0 {
			continue
		}
		if f.lethal && w.fragile() && !w.chance(0.04) {
			return
		}
		w.say("", "FAULT: %s (%s)", f.name, m.id)
		m.bad = w.now
		f.do(w, m)
		return
	}
}

// any draws a machine that EC2 runs, nil where there is none.
func (w *world) any() *machine {
	all := w.alive()
	if len(all) == 0 {
		return nil
	}
	return all[w.rng.IntN(len(all))]
}

// fragile: a voter is away already, or there is none to spare.
func (w *world) fragile() bool {
	c := w.current()
	if c == nil {
		return true
	}
	for _, m := range c.members {
		if _, linked := c.linkedSince(m); !m.learner && !linked {
			return true
		}
	}
	return c.voters() < 3
}

// heal ends all faults: from now on the world must come to rest.
func (w *world) heal() {
	w.say("", "the faults stop")
	w.calm = true
	w.thaw()
	w.awsDown, w.throttled, w.group.suspended = false, false, false
	for _, c := range w.clusters {
		c.noSpace, c.rough = false, 0
		for _, m := range c.members {
			m.stuck = false
		}
	}
	for _, m := range w.machines {
		m.noAWS, m.noIMDS, m.slow, m.etcd.broken = false, false, false, false
		w.resume(m)
		w.rejoin(m)
		for _, o := range w.machines {
			w.mend(m, o)
		}
		w.healSystem(m)
		if m.state == policy.InstanceRunning {
			m.start()
			m.startAgent()
		}
	}
	w.after(10*time.Minute, w.fitTemplate)
	if w.plan.ends {
		w.group.resize(0)
	}
	w.group.changed()
	for s := range policy.NumSources {
		w.touch(s)
	}
	lost := w.lost() != ""
	if lost {
		w.tell(Lost{})
	}
	if lost && w.chance(0.5) || w.chance(0.1) {
		w.after(w.between(time.Minute, time.Hour), w.operator)
	}
}

func (w *world) groupTerminates(m *machine) {
	if m == nil {
		return
	}
	if i := w.group.find(m.id); i != nil {
		w.group.terminate(i)
	}
}

// replaceAll terminates every instance, one after the other.
func (w *world) replaceAll(_ *machine) {
	at := time.Duration(0)
	for _, m := range w.alive() {
		w.after(at, func() {
			if !w.calm {
				w.groupTerminates(m)
			}
		})
		at += w.between(0, 4*time.Minute)
	}
}

func (w *world) hang(m *machine) {
	if !m.etcd.running {
		return
	}
	m.etcd.paused = true
	m.cluster().settle()
	w.touchEtcd()
	gen := m.etcd.gen
	w.after(w.span(), func() {
		if m.etcd.gen == gen {
			w.resume(m)
		}
	})
}

func (w *world) resume(m *machine) {
	if m.etcd.running && m.etcd.paused {
		w.say(m.id, "etcd goes on")
		m.etcd.paused = false
		m.bad = w.now
		m.cluster().settle()
		w.touchEtcd()
	}
}

func (w *world) breakEtcd(m *machine) {
	m.etcd.broken = true
	if m.etcd.running {
		m.exit("broken")
	}
	w.after(w.between(time.Minute, 50*time.Minute), func() { m.etcd.broken, m.bad = false, w.now })
}

// partition puts a machine on the other side: it reaches AWS, but no other.
func (w *world) partition(m *machine) {
	if m.side != 0 {
		return
	}
	m.side = 1 + w.rng.IntN(2)
	w.sidesChanged()
	w.after(w.span(), func() { w.rejoin(m) })
}

func (w *world) rejoin(m *machine) {
	if m.side == 0 {
		return
	}
	w.say(m.id, "the partition ends")
	m.side, m.bad = 0, w.now
	w.sidesChanged()
}

// cutBetween: two machines do not reach each other, and all others both.
func (w *world) cutBetween(m *machine) {
	o := w.any()
	if o == nil || m == nil || o == m || m.cut[o] {
		return
	}
	w.say(m.id, "is cut off from %s", o.id)
	w.relink(m, o, true)
	w.after(w.span(), func() { w.mend(m, o) })
}

func (w *world) mend(m, o *machine) {
	if !m.cut[o] {
		return
	}
	w.say(m.id, "reaches %s again", o.id)
	m.bad, o.bad = w.now, w.now
	w.relink(m, o, false)
}

func (w *world) relink(m, o *machine, cut bool) {
	for _, pair := range [][2]*machine{{m, o}, {o, m}} {
		if pair[0].cut == nil {
			pair[0].cut = map[*machine]bool{}
		}
		if pair[0].cut[pair[1]] = cut; !cut {
			delete(pair[0].cut, pair[1])
		}
	}
	w.tell(Cut{A: m.id, B: o.id, On: cut})
	w.sidesChanged()
}

func (w *world) sidesChanged() {
	for _, c := range w.clusters {
		c.settle()
	}
	w.touchEtcd()
	w.touch(policy.SourcePeers)
}

// span is how long a fault lasts: seconds as often as many minutes.
func (w *world) span() time.Duration {
	return time.Duration(math.Exp(math.Log(3)+w.rng.Float64()*math.Log(500)) * float64(time.Second))
}

func (w *world) awsAway(_ *machine) {
	w.awsDown, w.awsBad = true, w.now
	w.awsChanged()
	w.after(w.span(), func() { w.awsDown, w.awsBad = false, w.now; w.awsChanged() })
}

func (w *world) throttle(_ *machine) {
	w.throttled, w.awsBad = true, w.now
	w.awsChanged()
	w.after(w.span(), func() { w.throttled, w.awsBad = false, w.now; w.awsChanged() })
}

func (w *world) awsChanged() { w.touch(policy.SourceGroup, policy.SourceInstances) }

func (w *world) cutFromAWS(m *machine) {
	m.noAWS = true
	w.awsChanged()
	w.after(w.span(), func() { m.noAWS, m.bad = false, w.now; w.awsChanged() })
}

func (w *world) cutFromMetadata(m *machine) {
	m.noIMDS = true
	w.touch(policy.SourceTarget)
	w.after(w.span(), func() { m.noIMDS, m.bad = false, w.now; w.touch(policy.SourceTarget) })
}

// wipe loses the data directory, or with it the agent's record, in a reboot.
func (w *world) wipe(m *machine, all bool) {
	if !m.on {
		return
	}
	m.powerOff()
	m.disk.data = data{}
	if all {
		m.disk = &disk{}
		m.sys.served = false // nobody remembers the reboot
	}
	w.after(w.between(20*time.Second, 2*time.Minute), m.start)
}

// spotNotice: two minutes, and then the end, whatever hooks there are.
func (w *world) spotNotice(m *machine) {
	m.spot = epoch.Add(w.now + 2*time.Minute)
	w.tell(InstanceIs{ID: m.id, Told: true})
	if m.agent != nil {
		m.agent.touch(policy.SourceSpot)
	}
	w.after(2*time.Minute, m.terminate)
}

// revoke: told to go to the warm pool, and back again before it went.
func (w *world) revoke(m *machine) {
	i := w.group.find(m.id)
	if i == nil || i.state != policy.StateInService || !m.spot.IsZero() {
		return // what Spot announced is not taken back
	}
	m.setTarget(policy.TargetWarmedStopped)
	w.after(w.between(3*time.Second, 2*time.Minute), func() {
		if i.state == policy.StateInService && m.spot.IsZero() {
			m.setTarget(policy.TargetInService)
		}
	})
}

// fill: the database is full. Somebody defragments it later.
func (w *world) fill(_ *machine) {
	for _, c := range w.clusters {
		c.noSpace = true
		c.report()
		w.touch(policy.SourceHealth)
		w.after(w.between(time.Minute, 30*time.Minute), func() { c.noSpace = false; c.report(); w.touch(policy.SourceHealth) })
	}
}
