// Package e2e runs whole fleets: real systemd hosts (package lab), real etcd, the
// real agent under its shipped units, and an auto scaling group that behaves as
// AWS's does (package fakeaws) and boots and ends those hosts.
//
//	sudo make e2e       or: sudo go test -tags e2e ./test/e2e -v
//
// Hosts are provisioned by what `quorumd cloud-config --format cloud-init` renders:
// it is applied to a booted host as cloud-init does (lab.Host.Apply), which downloads
// and checks the binaries, and starts the agent under the shipped units. Only where
// AWS is and what the firmware says of a machine are the lab's own.
//
// A [Fleet] is one group with one cluster. Whatever a scenario does to it, the
// same must hold at its end, and [Fleet.Settle] waits for it and says what is
// missing: the voters are the instances in service, they form one cluster, and
// it is the same cluster as before, and no lifecycle hook is open or ran out. A
// [fleet.Writer] writes all the while; no write that was acknowledged to it may be
// lost. And at every event, not only at the
// end: an instance is in service only once it votes, and one that was told to go
// is out of the member list before its machine ends.
//
// make e2e-repeat N=10 runs bootstrap, leave and replace ten times in a row.
//
// Fleets do not see each other, so the long scenarios, which mostly wait, run two at
// a time.
//
// # What is where
//
// Each step of a scenario says in the log what it does, and ends with a fleet that is
// settled. The rows of the fault matrix, on real hosts:
//
//	TestBootstrap, TestTerminateLeader, TestLoseMachine, TestScale, TestReboot: the main job
//	TestForming       one node late by a minute; all nodes lost and replaced; 3 -> 5 are
//	                  wanted while three agree on the first cluster
//	TestLeaving       a healthy and a broken member told to go together; all three at once,
//	                  while three are wanted; told to go while joining; the hook's deadline
//	                  near while another holds the lock; Spot; 3 -> 0 -> 3
//	TestChanges       slow and lossy links; two of three told to go; to 1 and back; powered
//	                  off, replaced at its address; root volume wiped; stale initial cluster;
//	                  a heartbeat timeout of 30 s throughout
//	TestGroup         standby, detached, warm pool in and out
//	TestSurroundings  full disks, also under a member, and /etc/systemd/system (all of /etc that
//	                  the agent may write) read-only; AWS answers 500 and IMDS is away for a minute;
//	                  the machine stops in the middle of its leave; NOSPACE
//	TestAWS           throttling for a minute; lists that are a minute old
//	TestStuck         etcds frozen: one, a majority, all with one machine off; a leader that is
//	                  deaf to one of the others, one cut off: who is restarted, and how often
//	TestStuckOfEtcd   a majority frozen, with etcd 3.5 and 3.7; with mutual TLS: TestMutualTLS
//	TestPartitionOfFive, TestStalledDisk: two of five cut off; a leader whose disk stands still
//	TestKillAgent     SIGKILL between effect and receipt, a sample
//	TestReboots       an update for all three at once; the agent killed in a reboot, a sample;
//	                  etcd killed and a link cut under a holder; a holder that stays off, by
//	                  EC2's word running or terminated; told to go while another reboots, and
//	                  the other way round. The update service of Flatcar on the hosts' system
//	                  bus is a stand-in (updateengine)
//	TestRebootsOfEtcd an update for all three at once, with etcd 3.5 and 3.7
//	TestGuard, TestMutualTLS
//
// The process harness (package faults) has most of these, too. Here only, because they need a
// machine, its disks or its network: disks that are full, read-only or stand still, the stop
// of a machine in the middle of its leave, the guard, real reboots, members that are cut off.
// There only, because systemd has no part in them that is not seen here: SIGKILL at every
// action, told to go or a new size at every step of joining and forming, a warm pool of
// running instances, instance refresh, lost answers, a rolling upgrade and versions that do
// not fit, weights, TLS with an authority only, passwords, certificates that are replaced,
// peers that lie, workers.
//
// When a scenario fails, the journals of all hosts that ever were and the group's
// event log are in .cache/e2e/<test>.
package e2e
