// Package host is what a node's own files and programs have to say about a reboot,
// and what they are told of it:
//
//   - [Marker] watches a file that is there while a reboot is wanted, as
//     /run/reboot-required is;
//   - [Sentinel] runs a command whose exit code says whether one is wanted;
//   - [Scripts] runs the executable files of a directory before or after a reboot;
//     the first that fails stops it.
//
// Programs run in a process group of their own, within a time limit at which the
// whole group is killed, with a clean environment. What they write goes to the log,
// line by line and bounded.
package host
