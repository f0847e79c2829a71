package policy

import (
	"slices"
	"time"
)

// Target is instance metadata's autoscaling/target-lifecycle-state: where the
// group wants this instance to be, a level and not an event. Empty: the
// metadata service answered that there is none yet.
type Target string

// The target lifecycle states that AWS documents.
const (
	TargetInService        Target = "InService"
	TargetTerminated       Target = "Terminated"
	TargetStandby          Target = "Standby"
	TargetDetached         Target = "Detached"
	TargetWarmedStopped    Target = "Warmed:Stopped"
	TargetWarmedRunning    Target = "Warmed:Running"
	TargetWarmedHibernated Target = "Warmed:Hibernated"
	TargetWarmedTerminated Target = "Warmed:Terminated"
)

// Leaves reports whether the target tells the instance to leave etcd. Standby
// and Detached do not: the machine goes on running.
func (t Target) Leaves() bool {
	switch t {
	case TargetTerminated, TargetWarmedStopped, TargetWarmedRunning, TargetWarmedHibernated, TargetWarmedTerminated:
		return true
	}
	return false
}

// Notice is a Spot interruption: what EC2 will do, and when.
type Notice struct {
	Action string
	Time   time.Time
}

// Group is the auto scaling group as DescribeAutoScalingGroups and
// DescribeLifecycleHooks tell it.
type Group struct {
	Name, ARN string
	Desired   int
	// Deleting: the group itself is being deleted.
	Deleting bool
	// LaunchSuspended: the group's Launch process is suspended.
	LaunchSuspended bool
	// Weighted: instances count with weights, which quorumd refuses to handle.
	Weighted bool
	// ClusterTag is the value of the tag quorumd:cluster-id; empty for none.
	ClusterTag string
	Hooks      []Hook
	// HooksErr says why the hooks could not be read; Hooks are then the last known.
	HooksErr string
	// Instances are sorted by id.
	Instances []GroupInstance
}

// Find gives the group's entry of one instance.
func (g Group) Find(id InstanceID) (GroupInstance, bool) {
	i, ok := slices.BinarySearchFunc(g.Instances, id, func(e GroupInstance, id InstanceID) int {
		switch {
		case e.ID < id:
			return -1
		case e.ID > id:
			return 1
		}
		return 0
	})
	if !ok {
		return GroupInstance{}, false
	}
	return g.Instances[i], true
}

// GroupInstance is one instance in the group's list.
type GroupInstance struct {
	ID    InstanceID
	State LifecycleState
}

// LifecycleState is an instance's current state in its group, in AWS's words.
type LifecycleState string

// The lifecycle states that decisions name.
const (
	StatePending            LifecycleState = "Pending"
	StatePendingWait        LifecycleState = "Pending:Wait"
	StatePendingProceed     LifecycleState = "Pending:Proceed"
	StateInService          LifecycleState = "InService"
	StateTerminating        LifecycleState = "Terminating"
	StateTerminatingWait    LifecycleState = "Terminating:Wait"
	StateTerminatingProceed LifecycleState = "Terminating:Proceed"
	StateTerminated         LifecycleState = "Terminated"
	StateStandby            LifecycleState = "Standby"
	StateWarmedPendingWait  LifecycleState = "Warmed:Pending:Wait"
	StateWarmedTermWait     LifecycleState = "Warmed:Terminating:Wait"
	StateWarmedRunning      LifecycleState = "Warmed:Running"
)

// Leaving reports whether the state is on the way out of the group.
func (s LifecycleState) Leaving() bool {
	return hasPrefix(s, "Terminat") || hasPrefix(s, "Warmed:") || hasPrefix(s, "Detach")
}

// Pending reports whether the state is on the way into service.
func (s LifecycleState) Pending() bool { return hasPrefix(s, "Pending") }

func hasPrefix(s LifecycleState, p string) bool {
	return len(s) >= len(p) && string(s[:len(p)]) == p
}

// Transition is the lifecycle transition a hook is on.
type Transition string

// The two transitions.
const (
	Launching   Transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
	Terminating Transition = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// Hook is one lifecycle hook of the group.
type Hook struct {
	Name       string
	Transition Transition
	// Timeout is the heartbeat timeout; Global the limit that heartbeats cannot
	// extend: min(48 h, 100 x Timeout).
	Timeout, Global time.Duration
}

// Instance is what EC2's DescribeInstances says of one instance.
type Instance struct {
	State InstanceState
	// Address is the private IPv4 address; empty once terminated.
	Address string
}

// InstanceState is EC2's instance state name, or NotFound.
type InstanceState string

// The instance states that decisions name.
const (
	InstancePending      InstanceState = "pending"
	InstanceRunning      InstanceState = "running"
	InstanceShuttingDown InstanceState = "shutting-down"
	InstanceTerminated   InstanceState = "terminated"
	InstanceStopped      InstanceState = "stopped"
	// InstanceNotFound: EC2 does not know the id (InvalidInstanceID.NotFound).
	InstanceNotFound InstanceState = "not-found"
)
