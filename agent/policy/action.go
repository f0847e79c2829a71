package policy

import (
	"errors"
	"fmt"
	"time"
)

// Action is one change to the world. The loop performs at most one at a time.
type Action interface {
	// Kind is the action's name in logs and metrics.
	Kind() string
	// Key identifies what is attempted, so that failures of one attempt delay
	// only its own repetition.
	Key() string
	// affects names the facts that this action may change: they must be observed
	// anew before the next action.
	affects() source
}

// source is a set of facts.
type source uint16

const (
	srcGroup   source = 1 << SourceGroup
	srcUnit    source = 1 << SourceUnit
	srcData    source = 1 << SourceData
	srcMembers source = 1 << SourceMembers
	srcHealth  source = 1 << SourceHealth // every member's, and the local one's
	srcLock    source = 1 << SourceLock
	srcLogin   source = 1 << SourceLogin
	srcPulse   source = 1 << SourcePulse
)

// WriteRecord replaces this node's record on disk, fsynced.
type WriteRecord struct {
	Why    string
	Record Record
}

// WriteTag writes the cluster's id on the group. Only where there is none, so
// Next returns it only after having read the group without a tag.
type WriteTag struct{ Cluster ClusterID }

// DeleteTag removes the group's cluster tag, which must still have this value.
type DeleteTag struct{ Value string }

// StartEtcd lets etcd start from now on, and starts it.
type StartEtcd struct {
	// New: the first start of a first cluster (initial-cluster-state=new).
	New bool
	// Initial are the members that etcd is to know, this one included.
	Initial []InitialMember
	// Token is the initial cluster token; empty when not New.
	Token string
}

// InitialMember is one entry of etcd's initial-cluster.
type InitialMember struct {
	Name    string
	PeerURL string
}

// StopEtcd forbids etcd to start, and stops it.
type StopEtcd struct{}

// SaveSnapshot saves a snapshot of this node's etcd, before it is restarted for a plan.
type SaveSnapshot struct{ Plan string }

// RestartEtcd has systemd restart etcd for a plan, in one job: whatever becomes of the
// agent, etcd is started again.
type RestartEtcd struct {
	Plan    string
	Initial []InitialMember
}

// ArchiveData moves the data directory's content aside. etcd must be stopped.
type ArchiveData struct{ Why string }

// AddLearner announces this node's peer URL under its instance id, and adds it
// to the cluster as a learner.
type AddLearner struct {
	Instance InstanceID
	PeerURL  string
}

// Promote makes a learner a voter.
type Promote struct{ Member MemberID }

// RemoveMember removes a member, asking a member other than the removed one.
type RemoveMember struct {
	Member   MemberID
	Instance InstanceID // whose it was, empty when nobody can tell
	// Learner: it was decided about a learner. One that votes by now is left alone.
	Learner bool
	Why     string
}

// MoveLeader hands leadership from this node's member to another voter.
type MoveLeader struct{ To MemberID }

// TakeSlot takes a slot of the disruption lock, from the head of the queue or
// where nobody waits; or converts this instance's own hold.
type TakeSlot struct {
	Take Take
	// Answers is the request that its success grants, empty for none.
	Answers string
}

// MarkActing turns this node's granted hold into an acting one, if it is still
// at this revision.
type MarkActing struct {
	Revision int64
	// Answers is the request that its success grants, empty for none.
	Answers string
}

// ReleaseHold deletes a hold if it is still at this revision.
type ReleaseHold struct {
	Slot     int
	Instance InstanceID
	Revision int64
	// Answers is the request that its success grants, empty for none.
	Answers string
}

// SetSlots sets how many may hold the lock of a workers' group at once.
type SetSlots struct {
	Slots int
	// Answers is the request that its success grants.
	Answers string
}

// Reboot has logind reboot the machine.
type Reboot struct{ Why string }

// CompleteHook ends a lifecycle hook of this instance.
type CompleteHook struct {
	Hook   string
	Result HookResult
}

// HookResult is what a completed hook answers.
type HookResult string

// The results AWS knows.
const (
	Continue HookResult = "CONTINUE"
	Abandon  HookResult = "ABANDON"
)

