// Package fakesystemd stands in for a machine's systemd where there is none to
// be had: in tests, and in a demo that runs a whole fleet on one laptop.
//
// A [Host] is one machine. It supervises a few declared units as real processes
// and serves the part of org.freedesktop.systemd1 that quorumd uses, over a unix
// socket of its own that clients take for the system bus. So the agent's real
// D-Bus code runs, unchanged, with DBUS_SYSTEM_BUS_ADDRESS set to Host.Address;
// processes that the Host starts find the variable set. Everything is done
// without root and leaves nothing behind: children die with this process.
//
// What it does as systemd does, because quorumd relies on it:
//
//   - a start of a Type=notify unit stays "activating", its job in progress,
//     until the process says READY=1; a stop or restart takes the job's place;
//   - a start whose ConditionPathExists= does not hold is a job that is "done",
//     the unit stays inactive, and only ConditionResult tells;
//   - so is one whose ExecCondition= ends with a code of 1 to 254, with the result
//     "exec-condition"; it is not restarted;
//   - drop-ins count from the next Reload (daemon-reload) on, not before;
//   - signals are sent only after some client called Subscribe, and only those
//     that match a rule of the receiver; a call's sender is checked by uid;
//   - a service gets a clean environment, its own process group, and is
//     restarted RestartDelay after it ended unless it was stopped.
//
// Beside systemd it offers the little of logind that a reboot takes (sessions,
// inhibitors, Reboot, whose outcome [Host.RebootAsked] tells: the machine does not
// go down by itself) and, once [Host.SetUpdate] was called, Flatcar's
// com.coreos.update1.
//
// What it leaves out: unit files (units are declared in Go), dependencies,
// cgroups (a process group takes their place), start rate limits, watchdogs,
// and every D-Bus method not listed in manager.go and others.go.
//
// # Goroutines
//
// Each unit has one goroutine that owns its process and state; everything else
// asks it. Each D-Bus connection has a reader and a writer. Close ends and awaits
// them all.
package fakesystemd
