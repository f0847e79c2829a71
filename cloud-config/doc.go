// Package cloudconfig renders what a machine of a group is given at launch: its
// user-data, the rights of its role, and a whole group around both.
//
// # One source
//
// What a machine needs is said once, as files and units ([machine], one function
// a system), and then written in the words of each format:
//
//	butane          Flatcar, the source people edit; translate it with butane
//	ignition        Flatcar, user-data as it is
//	cloud-config    Flatcar, classic user-data of coreos-cloudinit
//	fcos-butane     Fedora CoreOS, the source
//	fcos            Fedora CoreOS, user-data as it is (Ignition)
//	cloud-init      any other systemd Linux with cloud-init
//	iam             the least policy for the instances' role
//	cloudformation  a template of the whole group, with user-data in it
//
// Always there: the agent's binary, its unit and configuration, and the drop-in
// that keeps etcd from starting before the agent allowed it once. What differs is
// where etcd comes from:
//
//   - Flatcar ships etcd-member.service, which runs etcd's image by Docker and hands
//     on the unit's environment; it gets drop-ins only. locksmithd is masked: it
//     reboots machines without asking whether etcd can spare them.
//   - Fedora CoreOS ships no etcd: a quadlet makes podman run etcd's image. Zincati is
//     told to ask the agent before it reboots.
//   - Elsewhere units/etcd-member.service runs etcd's own binary as the user etcd,
//     who comes from sysusers.
//
// A worker (role: worker in the configuration) gets nothing of etcd's.
//
// # Strictness
//
// Everything is checked before anything is written: a machine that was given half
// of it has no one to tell. A download over the network needs its SHA-256, and a
// setting that a format would ignore is refused.
package cloudconfig
