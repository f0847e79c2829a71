// Package faults is the fault matrix: real agents and real etcd in an emulated
// auto scaling group (package hosts), while everything around them breaks.
//
//	go test -tags faults -count=1 -p 1 -timeout 30m -v ./test/faults   # -v: go test hides the table of a pass
//	go test -tags faults -count=1 -v ./test/faults -run TestFaults/matrix/leaving/healthy
//	go test -tags faults -count=1 -v ./test/faults -run TestFaults/matrix/by_chance -more 20
//
// Every scenario begins and ends with a settled fleet, and writes go on all the
// while. Whatever happened, these hold at its end: the members are the instances in
// service, they are the same one cluster, every acknowledged write is there, and no
// lifecycle hook ran out or is open. A table at the end tells the seconds each took and the
// longest time that a write was kept waiting.
//
// # Where agents are killed
//
// The agent is SIGKILLed at every action of bootstrap, join and leave, in three
// places: before (it said "acting"), between effect and receipt, and after (it said
// "acted"). Its systemd starts it again. How exact that is:
//
//   - Calls to AWS and etcd, between effect and receipt: exact. A proxy has the
//     answer in hand, kills the agent and only then drops the answer. Adding a
//     learner is two calls (join key, member): each has a strike of its own. A call
//     of several agents is told apart by which process owns the connection.
//   - Starting and stopping etcd: the kill follows the unit's change of state
//     within milliseconds, so it may come before or after the answer on the bus.
//   - The record: the kill follows the file's replacement within milliseconds; the
//     directory's fsync may be done by then or not.
//   - Before and after: the kill follows the agent's own line in its log, also within
//     milliseconds; an action that takes less may be over by then, and the next one
//     may have begun.
//
// A strike that never found its moment fails its scenario: none is left out silently,
// but for the release of a hold that another agent evicted first, while its holder was
// dead.
package faults
