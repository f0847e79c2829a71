// Package etcd is quorumd's adapter to etcd: the member list, each member's
// health, membership changes and the disruption lock, in package policy's words.
// It decides nothing.
//
// # Which member is asked
//
// The member on this node is often the one that is away: being joined, restarted
// or removed. So every call may go through any member. [Client.SetEndpoints]
// says where members may be found; the member that answered last is asked first,
// those that did not answer last, this node's own behind all others. Reads are
// hedged: when an endpoint has not answered after a moment the next is asked
// too, and the first answer counts, so a member that hangs costs nobody its
// whole bound. Writes go to one endpoint after another, each with a bound.
//
// A write whose answer is lost may still have happened. Each write here is
// therefore made so that repeating it, through another endpoint or by another
// call, finds what the first one did and reports success.
//
// # Connections
//
// There is one connection for each URL, kept for as long as the URL is named or
// used. A connection speaks to exactly one member, so "through that member only"
// is meant literally. Calls fail at once while a connection cannot be made
// (refused, wrong certificate) instead of waiting for it.
//
// # Keys
//
// Everything lives under /quorumd/<cluster>/:
//
//	join/<instance>     the peer URL that an instance announced before it was
//	                    added; plain text
//
// and for each group of nodes that share a lock, under lock/<group>/:
//
//	slots               how many may hold at once. The group members has one
//	                    slot, always, and the key is not read
//	holders/<slot>      who holds a slot. No lease: it must outlive the holder's
//	                    reboot. Its revision is the fencing token
//	leaving/<instance>  places of leaving nodes, ahead of
//	queue/<instance>    places of all others; both in the order of creation. The
//	                    place of one who waits has a lease; of one who took a
//	                    slot from it, none: it goes with the hold
//	tail/leaving        who made a place last; absent only if nobody waits
//	tail/queue
//	turn                who took a slot last
//
// Values of the lock are JSON with a version. Every write to them is a
// transaction that compares what its decision rested on; the unconditional ones
// (a tail, a turn, a place that goes with a hold) are part of such a transaction.
//
// # What the lock costs
//
// A hand-over costs the same however many wait. etcd walks through every key of a
// prefix, also through those that were deleted and not compacted yet, even to
// answer that there is none; so in a group of workers nothing asks about a queue
// as a whole:
//
//   - Who makes a place becomes its queue's tail and is given the tail before in
//     the same transaction: that is who is directly ahead, the only one who matters.
//     The queue is searched only after a restart, a lost answer, or when the one
//     ahead gave up without his turn.
//   - Slots are taken from the head only. So who sees the one ahead hold a slot, or
//     gone after having held one, is at the head; nobody ever gets ahead of a place.
//   - A holder's place stays until the hold ends. With one slot who is behind him
//     watches it, and learns in one event that it is at the head and that the slot
//     is free. With more slots it is told in one when the one ahead takes his, and
//     at the head in another when any hold ends.
//   - That a slot is free, and how many hold, is compared by the key turn, which
//     every take writes: also a take whose answer was lost, and which arrives once
//     more when its slot was long given back, finds another turn than it saw.
//
// # Errors
//
// [Classify] tells apart what a rule may rest on: nobody answered, somebody
// answered no, or one cannot tell because certificates, passwords or
// permissions stand in between.
package etcd
