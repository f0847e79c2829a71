// Package peer is how agents see each other: over HTTP, read-only.
//
// Each agent serves its [Status] at GET /v1/status. No request can make an agent
// do anything; each acts on its own node only, on what it sees of the others. The
// same JSON answers `quorumd status`, through the control socket.
//
// # The wire
//
// Status is a type of its own, apart from policy's, so that agents of two
// versions understand each other while a group is being updated. Within one
// [Version] fields are only added; readers ignore what they do not know. A change
// of meaning needs a new version, which older agents refuse: "cannot tell" is
// always safe, a guess is not.
//
// What a status does not say is unknown, and Peer turns it into the answer that
// makes others wait: an agent that cannot read its data directory counts as one
// that has data.
//
// # TLS
//
// Where etcd's peers use TLS, so do agents, with the same files (package certs): the
// server lets in only who shows a certificate of the peers' authority, the client
// believes only one that bears the host it dialled. [ErrCannotTell] is everything
// that certificates stand in the way of, and neither a "yes" nor a "no answer".
//
// # Hostile answers
//
// Who answers may be anybody. Every phase has a time limit, header and body have a
// size limit, redirects are not followed, nothing is decompressed; what is no sound
// status is an error and no fact.
//
// # Time
//
// Clocks of two machines are never compared. A status tells how long ago its pass
// was, as a span measured by its own agent ([Status.AgeSeconds]); instants in it
// are for people.
package peer
