// Package faults is the fault matrix: real agents and real etcd in an emulated
// auto scaling group (package hosts), while everything around them breaks.
//
//	make faults                    # prints the table, and writes it to bin/faults.md
//	make faults REPORT=README.md   # puts it into the README
//	go test -tags faults -count=1 -v ./test/faults -run TestFaults/matrix/leaving/healthy
//	go test -tags faults -count=1 -v ./test/faults -run TestFaults/matrix/by_chance -more 20
//
// Every scenario begins and ends with a settled fleet, and writes go on all the
// while. Whatever happened, these hold at its end: the members are the instances in
// service, they are the same one cluster, every acknowledged write is there, and no
// lifecycle hook ran out or is open. A table at the end tells the seconds each took and the
// longest time that a write was kept waiting.
//
// Lines that keep the machine busy run three at a time (-at-once). Beside them run, six at
// a time (-beside), those that wait, for a minute without an answer say; they write less often.
//
// # Where agents are killed
//
// The agent is SIGKILLed at every action of bootstrap, join and leave, and of both rounds
// of a plan to restart an etcd that has no leader, in three places: before (it said
// "acting"), between effect and receipt, and after (it said "acted"). Its systemd starts
// it again. How exact that is:
//
//   - Calls to AWS and etcd, between effect and receipt: exact. A proxy has the
//     answer in hand, kills the agent and only then drops the answer. Adding a
//     learner is two calls (join key, member): each has a strike of its own. A call
//     of several agents is told apart by which process owns the connection.
//   - Saving a snapshot: the kill follows the file's appearance within milliseconds.
//   - Starting, restarting and stopping etcd: the kill follows the unit's change of state
//     within milliseconds, so it may come before or after the answer on the bus.
//   - The record: the kill follows the file's replacement within milliseconds; the
//     directory's fsync may be done by then or not.
//   - Before and after: the kill follows the agent's own line in its log, also within
//     milliseconds; an action that takes less may be over by then, and the next one
//     may have begun.
//
// A strike that never found its moment fails its scenario: none is left out silently,
// but for the release of a hold that another agent evicted first, while its holder was
// dead. Every line checks that it struck all that it names at all three moments.
//
// # Where they are not
//
// TestStruck reads agent/policy and compares its actions, and the words that tell its records and
// removals from each other, with those of the lines. Spared are, each with its reason there:
// what belongs to restarting a stuck etcd (lines of their own kill agents in each phase of
// that), to workers, and to answering requests; and removals of a learner that does not
// get on or does not fit, or whose instance leaves first: they are the same call to etcd as
// the removals that are struck.
package faults
