// Package lab boots real systemd hosts on one machine, for tests that no
// emulation can replace: D-Bus, journald, logind and reboots are systemd's own.
//
// A [Lab] is a bridge in a network namespace of its own. A [Host] is a second
// namespace with a cable to that bridge, a copy-on-write layer over a small
// Debian tree (.cache/lab/base, made once by prepare.sh), and systemd-nspawn
// booting systemd in it, which takes about half a second. Nothing is added to
// the machine's own network, and no address is routed out of the lab.
//
//	machine's own namespace         this process, its ordinary sockets
//	qlab-3f2a-lab                   bridge, 10.77.0.1: Lab.Dial dials from here
//	├─ qlab-3f2a-aws                10.77.0.2: an emulator, by Lab.Listen
//	├─ qlab-3f2a-h1                 10.77.0.11, and 169.254.169.254 on lo
//	└─ qlab-3f2a-h2                 10.77.0.12, and 169.254.169.254 on lo
//
// Servers of the test (emulators) run in the test's process and only their
// sockets live in the lab: see [Lab.Listen] and [Lab.Dial].
//
// What holds for every lab:
//
//   - Names carry a prefix of this lab (qlab-3f2a), so labs cannot collide.
//   - A host's mounts are made in its nspawn's own mount namespace, so they end
//     with it. Every other trace is known by the prefix.
//   - [Lab.Close] removes all of it. Where it cannot run (a crash, the test
//     timeout, SIGKILL), the watcher that [Main] started does it, and if that
//     died too, the next run's Main. None of them touches a lab whose owner lives.
//   - Waiting is for a condition and bounded by a context; only time is real.
//
// The hosts share one kernel and one wall clock. Root is needed.
package lab
