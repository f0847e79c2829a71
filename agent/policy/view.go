package policy

import "time"

// Config is the part of the agent's configuration that decisions depend on.
// The zero value is not useful; start from [DefaultConfig].
type Config struct {
	// ReplacementWait is how long a leaving node waits for a replacement that is due.
	ReplacementWait time.Duration
	// LockWait caps the waiting for the disruption lock of a leaving node.
	LockWait time.Duration
	// Margin is how long before a deadline a leaving node stops waiting.
	Margin time.Duration
	// LaunchTimeout is how long a launching node that is itself at fault is kept.
	LaunchTimeout time.Duration
	// NoReplacementAfter is how long after the notice a replacement may take to
	// appear in the group as Pending; after it, none comes while we wait (some
	// groups launch only after the old instance is gone).
	NoReplacementAfter time.Duration
	// StaleAfter is the age at which an observation of etcd or of a peer no
	// longer counts; two polls at rest and a little.
	StaleAfter time.Duration
	// ActWithin is the age an observation may have when a disruption rests on it.
	ActWithin time.Duration
	// PromoteGap is how many raft entries a learner may be behind the leader's
	// committed index when it is promoted. etcd's own check is a ratio of absolute
	// indices (90 %), which on an old cluster lets a learner through that misses
	// millions of entries.
	PromoteGap uint64
	// LearnerTimeout is how long a learner may stay without raft progress.
	LearnerTimeout time.Duration
	// StewardSilence is how long the leader's agent may be silent before the
	// healthy voter with the least id does the cluster-wide work.
	StewardSilence time.Duration
	// ForgottenAfter is how long EC2 must not know an instance id before that
	// counts as terminated. EC2 shows a terminated instance for about an hour.
	ForgottenAfter time.Duration
	// ClusterNamed: the cluster has a name of its own, so that it may live in more
	// than one group.
	ClusterNamed bool
	// LaunchHook and TerminateHook name the hooks this agent completes; empty:
	// the only hook on the transition, else the one whose name starts with quorumd.
	LaunchHook, TerminateHook string
	// Role is what this node does; empty: RoleMember.
	Role Role
	// LockGroup is the group of the disruption lock that this node belongs to: for a
	// member always MembersGroup (also when empty), for a worker its reboot.group.
	LockGroup string
	Reboot    RebootConfig
	Force     ForceConfig
}

// Role is what a node does.
type Role string

// The roles.
const (
	RoleMember Role = "member" // it runs etcd
	RoleWorker Role = "worker" // it only uses the lock and the hooks
)

// Strategy is whether this agent reboots the machine when a source wants it.
type Strategy string

// The strategies. An operator's own request and FleetLock clients are served
// under both.
const (
	StrategyLock Strategy = "lock"
	StrategyOff  Strategy = "off"
)

// RebootConfig is the part of the configuration about reboots.
type RebootConfig struct {
	// Strategy; empty: StrategyLock.
	Strategy Strategy
	// Windows in which reboots may begin; none: always.
	Windows Windows
	// PauseBetween is how long a node that is back and healthy keeps its slot.
	PauseBetween time.Duration
	// SmallClusters allows reboots of members where there are one or two voters.
	SmallClusters bool
	// UserGrace is how long people who are logged in are waited for, at most.
	UserGrace time.Duration
	// Services: there are units that must be up before this node counts as
	// healthy: View.Down is observed.
	Services bool
}

// DefaultConfig gives the values of quorumd.yaml's defaults.
func DefaultConfig() Config {
	return Config{
		ReplacementWait:    10 * time.Minute,
		LockWait:           15 * time.Minute,
		Margin:             30 * time.Second,
		LaunchTimeout:      20 * time.Minute,
		NoReplacementAfter: time.Minute,
		StaleAfter:         12 * time.Second,
		ActWithin:          3 * time.Second,
		PromoteGap:         500,
		LearnerTimeout:     10 * time.Minute,
		StewardSilence:     time.Minute,
		ForgottenAfter:     time.Hour,
		Force:              ForceConfig{Enabled: true, After: 30 * time.Second, Pause: 5 * time.Second, Cooldown: 10 * time.Minute, MaxAttempts: 3},
		Role:               RoleMember,
		LockGroup:          MembersGroup,
		Reboot:             RebootConfig{Strategy: StrategyLock, UserGrace: 5 * time.Minute},
	}
}

