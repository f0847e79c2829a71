package fakeaws

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// InstanceState is EC2's word for an instance.
type InstanceState string

const (
	Pending      InstanceState = "pending"
	Running      InstanceState = "running"
	ShuttingDown InstanceState = "shutting-down"
	Terminated   InstanceState = "terminated"
	Stopping     InstanceState = "stopping"
	Stopped      InstanceState = "stopped"
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
	case Stopping:
		return 64
	case Stopped:
		return 80
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
	LifecycleEnteringStandby    = "EnteringStandby"
	LifecycleStandby            = "Standby"
	LifecycleDetaching          = "Detaching"

	// In the warm pool: before each of the states above on the way in and out, and alone
	// before Stopped, Running or Hibernated, where an instance waits to be needed.
	Warmed = "Warmed:"
)

// Target states that metadata shows.
const (
	TargetInService  = "InService"
	TargetTerminated = "Terminated"
	TargetStandby    = "Standby"
	TargetDetached   = "Detached" // of an instance that no longer belongs to a group
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

	TemplateVersion string // of the launch template that it was launched with
	Weight          int    // what its group counts it as; 0: one, without weights
}

// InPool reports whether the instance is in its group's warm pool, or on its way there or
// out of it for good.
func (i Instance) InPool() bool { return strings.HasPrefix(i.Lifecycle, Warmed) }

// warm reports whether the instance waits in the warm pool to be needed.
func (i Instance) warm() bool {
	switch strings.TrimPrefix(i.Lifecycle, Warmed) {
	case PoolStopped, PoolRunning, PoolHibernated:
		return i.InPool()
	}
	return false
}

// phase is a lifecycle state, of the warm pool for an instance in it.
func (i Instance) phase(state string) string {
	if i.InPool() {
		return Warmed + state
	}
	return state
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
	idle    bool // Timing.ShutDown has passed since the machine was stopped
	halted  bool // PowerDriver.PowerOff has returned
	noticed bool // the group knows that the instance goes or is gone
	missed  bool // terminated behind the group's back, and the next health check will see it
	due     bool // a replacement is due for it

	inServiceAt time.Time // last time it came into service
	act         *activity // what the group does with it, or did last

	powerOff context.CancelFunc // called at shutting-down; nil if no goroutine drives the machine
	power    chan bool          // on or off, for that goroutine
	meta     *metadata
}

// openHook is an OpenHook with what ends it.
type openHook struct {
	OpenHook
	spec  Hook
	alarm *alarm
}

// live reports whether the group counts the instance towards its capacity.
func (m *machine) live() bool {
	switch m.Lifecycle {
	case LifecyclePending, LifecyclePendingWait, LifecyclePendingProceed, LifecycleInService:
		return !m.noticed
	}
	return false
}

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
	version   string // of the launch template
	createdAt time.Time
	suspended []string   // process names, in the order of suspension
	members   []*machine // as the group lists them, oldest first
	planned   int        // capacity whose launch was decided on and not yet made (Timing.Launch)
	warming   int        // the same, into the warm pool
	holdOff   bool       // a launch failed; wait for Timing.Retry
	deleting  bool

	poolEnds  bool // the warm pool is being deleted
	refreshes []*refresh
}

func (g *group) isSuspended(process string) bool { return slices.Contains(g.suspended, process) }

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

// held is the capacity of leaving members whose replacement must wait for their end.
func (g *group) held() int {
	if g.Replace != ReplaceAfterTermination {
		return 0
	}
	var ms []*machine
	for _, m := range g.members {
		if m.noticed && m.due {
			ms = append(ms, m)
		}
	}
	return units(ms)
}

// missing is the capacity that the group should launch now.
func (g *group) missing() int {
	return g.Desired + g.surge() - units(g.live()) - g.held()
}
