package policy

// Reason is why a concern acts or waits. The same word is the log field, the
// metric label, the column of `quorumd status` and what a test compares.
type Reason string

// Reasons of every concern.
const (
	Idle      Reason = "Idle"      // nothing to do
	Settling  Reason = "Settling"  // the last action's effects are being observed
	BackedOff Reason = "BackedOff" // the last attempt failed; it is repeated a little later
	Busy      Reason = "Busy"      // an action is under way
	Blocked   Reason = "Blocked"   // an earlier concern forbids acting
)

// Reasons of leaving.
const (
	LifecycleUnknown   Reason = "LifecycleUnknown"   // instance metadata does not answer
	NotLeaving         Reason = "NotLeaving"         // the group wants this instance
	MarkLeaving        Reason = "MarkLeaving"        // told to go: writing the marker first
	LeaveRevoked       Reason = "LeaveRevoked"       // told to go once, but AWS says InService again
	LeaveDoubted       Reason = "LeaveDoubted"       // told to go once, metadata says InService again, the group not yet
	NothingToLeave     Reason = "NothingToLeave"     // this node is in no cluster
	MembershipUnknown  Reason = "MembershipUnknown"  // no survivor tells whether we are still a member
	GroupEnds          Reason = "GroupEnds"          // the group goes to zero: nothing is left to protect
	LastVoter          Reason = "LastVoter"          // the last voter never leaves while the group wants instances
	HealthUnknown      Reason = "HealthUnknown"      // whether our own member serves was not observed lately
	AwaitReplacement   Reason = "AwaitReplacement"   // a replacement is due and does not vote yet
	AwaitLock          Reason = "AwaitLock"          // another member is being disrupted
	LockUnknown        Reason = "LockUnknown"        // the disruption lock cannot be read
	QuorumWouldBreak   Reason = "QuorumWouldBreak"   // the rest would not be a healthy majority
	TakeLock           Reason = "TakeLock"           // our turn at the disruption lock
	BeginLeaving       Reason = "BeginLeaving"       // lock held, checks pass: the hold becomes acting
	HandOver           Reason = "HandOver"           // moving leadership away first
	RemoveSelf         Reason = "RemoveSelf"         // removing this node's own member
	StopAfterRemoval   Reason = "StopAfterRemoval"   // removed: stopping etcd
	GiveBackLock       Reason = "GiveBackLock"       // the slot is not needed, or not usable now
	CompleteLeave      Reason = "CompleteLeave"      // letting the group go on
	AwaitHook          Reason = "AwaitHook"          // out of etcd; the hook is not seen open
	Left               Reason = "Left"               // out of etcd, and the hook is completed
	DeadlineRemoveSelf Reason = "DeadlineRemoveSelf" // no time left: removing self without waiting further
	DeadlineHandOver   Reason = "DeadlineHandOver"   // no time left, and removal is not allowed: leadership away
	DeadlineStop       Reason = "DeadlineStop"       // no time left: stopping etcd unremoved; the steward reaps it
	DeadlineComplete   Reason = "DeadlineComplete"   // no time left: letting the group go on with something undone
)

// Reasons of the steward.
const (
	NotSteward         Reason = "NotSteward"         // another agent does the cluster-wide work
	StewardUnsure      Reason = "StewardUnsure"      // leadership or the member list is not confirmed
	RestoreTag         Reason = "RestoreTag"         // the group has no cluster tag
	TagConflict        Reason = "TagConflict"        // the group bears another cluster's tag
	Reap               Reason = "Reap"               // EC2 says terminated: removing that member
	ReapWouldBreak     Reason = "ReapWouldBreak"     // a dead member's removal would leave no healthy majority
	Unproven           Reason = "Unproven"           // a member does not serve, and EC2 does not say terminated
	TerminatedServes   Reason = "TerminatedServes"   // EC2 says terminated, but the member serves: touch nothing
	EvictHold          Reason = "EvictHold"          // a hold whose member is gone
	PromoteLearner     Reason = "PromoteLearner"     // a learner has caught up
	LearnerBehind      Reason = "LearnerBehind"      // a learner has not caught up yet
	LearnerLeaving     Reason = "LearnerLeaving"     // a learner's instance is told to go: not promoted
	LearnerStuck       Reason = "LearnerStuck"       // a learner without progress is removed
	PromotionUnhealthy Reason = "PromotionUnhealthy" // the voters are not healthy enough to promote
	AllWell            Reason = "AllWell"            // nothing to do for the cluster
)

