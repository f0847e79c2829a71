// Package fleetlock serves the FleetLock protocol, with which Zincati on Fedora
// CoreOS asks whether it may reboot. It decides nothing: every request that is well
// formed becomes a question to a [Lock], which the agent's loop answers.
//
// # The protocol, and what it is careful about
//
// POST /v1/pre-reboot asks for the lock, POST /v1/steady-state gives it back. Both
// carry the header "fleet-lock-protocol: true" and a body
// {"client_params":{"id":"...","group":"..."}}. A client takes ANY 2xx for a grant
// and reboots at once. So:
//
//   - 200 is written in one place only, and only for a grant (or a release) that
//     the lock has confirmed; it has no body;
//   - everything else is a 4xx or 5xx with {"kind":"...","value":"..."}: kind is one
//     of few words (for a refusal the agent's Reason), value is for people;
//   - an outcome that is not known is a 503, never a grant: asking again is safe,
//     because both questions mean the same however often they are asked.
//
// What a client reads of a refusal: the agent keeps its place in the queue for as
// long as it keeps asking.
package fleetlock