// AnswerRequest ends a request with words for who asked.
type AnswerRequest struct {
	ID string
	OK bool
	// Reason is why not, where it is refused.
	Reason Reason
	// Undecided: nobody said no; the time to wait was over.
	Undecided bool
	Answer    string
}

func (WriteRecord) Kind() string   { return "write-record" }
func (WriteTag) Kind() string      { return "write-tag" }
func (DeleteTag) Kind() string     { return "delete-tag" }
func (StartEtcd) Kind() string     { return "start-etcd" }
func (StopEtcd) Kind() string      { return "stop-etcd" }
func (ArchiveData) Kind() string   { return "archive-data" }
func (SaveSnapshot) Kind() string  { return "save-snapshot" }
func (RestartEtcd) Kind() string   { return "restart-etcd" }
func (AddLearner) Kind() string    { return "add-learner" }
func (Promote) Kind() string       { return "promote" }
func (RemoveMember) Kind() string  { return "remove-member" }
func (MoveLeader) Kind() string    { return "move-leader" }
func (TakeSlot) Kind() string      { return "take-slot" }
func (MarkActing) Kind() string    { return "mark-acting" }
func (ReleaseHold) Kind() string   { return "release-hold" }
func (SetSlots) Kind() string      { return "set-slots" }
func (Reboot) Kind() string        { return "reboot" }
func (CompleteHook) Kind() string  { return "complete-hook" }
func (AnswerRequest) Kind() string { return "answer-request" }

func (a WriteRecord) Key() string   { return a.Kind() }
func (a WriteTag) Key() string      { return a.Kind() }
func (a DeleteTag) Key() string     { return a.Kind() }
func (a StartEtcd) Key() string     { return a.Kind() }
func (a StopEtcd) Key() string      { return a.Kind() }
func (a ArchiveData) Key() string   { return a.Kind() }
func (a SaveSnapshot) Key() string  { return a.Kind() + "/" + a.Plan }
func (a RestartEtcd) Key() string   { return a.Kind() + "/" + a.Plan }
func (a AddLearner) Key() string    { return a.Kind() }
func (a Promote) Key() string       { return a.Kind() + "/" + a.Member.String() }
func (a RemoveMember) Key() string  { return a.Kind() + "/" + a.Member.String() }
func (a MoveLeader) Key() string    { return a.Kind() }
func (a TakeSlot) Key() string      { return a.Kind() }
func (a MarkActing) Key() string    { return a.Kind() }
func (a ReleaseHold) Key() string   { return fmt.Sprintf("%s/%d", a.Kind(), a.Revision) }
func (a SetSlots) Key() string      { return a.Kind() }
func (a Reboot) Key() string        { return a.Kind() }
func (a CompleteHook) Key() string  { return CompleteKey(a.Hook) }
func (a AnswerRequest) Key() string { return a.Kind() + "/" + a.ID }

// OnlyFailures reports whether nothing ever looks back at an action of this kind that
// succeeded: the receipt of one need not be kept. Each has a key of its own.
func OnlyFailures(a Action) bool {
	switch a.(type) {
	case ReleaseHold, AnswerRequest:
		return true
	}
	return false
}

// Answer gives the answer to the request that an action's success grants, if there
// is one: what was done is the answer, without another look at the world.
func Answer(a Action) (AnswerRequest, bool) {
	ans := AnswerRequest{OK: true}
	switch a := a.(type) {
	case AnswerRequest:
		return a, true
	case TakeSlot:
		ans.ID, ans.Answer = a.Answers, "the lock is held"
	case MarkActing:
		ans.ID, ans.Answer = a.Answers, "the lock is held"
	case ReleaseHold:
		ans.ID, ans.Answer = a.Answers, "the hold of "+string(a.Instance)+" is given back"
	case SetSlots:
		ans.ID, ans.Answer = a.Answers, fmt.Sprintf("the group has %d slots", a.Slots)
	}
	return ans, ans.ID != ""
}

// CompleteKey is the receipt key of completing a hook.
func CompleteKey(hook string) string { return "complete-hook/" + hook }

// HeartbeatKey is the receipt key of a hook's heartbeats.
func HeartbeatKey(hook string) string { return "heartbeat/" + hook }

