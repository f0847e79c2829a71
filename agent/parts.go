package agent

import (
	"context"

	"github.com/quorumd/quorumd/agent/policy"
)

// Parts is the world as the loop needs it. All calls end when their context does.
type Parts struct {
	Metadata Metadata
	Group    GroupReader
	Hooks    HookKeeper
	Tags     Tagger
	Finder   Finder
	Members  MemberChanger
	Lock     Lock
	States   UnitWatcher
	Unit     Unit
	Disk     Disk
	Peers    PeerReader
	Certs    CertificateFiles // nil: none to look at
	Version  VersionReader
	Snapshot Snapshotter
	Pulse    PulseReader // nil: a stuck etcd is not looked for
	Machine  Machine
	Wants    map[policy.WantSource]WantWatcher // those that are configured
	Services Services                          // nil: no units beside etcd's must be up
	Scripts  Scripts
	Notify   Notifier
}

// Metadata reads this instance's metadata.
type Metadata interface {
	Target(ctx context.Context) (policy.Target, error)
	Spot(ctx context.Context) (policy.Notice, error)
}

// GroupReader reads the auto scaling group and EC2's view of instances.
type GroupReader interface {
	Group(ctx context.Context) (policy.Group, error)
	Instances(ctx context.Context, ids []policy.InstanceID) (map[policy.InstanceID]policy.Instance, error)
}

// HookKeeper extends and completes this instance's lifecycle hooks.
type HookKeeper interface {
	Heartbeat(ctx context.Context, hook string) error
	Complete(ctx context.Context, hook string, result policy.HookResult) error
}

// Tagger writes and removes the group's cluster tag.
type Tagger interface {
	WriteTag(ctx context.Context, value string) error
	DeleteTag(ctx context.Context, value string) error
}

// Finder finds and reads members through whatever endpoints are known.
type Finder interface {
	SetEndpoints(urls []string)
	// Members is linearizable.
	Members(ctx context.Context) (policy.MemberList, error)
	// Watch calls poke when a member joins or the lock changes, as far as the
	// cluster's own keys show it, until ctx ends or the watch breaks.
	Watch(ctx context.Context, poke func()) error
	// ClusterVersion is what the members agreed on, asked of the first one that answers
	// at one of these peer URLs.
	ClusterVersion(ctx context.Context, peerURLs []string) (string, error)
	// Probe asks exactly the member at one client URL.
	Probe(ctx context.Context, clientURL string) (policy.Health, error)
}

// MemberChanger changes the cluster's membership and leadership.
type MemberChanger interface {
	AddLearner(ctx context.Context, instance policy.InstanceID, peerURL string) (policy.MemberID, error)
	Promote(ctx context.Context, id policy.MemberID) error
	Remove(ctx context.Context, id policy.MemberID, instance policy.InstanceID, learner bool) error
	MoveLeader(ctx context.Context, to policy.MemberID) error
}

// Lock is the disruption lock.
type Lock interface {
	Lock(ctx context.Context) (policy.Lock, error)
	// TakeSlot takes a slot, or converts this instance's own hold; see policy.Take. It
	// is done when the hold is as asked for already, in this boot.
	TakeSlot(ctx context.Context, t policy.Take) error
	MarkActing(ctx context.Context, revision int64) error
	ReleaseHold(ctx context.Context, slot int, revision int64) error
	// Seen is the lock as these calls left it last, without asking anybody; the zero Lock
	// before the first.
	Seen() policy.Lock
	// KeepQueued holds this node's place until ctx ends, calling poke when the
	// key that it waits for changes. See [policy.ErrAgentStops].
	KeepQueued(ctx context.Context, place policy.KeepQueued, poke func()) error
}

// SlotSetter sets how many may hold the lock of a workers' group at once. A Lock that
// has it serves policy.LockSlots.
type SlotSetter interface {
	SetSlots(ctx context.Context, slots int) error
}

// Machine is logind, as far as reboots are concerned.
type Machine interface {
	Login(ctx context.Context) (policy.Login, error)
	// WatchLogin calls poke when it may have changed, until ctx ends.
	WatchLogin(ctx context.Context, poke func()) error
	// Reboot returns when logind has accepted to reboot; the machine goes down later.
	Reboot(ctx context.Context) error
}

// WantWatcher is one source of the wish for a reboot.
type WantWatcher interface {
	// Watch reports now, at every change, and now and then, until ctx ends. An error
	// is of the source and not the end of the watch.
	Watch(ctx context.Context, report func(policy.Want, error)) error
}

// Services are the units that must be up before this node counts as healthy.
type Services interface {
	// Down gives those that are not.
	Down(ctx context.Context) ([]string, error)
}

// Scripts runs a directory of programs; see policy.RunScripts. No directory is
// nothing to do.
type Scripts interface {
	Run(ctx context.Context, when policy.ScriptsWhen) error
	// Any reports whether there is something to run, also where nobody can tell.
	Any(when policy.ScriptsWhen) bool
}

// UnitWatcher reads the state of etcd's systemd unit.
type UnitWatcher interface {
	// Watch reports the unit's state and its every change until ctx ends.
	Watch(ctx context.Context, report func(policy.Unit, error)) error
	// State reads it now.
	State(ctx context.Context) (policy.Unit, error)
}

// Unit starts and stops etcd's systemd unit.
type Unit interface {
	// Start allows etcd to start, writes what it starts with, and starts it
	// without waiting until it is ready.
	Start(ctx context.Context, how policy.StartEtcd) error
	// Stop forbids etcd to start, and waits until it is stopped.
	Stop(ctx context.Context) error
}

// VersionReader tells which version of etcd this node's unit starts.
type VersionReader interface {
	Version(ctx context.Context) (string, error)
}

// Disk is what this node keeps.
type Disk interface {
	Data() (policy.Data, error)
	Archive(why string) (to string, err error)
	Save(r policy.Record) error
}

// PeerReader reads what another agent publishes, at host (an address without port).
type PeerReader interface {
	Peer(ctx context.Context, host string) (policy.Peer, error)
}

// Snapshotter saves a snapshot of this node's etcd, and tells where.
type Snapshotter interface {
	Snapshot(ctx context.Context) (where string, err error)
}

// PulseReader looks at this node's own etcd, as far as it tells without a quorum. The
// spans in it, and whether the process was met before, are the loop's to know.
type PulseReader interface {
	Pulse(ctx context.Context) policy.Pulse
}

// CertificateFiles looks at this node's certificate files.
type CertificateFiles interface {
	Certificates() []policy.Certificate
}

// Notifier tells the service manager how the agent is.
type Notifier interface {
	Ready() error
	Watchdog() error
	Status(line string) error
}
