// Package e2e runs whole fleets: real systemd hosts (package lab), real etcd, the
// real agent under its shipped units, and an auto scaling group that behaves as
// AWS's does (package fakeaws) and boots and ends those hosts.
//
//	sudo make e2e       or: sudo go test -tags e2e ./test/e2e -v
//
// A [Fleet] is one group with one cluster. Whatever a scenario does to it, the
// same must hold at its end, and [Fleet.Settle] waits for it and says what is
// missing: the voters are the instances in service, they form one cluster, and
// it is the same cluster as before. A [fleet.Writer] writes all the while; no write
// that was acknowledged to it may be lost. And at every event, not only at the
// end: an instance is in service only once it votes, and one that was told to go
// is out of the member list before its machine ends.
//
// When a scenario fails, the journals of all hosts that ever were and the group's
// event log are in .cache/e2e/<test>.
package e2e
