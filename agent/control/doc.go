// Package control is how operators talk to the agent of their own node: HTTP over
// a unix socket that only root can open.
//
//	GET  /v1/status     what the agent sees and decides (see agent/peer)
//	GET  /v1/locks      the locks of all groups, read from etcd now
//	POST /v1/requests   {"kind": "bootstrap-fresh"}: ask for something
//
// A request is no command. It becomes a fact of the next pass, and policy answers
// it, with words, also when it refuses: 200 when it was done, 409 with the reason
// when it is refused, 503 when it was not decided in time. The answer's body is
// an [Answer].
//
// Whoever may open the socket may ask for everything, so the socket's mode is the
// whole access control; see [Listen].
package control
