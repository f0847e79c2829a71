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
	PromotionUnsafe    Reason = "PromotionUnsafe"    // the leader's etcd is too old to promote safely
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
	AwaitRoom        Reason = "AwaitRoom"        // etcd's data directory has no room: not joining, nothing promised
	LearnerAhead     Reason = "LearnerAhead"     // another learner joins first
	MembersUnhealthy Reason = "MembersUnhealthy" // too few healthy voters to add one
	VersionBehind    Reason = "VersionBehind"    // etcd here is older than the cluster
	VersionAhead     Reason = "VersionAhead"     // etcd here is more than one minor version ahead of the cluster
	VersionUnknown   Reason = "VersionUnknown"   // the cluster's version, or that of an etcd that does not run, cannot be told
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
	Worker           Reason = "Worker"           // this node runs no member
	WeightedCapacity Reason = "WeightedCapacity" // the group counts with weights: refused
)

// Reasons of requests from outside: operators and FleetLock clients.
const (
	RequestDone    Reason = "RequestDone"    // answered: done, or there is nothing to do
	RequestRefused Reason = "RequestRefused" // not understood, or never possible
	TakeOrder      Reason = "TakeOrder"      // an operator's order to reboot is written to disk, or taken back
	GrantLock      Reason = "GrantLock"      // the lock is taken for who asked: they may disrupt this node
	WrongGroup     Reason = "WrongGroup"     // a FleetLock client of another group than this node's
	OtherClient    Reason = "OtherClient"    // somebody else has, or waits for, the lock at this node
	ReleaseAsked   Reason = "ReleaseAsked"   // an operator has a hold given back
	HoldChanged    Reason = "HoldChanged"    // the hold is not any more what the operator was shown
	SetLockSlots   Reason = "SetLockSlots"   // an operator changes how many may hold the lock
)

// Reasons of rebooting.
const (
	RebootNotWanted Reason = "RebootNotWanted" // nobody wants a reboot
	RebootOff       Reason = "RebootOff"       // a source wants one, and the strategy is off
	RebootInVain    Reason = "RebootInVain"    // a source still wants one after a reboot for it
	WantUnknown     Reason = "WantUnknown"     // a source does not tell whether it wants one
	LeavingFirst    Reason = "LeavingFirst"    // this node is told to go: it is not rebooted
	AwaitWindow     Reason = "AwaitWindow"     // outside the configured windows
	AwaitUsers      Reason = "AwaitUsers"      // people are logged in
	LoginUnknown    Reason = "LoginUnknown"    // logind does not tell who is logged in and what forbids a reboot
	Inhibited       Reason = "Inhibited"       // a program forbids reboots
	RebootNoMember  Reason = "RebootNoMember"  // this node's member does not vote yet
	RebootNoSpace   Reason = "RebootNoSpace"   // NOSPACE: no member is rebooted
	MemberJoining   Reason = "MemberJoining"   // a learner exists
	MemberLeaving   Reason = "MemberLeaving"   // another member's instance is told to go
	VotersMissing   Reason = "VotersMissing"   // fewer voters than the group wants
	VotersUnhealthy Reason = "VotersUnhealthy" // another voter does not serve
	LeaderUnsettled Reason = "LeaderUnsettled" // the others do not follow a leader of their own yet
	SmallCluster    Reason = "SmallCluster"    // one or two voters, and reboot.small_clusters is off
	RunBefore       Reason = "RunBefore"       // the lock is held: the scripts before the reboot run
	ScriptFailed    Reason = "ScriptFailed"    // a script failed: before a reboot it is put off, after one the slot is kept
	NoteReboot      Reason = "NoteReboot"      // writing down what a reboot is for
	BeginReboot     Reason = "BeginReboot"     // everything is ready: the hold becomes acting
	RebootNow       Reason = "RebootNow"       // rebooting the machine
	Rebooting       Reason = "Rebooting"       // the machine is about to go down
	RebootStalled   Reason = "RebootStalled"   // logind accepted the reboot minutes ago, and the machine is still up
	ComingBack      Reason = "ComingBack"      // rebooted; this node is not healthy yet
	RunAfter        Reason = "RunAfter"        // back and healthy: the scripts after the reboot run
	PauseBetween    Reason = "PauseBetween"    // back and healthy: the slot is kept for reboot.pause_between
	AwaitSteady     Reason = "AwaitSteady"     // back and healthy: the FleetLock client is to say so
	RebootDone      Reason = "RebootDone"      // the slot is given back after the reboot
	HeldForClient   Reason = "HeldForClient"   // a FleetLock client was granted the lock and may reboot the machine
	HeldForOperator Reason = "HeldForOperator" // an operator holds the lock at this node
	PlaceKept       Reason = "PlaceKept"       // the slot is kept a while for who asked for it
	PlaceLapsed     Reason = "PlaceLapsed"     // who asked for the slot did not ask again
)

