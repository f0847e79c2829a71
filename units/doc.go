// Package units is quorumd's view of systemd: it reads, starts and stops units
// over D-Bus, writes their drop-ins, and tells systemd about quorumd itself.
//
// # Units over D-Bus
//
// [Dial] gives a [Conn]. A Conn owns one goroutine that keeps the connection to
// the system bus and makes a new one when the bus goes away; between the two,
// calls wait for it, at most [Options].CallTimeout. What the methods wait for
// is chosen for etcd:
//
//   - Start and Restart queue a job and return. etcd's unit is Type=notify and
//     reports READY only after it joined a cluster that has a leader, with no
//     start timeout. A caller that waited for the job would wait for ever in
//     exactly the situation it is there to repair.
//   - Stop waits until the processes are gone, because moving a data directory
//     away from a live etcd is what must never happen.
//   - Watch reports every change, by signal; a slow periodic read makes sure
//     that a lost signal is not a lost change, and keeps the fact's age small.
//
// A unit that does not exist is a state (LoadState "not-found"), not an error:
// "there is no etcd here" is an answer, "I could not ask" is not.
//
// # Drop-ins
//
// A [DropIn] is one file in <unit>.d, in /etc (lasting) or in /run (gone after a
// reboot). [Dirs] writes it durably and says whether anything changed, so that
// the caller reloads systemd only then. Nothing is seen by systemd before
// [Conn.Reload]. [RenderEnvironment] makes the content.
//
// # quorumd's own unit
//
// The unit files are in this directory and embedded, see [File]. [Notifier]
// speaks sd_notify. [BootID] and [MachineID] identify this boot and machine.
//
// The package fakesystemd stands in for systemd where there is none: tests and
// the demo run this package's real D-Bus code against it.
package units
