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
	// Lock is the disruption lock.
	Lock Fact[Lock]
	// Peers is what the other agents of the group say of themselves.
	Peers map[InstanceID]Fact[Peer]
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

// Unit is the state of a systemd unit, in systemd's words.
type Unit struct {
	Load, Active, Sub string
	MainPID           int
}

// Stopped reports whether nothing of the unit runs or is about to.
func (u Unit) Stopped() bool {
	return u.Load == "not-found" || u.Active == "inactive" || u.Active == "failed"
}

// Down reports whether no process of the unit runs now: stopped, or waiting for
// systemd's next automatic restart.
func (u Unit) Down() bool { return u.Stopped() || u.Sub == "auto-restart" }

// Data is the state of etcd's data directory.
type Data struct {
	// Empty: there is no member in it.
	Empty bool
	// Member and Cluster are the ids in its write-ahead log; 0 when unreadable.
	Member  MemberID
	Cluster ClusterID
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

// Lock is the disruption lock's state: one linearizable read of its prefix.
type Lock struct {
	// Revision is the store's revision of the read.
	Revision int64
	Slots    int
	Holders  []Hold
	// Leaving is the queue of leaving nodes, which goes ahead of all others;
	// Queue the ordinary one. Both in FIFO order.
	Leaving, Queue []Waiter
}

// HoldPhase is how far a hold has come.
type HoldPhase string

// A granted hold may be given back at any time; an acting one never ends by time.
const (
	Granted HoldPhase = "granted"
	Acting  HoldPhase = "acting"
)

// HoldReason is why a hold was taken.
type HoldReason string

// The reasons to hold the disruption lock.
const HoldLeaving HoldReason = "leaving"

// Hold is one slot's holder. Its ModRevision is the fencing token.
type Hold struct {
	Slot     int
	Instance InstanceID
	Machine  string
	Boot     string
	Member   MemberID
	Cluster  ClusterID
	Reason   HoldReason
	Phase    HoldPhase
	// Since is the holder's own clock when it took the slot: for people only.
	Since    time.Time
	Revision int64
}

// release gives exactly this hold back.
func (h Hold) release() ReleaseHold {
	return ReleaseHold{Slot: h.Slot, Instance: h.Instance, Revision: h.Revision}
}

// Waiter is one place in a queue.
type Waiter struct {
	Instance InstanceID
	Revision int64 // create revision: the order
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

// Request is what an operator asked for through the control socket.
type Request struct {
	ID   string
	Kind RequestKind
}

// RequestKind names what can be asked for.
type RequestKind string

// FreshStart asks to forget a cluster that no longer exists, so that the group
// forms a new one (quorumd bootstrap --fresh).
const FreshStart RequestKind = "bootstrap-fresh"
