package policy

import (
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

// TakeSlot takes a slot of the disruption lock, from the head of the queue.
type TakeSlot struct{ Reason HoldReason }

// MarkActing turns this node's granted hold into an acting one, if it is still
// at this revision.
type MarkActing struct{ Revision int64 }

// ReleaseHold deletes a hold if it is still at this revision.
type ReleaseHold struct {
	Slot     int
	Instance InstanceID
	Revision int64
}

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

// AnswerRequest ends an operator's request with words for the operator.
type AnswerRequest struct {
	ID     string
	OK     bool
	Answer string
}

func (WriteRecord) Kind() string   { return "write-record" }
func (WriteTag) Kind() string      { return "write-tag" }
func (DeleteTag) Kind() string     { return "delete-tag" }
func (StartEtcd) Kind() string     { return "start-etcd" }
func (StopEtcd) Kind() string      { return "stop-etcd" }
func (ArchiveData) Kind() string   { return "archive-data" }
func (AddLearner) Kind() string    { return "add-learner" }
func (Promote) Kind() string       { return "promote" }
func (RemoveMember) Kind() string  { return "remove-member" }
func (MoveLeader) Kind() string    { return "move-leader" }
func (TakeSlot) Kind() string      { return "take-slot" }
func (MarkActing) Kind() string    { return "mark-acting" }
func (ReleaseHold) Kind() string   { return "release-hold" }
func (CompleteHook) Kind() string  { return "complete-hook" }
func (AnswerRequest) Kind() string { return "answer-request" }

func (a WriteRecord) Key() string   { return a.Kind() }
func (a WriteTag) Key() string      { return a.Kind() }
func (a DeleteTag) Key() string     { return a.Kind() }
func (a StartEtcd) Key() string     { return a.Kind() }
func (a StopEtcd) Key() string      { return a.Kind() }
func (a ArchiveData) Key() string   { return a.Kind() }
func (a AddLearner) Key() string    { return a.Kind() }
func (a Promote) Key() string       { return a.Kind() + "/" + a.Member.String() }
func (a RemoveMember) Key() string  { return a.Kind() + "/" + a.Member.String() }
func (a MoveLeader) Key() string    { return a.Kind() }
func (a TakeSlot) Key() string      { return a.Kind() }
func (a MarkActing) Key() string    { return a.Kind() }
func (a ReleaseHold) Key() string   { return fmt.Sprintf("%s/%d", a.Kind(), a.Revision) }
func (a CompleteHook) Key() string  { return CompleteKey(a.Hook) }
func (a AnswerRequest) Key() string { return a.Kind() + "/" + a.ID }

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
func (AddLearner) affects() source    { return srcMembers }
func (Promote) affects() source       { return srcMembers | srcHealth }
func (RemoveMember) affects() source  { return srcMembers | srcHealth }
func (MoveLeader) affects() source    { return srcHealth }
func (TakeSlot) affects() source      { return srcLock | srcMembers | srcHealth }
func (MarkActing) affects() source    { return srcLock }
func (ReleaseHold) affects() source   { return srcLock }
func (CompleteHook) affects() source  { return 0 }
func (AnswerRequest) affects() source { return 0 }

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

// KeepQueued keeps this node's place in the lock's leaving queue.
type KeepQueued struct{ Reason HoldReason }

// WatchGroup keeps View.Group fresh.
type WatchGroup struct{ Every time.Duration }

// WatchInstances keeps View.Instances fresh for these ids, sorted and joined by
// commas so that duties compare.
type WatchInstances struct {
	Every time.Duration
	IDs   string
}

// WatchClosely makes the probes of etcd and of the peers fast.
type WatchClosely struct{}

func (Heartbeat) duty()      {}
func (KeepQueued) duty()     {}
func (WatchGroup) duty()     {}
func (WatchInstances) duty() {}
func (WatchClosely) duty()   {}
