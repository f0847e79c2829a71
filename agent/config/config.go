package config

import (
	"net"
	"strconv"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// DefaultPath is where the configuration is looked for. Nothing there is no
// error: every key has a default.
const DefaultPath = "/etc/quorumd/quorumd.yaml"

// Config is the whole configuration, checked. Start from [Default] where no file
// is read.
type Config struct {
	// Cluster names the cluster; empty: the auto scaling group's name.
	Cluster string
	// Role is what this node does: [RoleMember] or [RoleWorker].
	Role      string
	Etcd      Etcd
	Lifecycle Lifecycle
	Reboot    Reboot
	// Force is about an etcd that elects no leader.
	Force  policy.ForceConfig
	Listen Listen
	// StateDir is where the agent keeps what must survive a crash.
	StateDir string
	Systemd  Systemd
	Log      Log
}

// The roles: a member runs etcd; a worker only uses the lock and the hooks.
const (
	RoleMember = string(policy.RoleMember)
	RoleWorker = string(policy.RoleWorker)
)

// Worker reports whether this node runs no etcd.
func (c Config) Worker() bool { return c.Role == RoleWorker }

// LockGroup is the group of the disruption lock that this node belongs to.
func (c Config) LockGroup() string {
	if c.Worker() {
		return c.Reboot.Group
	}
	return policy.MembersGroup
}

// Etcd tells where etcd is on this node and how to reach it. What is the same in
// the whole cluster (ports, TLS) is also how other members are reached.
type Etcd struct {
	Unit string
	// VersionCommand is a program and its arguments that print etcd's version; empty:
	// the unit tells it.
	VersionCommand []string
	// Endpoints are client URLs; empty: the local member, then all others. A worker
	// has no local member: it needs these, or one of the next two.
	Endpoints []string
	// DiscoverySRV is the domain whose SRV records name the members' client ports, as
	// etcd's own clients look for them. Of a worker only.
	DiscoverySRV string
	// MembersTag, KEY or KEY=VALUE, is the tag of the members' auto scaling group. Of
	// a worker only.
	MembersTag string
	DataDir    string
	// ClientPort, PeerPort and MetricsPort are etcd's own.
	ClientPort, PeerPort, MetricsPort int
	// Username and PasswordFile are both set, or both empty.
	Username, PasswordFile string
	// CAFile alone is server-only TLS; with CertFile and KeyFile mutual TLS.
	CAFile, CertFile, KeyFile string
	// ServerCertFile and ServerKeyFile are what etcd shows its clients; both empty:
	// CertFile and KeyFile, and where those are empty too, etcd's own unit says it.
	ServerCertFile, ServerKeyFile string
	// PeerCAFile, PeerCertFile and PeerKeyFile are all set, or all empty.
	PeerCAFile, PeerCertFile, PeerKeyFile string
}

// ClientScheme is the scheme of client URLs: https where client TLS is on.
func (e Etcd) ClientScheme() string { return scheme(e.CAFile) }

// PeerScheme is the scheme of peer URLs: https where peer TLS is on.
func (e Etcd) PeerScheme() string { return scheme(e.PeerCAFile) }

// ServerPair is what etcd shows its clients, empty if its own unit says it.
func (e Etcd) ServerPair() (cert, key string) {
	if e.ServerCertFile != "" {
		return e.ServerCertFile, e.ServerKeyFile
	}
	return e.CertFile, e.KeyFile
}

// ClientURL is the client URL of the member on a host.
func (e Etcd) ClientURL(host string) string { return hostURL(e.ClientScheme(), host, e.ClientPort) }

// PeerURL is the peer URL of the member on a host.
func (e Etcd) PeerURL(host string) string { return hostURL(e.PeerScheme(), host, e.PeerPort) }

func scheme(caFile string) string {
	if caFile != "" {
		return "https"
	}
	return "http"
}

func hostURL(scheme, host string, port int) string {
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// Lifecycle is how the node follows its auto scaling group.
type Lifecycle struct {
	// Poll is how often instance metadata is read; it is local and free.
	Poll          time.Duration
	LaunchTimeout time.Duration
	// LaunchHook and TerminateHook name the hooks to complete; empty: the only
	// one on the transition, else the one whose name starts with quorumd.
	LaunchHook, TerminateHook string
	ReplacementWait           time.Duration
	LockWait                  time.Duration
	Margin                    time.Duration
}

// Listen is where the agent serves.
type Listen struct {
	// Peer serves other agents, Metrics serves Prometheus; both host:port.
	Peer, Metrics string
	// FleetLock serves FleetLock clients of this machine, host:port on loopback;
	// empty: nobody.
	FleetLock string
	// Control is the path of the operators' unix socket.
	Control string
}

// PeerPort is the port of Peer, which is the same on all nodes of a cluster: it
// is how agents find each other. 0 only for a Config that was not checked.
func (l Listen) PeerPort() int {
	_, port, err := net.SplitHostPort(l.Peer)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}

// Systemd is where drop-ins are written, lasting ones and those for this boot, and
// where this machine's ids are read.
type Systemd struct {
	SystemDir, RuntimeDir     string
	BootIDFile, MachineIDFile string
	// DMIDir is where the kernel tells of the hardware.
	DMIDir string
}

// Log is how the agent logs.
type Log struct{ Level, Format string }

// Default is the configuration of an empty file.
func Default() Config {
	p := policy.DefaultConfig()
	return Config{
		Role: RoleMember,
		Etcd: Etcd{
			Unit:        "etcd-member.service",
			DataDir:     "/var/lib/etcd",
			ClientPort:  2379,
			PeerPort:    2380,
			MetricsPort: 2381,
		},
		Lifecycle: Lifecycle{
			Poll:            time.Second,
			LaunchTimeout:   p.LaunchTimeout,
			ReplacementWait: p.ReplacementWait,
			LockWait:        p.LockWait,
			Margin:          p.Margin,
		},
		Reboot: defaultReboot(p.Reboot),
		Listen: Listen{
			Peer:      ":2382",
			Metrics:   ":9382",
			FleetLock: "127.0.0.1:2383",
			Control:   "/run/quorumd/quorumd.sock",
		},
		Force:    p.Force,
		StateDir: "/var/lib/quorumd",
		Systemd: Systemd{SystemDir: "/etc/systemd/system", RuntimeDir: "/run/systemd/system",
			BootIDFile: "/proc/sys/kernel/random/boot_id", MachineIDFile: "/etc/machine-id", DMIDir: "/sys/class/dmi/id"},
		Log: Log{Level: "info", Format: "auto"},
	}
}

// Policy is the part of the configuration that decisions depend on.
func (c Config) Policy() policy.Config {
	p := policy.DefaultConfig()
	p.ReplacementWait = c.Lifecycle.ReplacementWait
	p.LockWait = c.Lifecycle.LockWait
	p.Margin = c.Lifecycle.Margin
	p.LaunchTimeout = c.Lifecycle.LaunchTimeout
	p.ClusterNamed = c.Cluster != ""
	p.LaunchHook = c.Lifecycle.LaunchHook
	p.TerminateHook = c.Lifecycle.TerminateHook
	p.Role = policy.Role(c.Role)
	p.LockGroup = c.LockGroup()
	p.Reboot = c.Reboot.policy()
	p.Force = c.Force
	return p
}
