// Package policy holds every decision quorumd takes, as pure functions.
//
// [Next] is the whole brain: it reads one [View] (everything that was observed,
// with the instant of each observation), and answers with one [Decision]: at
// most one action, the duties that must be running, and every concern's reason,
// also the reason to wait. It performs no I/O, reads no clock, uses no
// randomness and changes none of its inputs, so the same inputs always give the
// same decision: in the agent, in the simulator (package agent/sim) and in a
// transcript.
//
// The rules, in one place:
//
//   - Unknown is never healthy, and "no answer" is never "no cluster".
//   - One action at a time. What an action may have changed must be observed
//     anew, by a read that began after the action ended, before the next action.
//   - A voter that serves is removed only by itself, when its instance was told
//     to go, holding the disruption lock. A voter that does not serve is removed
//     when it is one's own, or when EC2 says that its instance is terminated.
//   - No removal that leaves fewer healthy voters than the quorum of the new size.
//   - The last voter never leaves while the group wants instances.
//   - A hold on the lock that reached the phase "acting" never ends by time.
//   - A member is rebooted only under an acting hold, while every other voter is
//     healthy, none joins or leaves, and there are as many as the group wants. With
//     one or two voters only where that is configured.
//
// Reboots in particular:
//
//   - Everything is looked at again under the granted hold; making it acting is the
//     last step before the reboot, and the reboot itself looks once more.
//   - The hold ends with another boot id and a healthy node. In the same boot (the
//     agent was restarted, logind refused) the reboot is resumed; where it may not go
//     any more the hold is given back as a whole, on logind's word that no shutdown is
//     under way, a minute after the last attempt. It never becomes granted again.
//   - A hold whose release may still be on its way is marked anew before anything
//     rests on it: the late release then compares an old revision.
//   - A FleetLock client is granted the lock in one transaction straight into acting.
//     That is safe because it fails if anybody took a slot since the members were
//     looked at ([Take].Turn), and they were looked at after the lock was free.
//   - An operator's order waits for no window and no user; all else holds for it. An
//     event of EC2's is gone ahead of in its last two hours also outside windows.
//
// Wall clocks of two machines are never compared: every time.Time in a View was
// read from this machine's clock, except the deadlines that AWS itself states.
package policy
