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
//	join/<instance>                 the peer URL that an instance announced before
//	                                it was added; plain text
//	lock/members/leaving/<instance> leased queue of leaving nodes, ahead of
//	lock/members/queue/<instance>   leased queue of all others; both in the order
//	                                of creation
//	lock/members/holders/<slot>     who holds the slot. No lease: it must outlive
//	                                the holder's reboot
//	lock/members/slots              how many may hold at once. The group members
//	                                has one slot, fixed, and the key is not read
//
// Values of the lock are JSON with a version. Every write to them is a
// transaction that compares what its decision rested on. The revision of a
// holder is its fencing token.
//
// # Errors
//
// [Classify] tells apart what a rule may rest on: nobody answered, somebody
// answered no, or one cannot tell because certificates, passwords or
// permissions stand in between.
package etcd
