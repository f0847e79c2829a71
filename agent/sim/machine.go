package sim

import (
	"fmt"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// machine is one EC2 instance, from launch to the end of the simulation.
type machine struct {
	w     *world
	id    policy.InstanceID
	urls  [3]string // peer, client, address
	state policy.InstanceState
	ended time.Duration // when it was terminated
	on    bool          // powered and booted
	boot  int
	skew  time.Duration // its clock, ahead of the right one
	side  int           // of a network partition; 0 unless there is one
	noAWS bool          // cannot reach AWS's endpoints
	slow  bool          // its disk and calls are slow
	disk  *disk
	etcd  etcd
	// version of etcd that its unit starts.
	version policy.Version
	agent   *agent        // nil while it does not run
	bad     time.Duration // when something on it, or a call of its agent, last went wrong
	since   time.Duration // when its agent started
	spot    time.Time
	// target is what instance metadata says, a moment after the group decided.
	target  policy.Target
	targets int // how often it changed
	noIMDS  bool
	sys     system
	cut     map[*machine]bool // a link that is gone, both ways
	// blind: certificates keep its agent from its own etcd. deaf: whom its agent does not hear.
	blind bool
	deaf  map[policy.InstanceID]bool
}

// disk is what outlives a reboot.
type disk struct {
	record policy.Record
	data   data
	// allowed: the agent let etcd start; it then starts at boot by itself.
	allowed bool
	initial []policy.InitialMember
}

// data is etcd's data directory.
type data struct {
	member  policy.MemberID
	cluster policy.ClusterID
	index   uint64 // of the last entry, while the process is not in step
	started bool
}

func (d data) empty() bool { return !d.started }

func (m *machine) peerURL() string   { return m.urls[0] }
func (m *machine) clientURL() string { return m.urls[1] }
func (m *machine) address() string   { return m.urls[2] }

// clock is the machine's own clock.
func (m *machine) clock() time.Time { return epoch.Add(m.w.now + m.skew) }

// launch makes a machine; it boots a while later.
func (w *world) launch(d *disk) *machine {
	n := len(w.machines) + 1
	m := &machine{w: w, id: policy.InstanceID(fmt.Sprintf("i%02d", n)), state: policy.InstancePending, disk: d, version: w.etcds.template}
	ip := fmt.Sprintf("10.0.%d.%d", n/250, n%250)
	m.urls = [3]string{"https://" + ip + ":2380", "https://" + ip + ":2379", ip}
	if w.plan.skewed {
		m.skew = w.between(-10*time.Minute, 10*time.Minute)
	}
	w.machines = append(w.machines, m)
	w.say(m.id, "launched")
	boot := w.between(5*time.Second, 40*time.Second)
	if w.chance(w.plan.lateNodes) {
		boot = w.between(time.Minute, 8*time.Minute)
	}
	w.after(boot, func() {
		if m.state == policy.InstancePending {
			m.state = policy.InstanceRunning
			w.touch(policy.SourceInstances)
			m.start()
		}
	})
	return m
}

// start boots the machine.
func (m *machine) start() {
	if m.on || m.state != policy.InstanceRunning {
		return
	}
	m.on = true
	m.boot++
	m.w.say(m.id, "boots")
	m.w.tell(Booted{Instance: m.id, Boot: m.bootID()})
	m.etcd.unit = policy.Unit{Load: "loaded", Active: "inactive", Sub: "dead"}
	if m.disk.allowed {
		m.startUnit(false, "")
	}
	m.startAgent()
	m.booted()
}

// powerOff ends everything on the machine at once.
func (m *machine) powerOff() {
	if !m.on {
		return
	}
	m.on = false
	m.sys.going = false
	m.crashAgent()
	m.etcd.gen++
	m.endProcess(policy.Unit{Load: "loaded", Active: "inactive", Sub: "dead"})
	m.w.touch(policy.SourcePeers)
}

// reboot switches off, and on again a while later.
func (m *machine) reboot(pause time.Duration) {
	m.w.say(m.id, "reboots")
	m.powerOff()
	m.w.after(pause, m.start)
}

// terminate is EC2's: the machine is gone for good.
func (m *machine) terminate() {
	if m.state == policy.InstanceShuttingDown || m.state == policy.InstanceTerminated {
		return
	}
	m.w.say(m.id, "EC2 terminates it")
	m.state = policy.InstanceShuttingDown
	m.w.after(m.w.between(0, 10*time.Second), m.powerOff)
	m.w.touch(policy.SourceInstances)
	m.w.after(m.w.between(10*time.Second, time.Minute), func() {
		m.powerOff()
		m.state, m.ended = policy.InstanceTerminated, m.w.now
		m.w.tell(InstanceIs{ID: m.id, Told: m.target.Leaves(), Gone: true})
		m.w.say(m.id, "terminated")
		m.w.touch(policy.SourceInstances)
		m.w.group.instanceGone(m)
		m.w.after(time.Hour, func() {
			m.state = policy.InstanceNotFound
			m.w.touch(policy.SourceInstances)
		})
	})
}

// setTarget changes what instance metadata says, a moment later.
func (m *machine) setTarget(t policy.Target) {
	m.w.tell(InstanceIs{ID: m.id, Told: t.Leaves()})
	m.targets++
	n := m.targets
	m.w.after(m.w.between(0, 2*time.Second), func() {
		if n != m.targets {
			return
		}
		m.target = t
		if m.agent != nil {
			m.agent.touch(policy.SourceTarget)
		}
	})
}

// reaches reports whether a machine can talk to another one's processes.
func (m *machine) reaches(o *machine) bool { return m.on && o.on && m.linked(o) }

// linked reports whether the network is whole between two machines.
func (m *machine) linked(o *machine) bool { return m == o || m.side == o.side && !m.cut[o] }
