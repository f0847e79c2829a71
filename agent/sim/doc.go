// Package sim runs a whole auto scaling group of quorumd nodes in one goroutine
// and in virtual time, over the very decisions that the agent takes (package
// agent/policy), in a world that goes wrong as often as a seed wants it to.
//
// The same seed always gives the same run: there is one goroutine, one heap of
// events ordered by time and then by insertion, and one generator of random
// numbers. A failing seed is replayed alone, with its whole transcript:
//
//	go test ./agent/sim -run TestSeeds -seed 4711 -v
//
// # What is modelled
//
// The world (world.go) is made of machines (machine.go) with a disk that outlives
// reboots, an auto scaling group (group.go) that launches, terminates and keeps
// hooks with time-outs, EC2's eventually consistent answers, and etcd clusters
// (cluster.go, process.go) reduced to what decisions depend on: voters, learners,
// elections, indices, the checks etcd itself applies to a change of members, and
// the keys of the disruption lock (lock.go), and its versions (versions.go).
//
// A machine's system (reboot.go) has sources that want a reboot, people who are
// logged in, a logind that may refuse or do nothing, scripts, units, and on some
// seeds a FleetLock client that asks, vanishes, and reboots without a word.
//
// Beside etcd on each machine runs the model of the agent's loop (loop.go,
// observe.go, act.go, duties.go): a board of facts, observers with their own
// pace, one action in flight with a time-out, receipts, duties, a crash between
// any two steps.
//
// Observers at rest cost nothing. A poll that would read what the last one read
// is not an event: the instant of a fact is computed from the polling schedule
// when a pass needs it, and a real poll is made only after something changed
// (poller.go). So a day of virtual time is a few thousand passes, not millions.
//
// # What is checked
//
// [Checker] knows nothing of the simulator: it is fed events, and holds the
// promises of design.md against them, each under its name ([Invariant]). The real
// loop (package agent) runs on this same world in real_test.go, and what it does
// goes through the same Checker, so that model and agent cannot drift apart
// unnoticed. What concerns Next itself (inputs not changed, Recheck honest,
// unknown facts never bolder) is checked on a sample of passes (audit.go).
//
// [Variants] are policies broken on purpose. Each must be caught by its own
// invariant, or the simulator proves nothing.
package sim
