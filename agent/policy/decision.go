package policy

import "time"

// Concern is one of the agent's standing questions, in order of precedence.
type Concern string

// The concerns, in the order in which Next asks them.
const (
	ConcernRequest  Concern = "request"
	ConcernElection Concern = "election"
	ConcernLeave    Concern = "leave"
	ConcernSteward  Concern = "steward"
	ConcernJoin     Concern = "join"
	ConcernReboot   Concern = "reboot"
)

// Concerns lists every concern in order.
func Concerns() []Concern {
	return []Concern{ConcernRequest, ConcernElection, ConcernLeave, ConcernSteward, ConcernJoin, ConcernReboot}
}

// Verdict is one concern's answer.
type Verdict struct {
	Reason Reason
	// Detail says which member, hook or instance, for people; never compared.
	Detail string
	Action Action
	// Blocks names the later concerns that may not act meanwhile.
	Blocks []Concern
	// Recheck is the next instant at which the same facts could decide
	// differently; zero: never.
	Recheck time.Time
	Duties  []Duty
}

// Decision is what one pass decided.
type Decision struct {
	// Action is the one thing to do now; nil: wait.
	Action Action
	// Concern is whose action it is; empty when there is none.
	Concern Concern
	// Duties are what must be running, without repetition.
	Duties []Duty
	// Verdicts are every concern's answer.
	Verdicts map[Concern]Verdict
	// Recheck is the next instant at which the SAME facts, still young enough,
	// could decide differently; zero: never.
	Recheck time.Time
	// Stale is when the first fact that this decision rests on becomes too old to
	// rest on; zero: never. Observers refresh facts well before.
	Stale time.Time
	// Expires is Stale by source, and Wants names the sources of which a known fact
	// was too old for this decision: a newer observation may decide differently,
	// even where its value is the same.
	Expires [NumSources]time.Time
	Wants   [NumSources]bool
	// Steward: this agent does the cluster-wide work.
	Steward bool
	// Warnings are what an operator should look at; no decision depends on them.
	Warnings []Warning
}

// Source is where a fact comes from: what one observer observes.
type Source int

// The sources. An action names those it may change (see Affected).
const (
	SourceGroup Source = iota
	SourceUnit
	SourceData
	SourceMembers
	SourceHealth
	SourceLock
	SourceTarget
	SourceSpot
	SourceInstances
	SourcePeers
	SourceWants
	SourceLogin
	SourceDown
	SourceVersions
	SourcePulse
	// NumSources is how many there are.
	NumSources
)

var sourceNames = [NumSources]string{"group", "unit", "data", "members", "health", "lock", "target", "spot", "instances", "peers", "wants", "login", "down", "versions", "pulse"}

// String gives the source's name, as Affected does.
func (s Source) String() string { return sourceNames[s] }

// State is what one view cannot show. Losing it is harmless: it only makes the
// agent wait longer.
type State struct {
	// Learners tells since when each learner stands at its raft index.
	Learners map[MemberID]Progress
	// Forgotten tells since when EC2 does not know an instance of a member.
	Forgotten map[InstanceID]time.Time
	// LaunchingSince is when this node was first told to be in service without
	// being a voter.
	LaunchingSince time.Time
	// BackSince is when this node was last told to be in service again after it had been told
	// to go. A launch hook that was completed before is not the one that may wait now.
	BackSince time.Time
	// GaveUp: this node cannot join, and its learner was taken out for good.
	GaveUp bool
	// FailingSince is since when etcd does not run as this node's learner, which makes no
	// progress meanwhile; Unfit is what was learned when such a learner was taken out.
	FailingSince time.Time
	Unfit        Unfit
	// Unwritten is the leaving marker that could not be written to disk yet.
	Unwritten *Leaving
	// NotServingSince is since when this node, told to go, does not serve, put off
	// by the time that it served in between; ServingSince is when it last began to.
	NotServingSince, ServingSince time.Time
	// CapacitySince is since when the voters are not as many as the group wants.
	CapacitySince time.Time
	// QueuedSince is when this node first wanted the disruption lock.
	QueuedSince time.Time
	// ClearSince and ClearTurn: see trackLock.
	ClearSince time.Time
	ClearTurn  int64
	// Ask is what a client or an operator waits for; nil: nobody does.
	Ask *Ask
	// Adopted: the lock was looked at for a place that this agent kept before it restarted.
	Adopted bool
	// WaitingSince is when this node first wanted the lock for a reboot or for who asked.
	WaitingSince time.Time
	// UsersSince is since when people who are logged in are all that a reboot waits for.
	UsersSince time.Time
	// GrantedSince is since when the granted hold of revision GrantedAt is kept for
	// who asked for it.
	GrantedAt    int64
	GrantedSince time.Time
	// ScriptsFor is the revision of the hold under which a client's request had the scripts
	// run that come before a reboot.
	ScriptsFor int64
	// WellSince is since when this node is healthy again after its reboot.
	WellSince time.Time
	// Vote is about elections of etcd.
	Vote VoteState
}

// Progress is a learner's raft index and since when it has not moved.
type Progress struct {
	Index uint64
	Since time.Time
}
