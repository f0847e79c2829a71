package sim

import (
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// Event is something that happened in the world, as the [Checker] wants to hear
// of it. Whoever watches a real cluster can make the same events.
type Event interface{ event() }

// Began: an agent began an action.
type Began struct {
	Instance policy.InstanceID
	Action   policy.Action
	Reason   policy.Reason
	// LockKnown: the agent had read the disruption lock a moment ago.
	LockKnown bool
	// Member: the agent has an etcd identity on disk.
	Member bool
}

// Ended: an action that began is over for its agent, whatever became of it; the
// end of the agent itself ends it too.
type Ended struct{ Instance policy.InstanceID }

// Applied: an action of an agent took effect, perhaps long after the agent gave
// up on it. It comes before the events that tell the effect.
type Applied struct {
	Instance policy.InstanceID
	Action   policy.Action
	Reason   policy.Reason
	// Began is when the agent decided.
	Began time.Duration
	// Wiped: the instance's own data directory is empty.
	Wiped bool
	// Data is the identity in the instance's data directory, 0 for none.
	Data        policy.MemberID
	DataCluster policy.ClusterID
	// Etcd is the version of the instance's etcd; Secret: nothing tells its agent.
	Etcd   policy.Version
	Secret bool
	// Restarts: systemd was in the middle of restarting etcd anyway.
	Restarts bool
}

// ClusterIs tells the true state of a cluster after a change.
type ClusterIs struct {
	// Leader is 0 while there is none.
	Leader  policy.MemberID
	ID      policy.ClusterID
	Members []MemberIs
	Holders []policy.Hold
	NoSpace bool
	// Version is what the members have agreed on, zero for nothing yet.
	Version policy.Version
}

// MemberIs is the true state of one member.
type MemberIs struct {
	ID       policy.MemberID
	Instance policy.InstanceID
	Learner  bool
	// Up: its process runs and reaches the majority.
	Up bool
	// Version is what it runs, zero before it told.
	Version policy.Version
	// Behind is how many committed entries it lacks.
	Behind uint64
}

// Cut tells that two instances do not reach each other any more, or do again.
type Cut struct {
	A, B policy.InstanceID
	On   bool
}

// InstanceIs tells what became of an instance.
type InstanceIs struct {
	ID policy.InstanceID
	// Told: it was told to go (target lifecycle state, or a Spot notice).
	Told bool
	// Gone: EC2 terminated it, for good.
	Gone bool
}

// GroupIs tells what the group shows from now on: how many it wants, and who leaves it.
type GroupIs struct {
	Desired int
	Leaving []policy.InstanceID
}

// EtcdStarted: an etcd process came up with an identity; New for the first start
// of a first cluster. EtcdEnded: it ended.
type EtcdStarted struct {
	Instance policy.InstanceID
	Member   policy.MemberID
	Cluster  policy.ClusterID
	New      bool
}

// EtcdEnded: see EtcdStarted.
type EtcdEnded struct{ Instance policy.InstanceID }

// HookOpened: a lifecycle hook waits for an instance's agent.
type HookOpened struct {
	Instance   policy.InstanceID
	Transition policy.Transition
}

// HookEnded: it waits no more: completed with a result, or expired.
type HookEnded struct {
	Instance   policy.InstanceID
	Transition policy.Transition
	Expired    bool
	// Able: through all of the last minutes before the expiry the agent ran and
	// AWS answered, so that it had every chance.
	Able bool
	// Last: its member was the last voter of a group that wants instances, which
	// never leaves (design.md section 4).
	Last bool
}

// Elected: a member became leader with a log up to Index, of which entries up to
// Acked had been acknowledged to clients.
type Elected struct {
	Cluster      policy.ClusterID
	Member       policy.MemberID
	Index, Acked uint64
}

// Fresh: an agent granted an operator's wish to forget the cluster; Left are the
// instances that still have data.
type Fresh struct {
	Instance policy.InstanceID
	Left     []policy.InstanceID
}

// Lost: the majority of a cluster, or of those who promised one, is lost for good.
type Lost struct{}

// Still tells, a long time after the last fault, what still goes on where the
// majority is lost for good; empty: everybody waits, and says why.
type Still struct{ Wrong []string }

// Settled tells, after the last fault and a long time, what is still not as it
// should be; empty: all is well.
type Settled struct{ Wrong []string }

// LeftStopped: etcd was stopped for an election and, long after, is not started again
// although its agent runs.
type LeftStopped struct{ Instance policy.InstanceID }

// PlanIs: an agent wrote down, and publishes from now on, that it takes part in a plan;
// Plan is empty where none is open.
type PlanIs struct {
	Instance policy.InstanceID
	Plan     string
}

func (Cut) event()         {}
func (LeftStopped) event() {}
func (PlanIs) event()      {}
func (Began) event()       {}
func (Ended) event()       {}
func (Applied) event()     {}
func (ClusterIs) event()   {}
func (InstanceIs) event()  {}
func (GroupIs) event()     {}
func (EtcdStarted) event() {}
func (EtcdEnded) event()   {}
func (HookOpened) event()  {}
func (HookEnded) event()   {}
func (Elected) event()     {}
func (Settled) event()     {}
func (Fresh) event()       {}
func (Lost) event()        {}
func (Still) event()       {}
