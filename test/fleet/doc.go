// Package fleet is what every test of a whole group shares, whatever its
// machines are made of: real systemd hosts (test/e2e) or processes on a laptop
// (test/hosts).
//
// An [Observer] looks at the group and at etcd from outside and knows what must
// hold once a change is over (the voters are the instances in service, they form
// one cluster, and it is the same cluster as before) and at every event in
// between (an instance is in service only once it votes; one that was told to go
// is out of the member list before its machine ends).
//
// A [Writer] is an application that writes all the while with its own list of
// what etcd acknowledged. None of that may ever be lost.
package fleet