// Reasons of joining, the first cluster included.
const (
	NotWanted        Reason = "NotWanted"        // the group does not want this instance in service
	ForeignRecord    Reason = "ForeignRecord"    // the disk is a copy of another instance's
	ForeignData      Reason = "ForeignData"      // the data directory is another member's
	StopForeign      Reason = "StopForeign"      // etcd runs on data that is not this member's
	DataUnknown      Reason = "DataUnknown"      // the data directory cannot be read
	UnitUnknown      Reason = "UnitUnknown"      // systemd does not tell etcd's unit state
	UnitMissing      Reason = "UnitMissing"      // etcd's unit does not exist
	Adopt            Reason = "Adopt"            // a running member is taken over as it is
	Removed          Reason = "Removed"          // this member was removed from the cluster: start over
	StartMember      Reason = "StartMember"      // starting etcd on its own data
	Starting         Reason = "Starting"         // etcd is starting or has no quorum
	GroupUnknown     Reason = "GroupUnknown"     // the auto scaling group cannot be read
	NotInGroup       Reason = "NotInGroup"       // the group does not list this instance
	ClusterMissing   Reason = "ClusterMissing"   // the group's tag names a cluster of which no member answers
	GroupUnsettled   Reason = "GroupUnsettled"   // the group's instances are not as many as desired
	PeersSilent      Reason = "PeersSilent"      // agents of the group do not answer
	PeersHaveData    Reason = "PeersHaveData"    // an agent of the group has etcd data: no first cluster
	PromiseFirst     Reason = "PromiseFirst"     // promising the list of the first cluster
	Withdraw         Reason = "Withdraw"         // the group changed: taking the promise back
	AwaitWithdrawal  Reason = "AwaitWithdrawal"  // others still stand by the old list
	AwaitAgreement   Reason = "AwaitAgreement"   // not every agent promised the same list yet
	CommitFirst      Reason = "CommitFirst"      // everybody promised: committing to the list
	TagFirst         Reason = "TagFirst"         // writing the cluster's id on the group
	StartFirst       Reason = "StartFirst"       // starting the first cluster
	WipedVoter       Reason = "WipedVoter"       // our member's data is gone: removing the old member
	URLTaken         Reason = "URLTaken"         // another member has our peer URL: wait until it is reaped
	LearnerAhead     Reason = "LearnerAhead"     // another learner joins first
	MembersUnhealthy Reason = "MembersUnhealthy" // too few healthy voters to add one
	JoinLearner      Reason = "JoinLearner"      // adding this node as a learner
	RecordIdentity   Reason = "RecordIdentity"   // writing our member id down before starting
	StartLearner     Reason = "StartLearner"     // starting the learner
	CatchingUp       Reason = "CatchingUp"       // a learner, not promoted yet
	CompleteLaunch   Reason = "CompleteLaunch"   // a healthy voter: in service
	AbandonLaunch    Reason = "AbandonLaunch"    // this node cannot join: letting the group replace it
	WithdrawLearner  Reason = "WithdrawLearner"  // this node cannot join: taking its learner out
	MemberUnhealthy  Reason = "MemberUnhealthy"  // a voter that does not serve
	Voting           Reason = "Voting"           // a healthy voter
	FreshAllowed     Reason = "FreshAllowed"     // an operator asked for a fresh start: removing the tag
	FreshRefused     Reason = "FreshRefused"     // a fresh start was asked for and refused
	WeightedCapacity Reason = "WeightedCapacity" // the group counts with weights: refused
)