// View is everything one pass knows. It is built by the loop from the facts on
// its board and is read-only.
type View struct {
	// Now is this machine's clock at the pass.
	Now time.Time
	// Started is when this agent process began to observe.
	Started time.Time
	Self    Self

	// Lifecycle is the target lifecycle state from instance metadata.
	Lifecycle Fact[Target]
	// Spot is the Spot interruption notice; the zero Notice means none.
	Spot Fact[Notice]
	// Group is the auto scaling group this instance belongs to.
	Group Fact[Group]
	// Instances is what EC2 says of instances, by id.
	Instances Fact[map[InstanceID]Instance]

	// Unit is etcd's systemd unit on this node.
	Unit Fact[Unit]
	// Data is etcd's data directory on this node.
	Data Fact[Data]
	// Members is a linearizable member list, from any member that answered.
	Members Fact[MemberList]
	// Health is each member's state, by probing it, by member id.
	Health map[MemberID]Fact[Health]
	// Local is the state of whatever answers on this node's own client port.
	Local Fact[Health]
	// EtcdVersion is the version of etcd that this node's unit starts, running or not. Its
	// Err without a value: it cannot be told.
	EtcdVersion Fact[string]
	// ClusterVersion is what the members agreed on ("3.6.0"): the lowest minor version
	// among them.
	ClusterVersion Fact[string]
	// Pulse is this node's own etcd, as far as it can be told without a quorum.
	Pulse Fact[Pulse]
	// Lock is the disruption lock.
	Lock Fact[Lock]
	// Peers is what the other agents of the group say of themselves.
	Peers map[InstanceID]Fact[Peer]
	// Wants is whether each source that is observed on this node wants a reboot.
	Wants map[WantSource]Fact[Want]
	// Login is logind's state.
	Login Fact[Login]
	// Down are the configured units of this node that are not up; observed only where
	// there are any (RebootConfig.Services).
	Down Fact[[]string]
	// Certificates are this node's certificate files, for warnings only.
	Certificates Fact[[]Certificate]

	// Record is what this node keeps on disk.
	Record Record
	// Receipts tell the outcome of this process's own actions and duties, by key.
	Receipts map[string]Receipt
	// InFlight is the action under way, nil for none.
	InFlight *InFlight
	// Last is the action that ended last; zero for none yet.
	Last LastAction
	// Requests are what operators ask for, oldest first.
	Requests []Request
}

// Self is what does not change while the agent runs.
type Self struct {
	Instance InstanceID
	Machine  string // /etc/machine-id
	Boot     string // kernel boot id
	// PeerURL and ClientURL are what this node's member advertises.
	PeerURL, ClientURL string
}

// Certificate is the state of one of this node's certificate files.
type Certificate struct {
	File string
	// NotAfter is when what is in use expires; zero: nothing is in use.
	NotAfter time.Time
	// Problem is why the file's content cannot be used; empty: it is in use.
	Problem string
}

// Data is the state of etcd's data directory.
type Data struct {
	// Empty: there is no member in it.
	Empty bool
	// Member and Cluster are the ids in its write-ahead log; 0 when unreadable.
	Member  MemberID
	Cluster ClusterID
	// NoRoom says where, if its file system has too little left for etcd to start with.
	NoRoom string
}

// MemberList is a linearizable member list together with what quorumd keeps
// beside it.
type MemberList struct {
	Cluster ClusterID
	// Via is the member that answered.
	Via MemberID
	// Members are sorted by id.
	Members []Member
	// Joins are the join keys: which instance announced a peer URL before its
	// member was added.
	Joins map[string]InstanceID
}