// Reasons of elections, of which nothing is done about the first ones.
const (
	NoVote             Reason = "NoVote"             // this node is no voter
	LeaderKnown        Reason = "LeaderKnown"        // etcd has a leader and commits
	Electing           Reason = "Electing"           // no leader, too early or by too few words to do anything
	ElectionStuck      Reason = "ElectionStuck"      // a majority knows no leader
	PeersUnreachable   Reason = "PeersUnreachable"   // no leader, and no word of a majority's agents
	MajorityLost       Reason = "MajorityLost"       // a majority is gone for good, or without its data
	AlarmNoSpace       Reason = "AlarmNoSpace"       // no leader, and the database is full
	AlarmCorrupt       Reason = "AlarmCorrupt"       // no leader, and a member's data is wrong
	ElectionCannotTell Reason = "ElectionCannotTell" // whether there is a leader cannot be told
	LeaderStalled      Reason = "LeaderStalled"      // a leader that commits nothing
	FrozenMember       Reason = "FrozenMember"       // this node's member answers nothing, while there is a leader
	ElectionOff        Reason = "ElectionOff"        // stuck, and force_election.enabled is false
	ElectionCooldown   Reason = "ElectionCooldown"   // stuck again soon after an attempt
	AttemptsSpent      Reason = "AttemptsSpent"      // stuck, and all attempts are spent
	AwaitHolder        Reason = "AwaitHolder"        // stuck, and a member that reboots has yet to come back
	ProposePlan        Reason = "ProposePlan"        // publishing a plan to restart etcd
	JoinPlan           Reason = "JoinPlan"           // taking part in another's plan
	AwaitPlan          Reason = "AwaitPlan"          // a majority does not publish one plan yet
	AwaitTurn          Reason = "AwaitTurn"          // another member is restarted first
	BeginRestart       Reason = "BeginRestart"       // writing down that this member's turn begins
	SaveFirst          Reason = "SaveFirst"          // saving a snapshot before etcd is restarted
	RestartStuck       Reason = "RestartStuck"       // restarting etcd in its turn
	Restarted          Reason = "Restarted"          // this member's turn is over
	StopStuck          Reason = "StopStuck"          // stopping etcd together with all others
	AwaitStopped       Reason = "AwaitStopped"       // others are still to stop
	PauseStopped       Reason = "PauseStopped"       // everybody is stopped: the pause
	StartStuck         Reason = "StartStuck"         // starting etcd again
	AwaitLeader        Reason = "AwaitLeader"        // restarted: a leader is waited for
	ElectionWon        Reason = "ElectionWon"        // there is a leader: the plan is over
	ElectionFailed     Reason = "ElectionFailed"     // the plan is over without a leader
	ElectionCut        Reason = "ElectionCut"        // the agent ended in the middle of a plan
	ElectionAsked      Reason = "ElectionAsked"      // an operator asked for a plan
	ElectionRefused    Reason = "ElectionRefused"    // an operator asked, and a restart cannot help
)