func (WriteRecord) affects() source   { return 0 }
func (WriteTag) affects() source      { return srcGroup }
func (DeleteTag) affects() source     { return srcGroup }
func (StartEtcd) affects() source     { return srcUnit | srcData }
func (StopEtcd) affects() source      { return srcUnit | srcData }
func (ArchiveData) affects() source   { return srcData }
func (SaveSnapshot) affects() source  { return 0 }
func (RestartEtcd) affects() source   { return srcUnit | srcData | srcPulse }
func (AddLearner) affects() source    { return srcMembers }
func (Promote) affects() source       { return srcMembers | srcHealth }
func (RemoveMember) affects() source  { return srcMembers | srcHealth }
func (MoveLeader) affects() source    { return srcHealth }
func (MarkActing) affects() source    { return srcLock }
func (ReleaseHold) affects() source   { return srcLock }
func (SetSlots) affects() source      { return srcLock }
func (Reboot) affects() source        { return srcLogin }
func (CompleteHook) affects() source  { return 0 }
func (AnswerRequest) affects() source { return 0 }

// affects: what was granted is marked acting only after everything was looked at again. Who
// takes the slot straight into acting has looked before (see sinceClear).
func (t TakeSlot) affects() source {
	if t.Take.Phase == Acting {
		return srcLock
	}
	return srcLock | srcMembers | srcHealth
}

// Affected tells the loop which of its observers an action makes stale, by name:
// group, unit, data, members, health, lock.
func Affected(a Action) []string {
	var out []string
	for i, n := range sourceNames {
		if a.affects()&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// Duty is work that goes on for as long as every decision names it: the loop
// starts what is named and stops what is not.
type Duty interface{ duty() }

// Heartbeat extends a lifecycle hook of this instance, every Every.
type Heartbeat struct {
	Hook  string
	Every time.Duration
}

// KeepQueued keeps this node's place in the lock's queue for a reason: the leaving
// queue for HoldLeaving, else the ordinary one.
type KeepQueued struct {
	Reason HoldReason
	// Client is the FleetLock client who waits, if one does, whatever the Reason.
	Client string
}

// Leaves reports whether the place is in the leaving queue. A node has one place in each.
func (k KeepQueued) Leaves() bool { return k.Reason == HoldLeaving }

// The causes with which a place's context ends and the place does not.
var (
	// ErrAgentStops: the agent's process ends. The place outlives it, but for one in the
	// leaving queue, until its lease runs out: an agent that only restarts takes it over
	// where it is.
	ErrAgentStops = errors.New("the agent stops")
	// ErrHandedOn: this node goes on waiting there, for another reason or client.
	ErrHandedOn = errors.New("the place is handed on")
)

// RunScripts runs the scripts for before or after a reboot, once for a hold; its
// outcome is the receipt ScriptsKey(When), with the hold's revision as its Detail.
// It is a duty, not an action, because nothing else should have to wait for it:
// scripts that are no longer wanted are ended.
type RunScripts struct {
	When ScriptsWhen
	// Revision is that of the hold under which they run.
	Revision int64
}

// ScriptsWhen is when scripts run.
type ScriptsWhen string

// The two directories of scripts.
const (
	ScriptsBefore ScriptsWhen = "pre-reboot"
	ScriptsAfter  ScriptsWhen = "post-reboot"
)

// ScriptsKey is the receipt key of running scripts.
func ScriptsKey(w ScriptsWhen) string { return "scripts/" + string(w) }

// WatchGroup keeps View.Group fresh.
type WatchGroup struct{ Every time.Duration }

// WatchInstances keeps View.Instances fresh for these ids, sorted and joined by
// commas so that duties compare.
type WatchInstances struct {
	Every time.Duration
	IDs   string
}

// WatchVersions keeps View.EtcdVersion and View.ClusterVersion fresh.
type WatchVersions struct{}

// WatchPlan makes them fast and those of the peers faster still, while a plan to restart
// etcd is open.
type WatchPlan struct{}

// WatchClosely makes the probes of etcd and of the peers fast.
type WatchClosely struct{}

func (RunScripts) duty()     {}
func (Heartbeat) duty()      {}
func (KeepQueued) duty()     {}
func (WatchGroup) duty()     {}
func (WatchInstances) duty() {}
func (WatchVersions) duty()  {}
func (WatchClosely) duty()   {}
func (WatchPlan) duty()      {}