// Member is one member of the list.
type Member struct {
	ID MemberID
	// Name is the instance id; empty until the member has started once.
	Name       string
	PeerURLs   []string
	ClientURLs []string
	Learner    bool
}

// Find gives the member with an id.
func (l MemberList) Find(id MemberID) (Member, bool) {
	for _, m := range l.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Voters gives the ids of the voting members, sorted.
func (l MemberList) Voters() []MemberID {
	var ids []MemberID
	for _, m := range l.Members {
		if !m.Learner {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// Instance tells which instance a member belongs to: its name, or, for one that
// has not started yet, the join key of its peer URL. Empty: nobody can tell.
func (l MemberList) Instance(m Member) InstanceID {
	if m.Name != "" {
		return InstanceID(m.Name)
	}
	for _, u := range m.PeerURLs {
		if id, ok := l.Joins[u]; ok {
			return id
		}
	}
	return ""
}

// Health is a member's state, by probing its client port.
type Health struct {
	Cluster ClusterID
	Member  MemberID
	Leader  MemberID
	Learner bool
	Term    uint64
	// Committed and Applied are raft indices.
	Committed, Applied uint64
	// Serves: a linearizable read through this member succeeded.
	Serves bool
	// Corrupt, NoSpace: the member has raised that alarm.
	Corrupt, NoSpace bool
	Version          string
}

// Peer is what another agent says of itself.
type Peer struct {
	Instance           InstanceID
	Boot               string
	PeerURL, ClientURL string
	// Promise is that agent's promise for the first cluster, nil for none.
	Promise *Promise
	// HasData: its etcd data directory is not empty. Member and Cluster are its
	// recorded identity, 0 for none.
	HasData bool
	Member  MemberID
	Cluster ClusterID
	// Leaving: its leaving marker is set.
	Leaving bool
	// Etcd is its own etcd, as it sees it.
	Etcd EtcdWord
	// Election is the newest plan that it takes part in, nil for none.
	Election *Election
}

// Record is what a node keeps on disk, fsynced before the act it allows.
type Record struct {
	// Instance is who wrote the record. Another's: this disk is a copy.
	Instance InstanceID
	// Member and Cluster are this node's etcd identity, written before etcd is
	// first started as that member.
	Member  MemberID
	Cluster ClusterID
	// Ran: etcd was seen to have written data under this identity. Without it an
	// empty data directory means "never started"; with it, "wiped".
	Ran     bool
	Promise *Promise
	Leaving *Leaving
	// Endpoints are client URLs of members, as last known.
	Endpoints []string
	// Reboot is an operator's order to reboot, nil for none. It outlives the agent,
	// and ends with the boot in which it was given.
	Reboot *RebootOrder
	// Rebooted is the last reboot that this node was about to do by itself; nil:
	// none, or there is nothing more to remember of it.
	Rebooted *Rebooted
	// Voters are the cluster's voters, as last known.
	Voters []Voter
	// Election is the newest plan to restart a stuck etcd, nil: none to remember.
	Election *Election
}

// RebootOrder is what an operator ordered with quorumd reboot.
type RebootOrder struct {
	// Boot is the boot id of the machine when it was ordered.
	Boot string
	// Why is the operator's reason, for people.
	Why string
	// Since is this machine's clock then.
	Since time.Time
}

// Rebooted is what a reboot was done for, so that a source that still wants one
// afterwards does not have the machine reboot for ever.
type Rebooted struct {
	// Boot is the boot id that the reboot was to end.
	Boot string
	// For are the sources, and behind a slash what each named (an event's id).
	For []string
}

// WantSource is where the wish for a reboot comes from; the names are those of
// the configuration's reboot.sources.
type WantSource string

// The sources that are observed. An operator's order is in the Record.
const (
	WantUpdateEngine   WantSource = "update-engine"
	WantRebootRequired WantSource = "reboot-required"
	WantSentinel       WantSource = "sentinel"
	WantScheduled      WantSource = "scheduled-events"
)

// Want is what one source says.
type Want struct {
	// Wanted: it wants a reboot.
	Wanted bool
	// ID names what it wants it for, where there is a name (an event's id).
	ID string
	// Why says it to people.
	Why string
	// Due is when the machine is rebooted from outside, AWS's clock; zero: never.
	Due time.Time
}

// Login is the state of logind that concerns reboots.
type Login struct {
	// Users are people who are logged in, each in a few words.
	Users []string
	// Blocks are the inhibitors that forbid a reboot now, each in a few words.
	Blocks []string
	// GoingDown: the machine is shutting down or rebooting already.
	GoingDown bool
}

// Leaving is the durable marker of a node that was told to go. It forbids
// joining until AWS says InService again.
type Leaving struct {
	// Since is when the first notice was seen, on this machine's clock.
	Since time.Time
	// Target is the notice in AWS's words.
	Target string
	// Voters is how many voters there were at the notice; 0 when unknown.
	Voters int
}

// InFlight is the action under way.
type InFlight struct {
	Action  Action
	Started time.Time
}

// LastAction is the action that ended last.
type LastAction struct {
	Action Action
	Ended  time.Time
}

// Receipt is the outcome of an action or a duty, for this instance and boot.
type Receipt struct {
	Started, Ended time.Time
	// Succeeded is when it last succeeded; zero for never.
	Succeeded time.Time
	// Failures in a row since then.
	Failures int
	LastErr  string
	// Detail is what the action itself has to say (a member id that was added, say).
	Detail string
}

// After gives the receipt after one more attempt.
func (r Receipt) After(began, ended time.Time, err error) Receipt {
	r.Started, r.Ended = began, ended
	if err != nil {
		r.Failures++
		r.LastErr = err.Error()
	} else {
		r.Failures, r.LastErr, r.Succeeded = 0, "", ended
	}
	return r
}

// Done reports whether the last attempt succeeded.
func (r Receipt) Done() bool { return !r.Succeeded.IsZero() && r.Failures == 0 }

// Request is what an operator asked for through the control socket, or a client
// through FleetLock.
type Request struct {
	ID   string
	Kind RequestKind
	// Client and Group are a FleetLock client's id and group.
	Client, Group string
	// Scripts: a FleetLock client asks, and there are programs to run before a reboot, or
	// nobody can tell. They run under the slot before the client is granted it.
	Scripts bool
	// Why is an operator's reason.
	Why string
	// Instance is whose hold is to be released, empty: this node's own; Revision the
	// hold's revision that the operator was shown, 0: whichever it has.
	Instance InstanceID
	Revision int64
	// Slots is how many slots the group is to have.
	Slots int
}

// RequestKind names what can be asked for.
type RequestKind string

// What can be asked for. All but FreshStart mean the same however often they are
// asked.
const (
	// FreshStart asks to forget a cluster that no longer exists, so that the group
	// forms a new one (quorumd bootstrap --fresh).
	FreshStart RequestKind = "bootstrap-fresh"
	// ForceElection asks for a plan to restart a stuck etcd, without the waiting time
	// (quorumd force-election).
	ForceElection RequestKind = "force-election"
	// OrderReboot asks for a reboot of this node in its turn (quorumd reboot): Why. It
	// is answered when the order is on disk.
	OrderReboot RequestKind = "reboot"
	// CancelReboot takes the order back while it has not begun.
	CancelReboot RequestKind = "reboot-cancel"
	// LockAcquire takes a slot for an operator at this node (quorumd lock acquire): Why.
	LockAcquire RequestKind = "lock-acquire"
	// LockRelease gives a hold back, anybody's (quorumd lock release): Instance, Revision.
	LockRelease RequestKind = "lock-release"
	// LockSlots sets how many may hold a worker group's lock at once: Slots.
	LockSlots RequestKind = "lock-slots"
	// PreReboot and SteadyState are FleetLock's: Client, Group.
	PreReboot   RequestKind = "fleetlock-pre-reboot"
	SteadyState RequestKind = "fleetlock-steady-state"
)
