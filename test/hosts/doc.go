// Package hosts runs a whole auto scaling group on one machine, without root: each
// instance is a host of processes with an address of its own in 127.0.0.0/8.
//
// # What is real
//
// etcd is etcd. The agent is the binary that ships, as a child process with its
// own configuration file, and it speaks to everything over the wire it would use
// in production: D-Bus to systemd (package fakesystemd supervises both units),
// HTTP to instance metadata and AWS (package fakeaws), gRPC to etcd.
//
// # What is not
//
// All hosts share one kernel, one disk and one clock, and nothing lies between
// their addresses. Nothing enforces the sandbox of the shipped units, and there is no
// watchdog. What needs those is in test/e2e, on real systemd hosts.
//
// # A fleet in ten lines
//
//	bin, err := hosts.Build(ctx, "3.6", "", os.Stderr)
//	f, err := hosts.New(hosts.Config{Binaries: bin})
//	defer f.Close()
//	err = f.Launch(3)
//	members, err := f.Settle(ctx)
//	leader, err := f.Leader(ctx)
//	err = f.Terminate(leader)   // through the group: it leaves, and is replaced
//	err = f.KillAgent(leader)   // in the middle of it
//	members, err = f.Settle(ctx)
//
// # Versions of etcd
//
// A fleet runs one etcd; UseEtcd names another for hosts that are launched from then on,
// as a new version of a launch template does.
//
// # Who starts and ends hosts
//
// The group does, through fakeaws: an instance that launches becomes a host with
// empty disks, one that reaches shutting-down is shut down and its disks are
// gone. PowerOff, Reboot and Lose are what happens to a machine behind the
// group's back.
//
// # What is left behind
//
// Nothing. Every process is a child that dies with this process, even when it is
// killed; Close ends them in order and removes Config.Dir if New made it. Logs
// survive if Config.Logs says where.
package hosts
