package policy

import "time"

// MembersGroup is the lock's group of etcd members: one slot, always. Workers
// have groups of their own, which never bear this name.
const MembersGroup = "members"

// Lock is the state of the disruption lock of this node's group: one linearizable
// read of its prefix.
type Lock struct {
	// Group is the group's name.
	Group string
	// Revision is the store's revision of the read.
	Revision int64
	// Slots is how many may hold at once. It may be less than the holders: then
	// nobody takes one until enough are given back.
	Slots   int
	Holders []Hold
	// Turn is the store's revision at which a slot was taken last, by whomever; 0:
	// never. While it stands nobody began to disrupt anything, however often slots
	// were given back in between.
	Turn int64
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
const (
	// HoldLeaving: the node leaves etcd.
	HoldLeaving HoldReason = "leaving"
	// HoldRebooting: this agent reboots the machine.
	HoldRebooting HoldReason = "rebooting"
	// HoldFleetLock: a FleetLock client reboots the machine.
	HoldFleetLock HoldReason = "fleetlock"
	// HoldRestarting: the node restarts its member, which answers nothing.
	HoldRestarting HoldReason = "restarting"
	// HoldOperator: an operator took it (quorumd lock acquire).
	HoldOperator HoldReason = "operator"
)

// Hold is one slot's holder. Its ModRevision is the fencing token.
type Hold struct {
	Slot     int
	Instance InstanceID
	Machine  string
	Boot     string
	// Member is 0 for a worker, which runs none.
	Member  MemberID
	Cluster ClusterID
	Reason  HoldReason
	Phase   HoldPhase
	// Client is the FleetLock client that it is for; empty otherwise.
	Client string
	// Why says it to people; may be empty.
	Why string
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
	// Reason is what it waits for a slot for, and Since the waiter's own clock when it
	// began: for people only, and zero where it is not seen.
	Reason HoldReason
	Since  time.Time
	// Boot is the boot id under which the place was made, Client the FleetLock client who
	// waits there: what an agent that restarted has to know of its own place. Both are empty
	// where it is not seen that the place still waits.
	Boot, Client string
	Revision     int64 // create revision: the order
}

// Take is what TakeSlot is asked for.
type Take struct {
	Reason HoldReason
	// Phase to take it in. Acting in one transaction is for who has made every
	// check already; see Turn.
	Phase  HoldPhase
	Member MemberID
	// Cluster must be the one whose lock it is.
	Cluster ClusterID
	Client  string
	Why     string
	// Turn is Lock.Turn as it was seen. With Phase Acting a slot is taken only while
	// it stands: what was checked since is then still so, because nobody held the
	// lock in between. Not compared for Granted, which is checked afterwards, nor
	// where a hold of this instance's own is converted in place.
	Turn int64
	// Revision is that of this instance's own hold as it was seen, to be converted in
	// place (another reason, phase or client); 0: it holds none. A hold that is no
	// longer as seen is not touched.
	Revision int64
}
