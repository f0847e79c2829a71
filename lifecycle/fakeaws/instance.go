package fakeaws

import (
	"context"
	"net/netip"
	"time"
)

// InstanceState is EC2's word for an instance.
type InstanceState string

const (
	Pending      InstanceState = "pending"
	Running      InstanceState = "running"
	ShuttingDown InstanceState = "shutting-down"
	Terminated   InstanceState = "terminated"
)

// code is the number that EC2 gives beside the name.
func (s InstanceState) code() int {
	switch s {
	case Running:
		return 16
	case ShuttingDown:
		return 32
	case Terminated:
		return 48
	}
	return 0
}

// Lifecycle states of an instance in its group; the values are Auto Scaling's.
const (
	LifecyclePending            = "Pending"
	LifecyclePendingWait        = "Pending:Wait"
	LifecyclePendingProceed     = "Pending:Proceed"
	LifecycleInService          = "InService"
	LifecycleTerminating        = "Terminating"
	LifecycleTerminatingWait    = "Terminating:Wait"
	LifecycleTerminatingProceed = "Terminating:Proceed"
	LifecycleTerminated         = "Terminated"
)

// Target states that metadata shows.
const (
	TargetInService  = "InService"
	TargetTerminated = "Terminated"
)

// Instance is a copy of what is known of an instance at one moment.
// Its Tags and Hooks must not be modified.
type Instance struct {
	ID         string
	Group      string
	PrivateIP  netip.Addr // stays here after termination; EC2's answers drop it
	Zone       string
	Type       string
	ImageID    string
	LaunchTime time.Time
	Tags       map[string]string

	// MetadataURL is the base URL of the instance's metadata service
	// (AWS_EC2_METADATA_SERVICE_ENDPOINT), "" while nothing listens.
	MetadataURL string

	State        InstanceState
	Lifecycle    string // in its group; "" once it has left it
	Healthy      bool   // as the group sees it
	Target       string // what metadata shows, "" until filled
	NoticeAt     time.Time
	TerminatedAt time.Time
	Hooks        []OpenHook
}

// OpenHook is a lifecycle action that waits for its completion.
type OpenHook struct {
	Name           string
	Transition     Transition
	Token          string
	OpenedAt       time.Time
	Deadline       time.Time // last heartbeat + HeartbeatTimeout, at most GlobalDeadline
	GlobalDeadline time.Time
}

// machine is the Cloud's own record of an instance. Everything in it is guarded
// by Cloud.mu.
type machine struct {
	Instance
	open []*openHook

	booted  bool // Timing.Boot has passed
	started bool // Driver.Start has returned
	down    bool // Timing.ShutDown has passed
	stopped bool // Driver.Stop has returned
	noticed bool // the group knows that the instance goes or is gone
	missed  bool // terminated behind the group's back, and the next health check will see it
	due     bool // a replacement is due for it

	powerOff context.CancelFunc // called at shutting-down; nil if no goroutine drives the machine
	meta     *metadata
}

// openHook is an OpenHook with what ends it.
type openHook struct {
	OpenHook
	spec  Hook
	alarm *alarm
}

// live reports whether the group counts the instance towards its capacity.
func (m *machine) live() bool { return !m.noticed }

// snapshot returns a copy that later changes do not reach.
func (m *machine) snapshot() Instance {
	inst := m.Instance
	inst.Hooks = nil
	for _, h := range m.open {
		inst.Hooks = append(inst.Hooks, h.OpenHook)
	}
	return inst
}

// group is the Cloud's own record of an auto scaling group, guarded by Cloud.mu.
type group struct {
	GroupConfig
	arn       string // differs from that of an earlier group of the same name
	createdAt time.Time
	suspended []string   // process names, in the order of suspension
	members   []*machine // as the group lists them, oldest first
	planned   int        // launches decided on, not yet made (Timing.Launch)
	holdOff   bool       // a launch failed; wait for Timing.Retry
	deleting  bool
}

func (g *group) isSuspended(process string) bool {
	for _, p := range g.suspended {
		if p == process {
			return true
		}
	}
	return false
}

// live returns the members that count towards capacity, oldest first.
func (g *group) live() []*machine {
	var ms []*machine
	for _, m := range g.members {
		if m.live() {
			ms = append(ms, m)
		}
	}
	return ms
}

// held is the number of leaving members whose replacement must wait for their end.
func (g *group) held() int {
	if g.Replace != ReplaceAfterTermination {
		return 0
	}
	n := 0
	for _, m := range g.members {
		if m.noticed && m.due {
			n++
		}
	}
	return n
}

// missing is the number of instances that the group should launch now.
func (g *group) missing() int {
	return g.Desired - len(g.live()) - g.held()
}
