package config

import (
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// envPrefix starts the name of every variable that is quorumd's.
const envPrefix = "QUORUMD_"

// EnvConfig is the variable that names the configuration file.
const EnvConfig = envPrefix + "CONFIG"

// field is one key: its place in a Config and what it accepts.
type field struct {
	key string
	val value
}

// env is the name of the variable that overrides the field.
func (f field) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.key, ".", "_"))
}

// fields is the table of all keys of c, in the order in which they are shown.
func fields(c *Config) []field {
	e, l, r := &c.Etcd, &c.Lifecycle, &c.Reboot
	return []field{
		{"cluster", text{&c.Cluster, clusterName}},
		{"role", text{&c.Role, role}},
		{"etcd.unit", text{&e.Unit, serviceUnit}},
		{"etcd.version_command", list{&e.VersionCommand, anyText}},
		{"etcd.endpoints", list{&e.Endpoints, endpoint}},
		{"etcd.discovery_srv", text{&e.DiscoverySRV, domain}},
		{"etcd.members_tag", text{&e.MembersTag, tag}},
		{"etcd.data_dir", text{&e.DataDir, directory}},
		{"etcd.client_port", number{&e.ClientPort, 1, 65535}},
		{"etcd.peer_port", number{&e.PeerPort, 1, 65535}},
		{"etcd.metrics_port", number{&e.MetricsPort, 1, 65535}},
		{"etcd.username", text{&e.Username, anyText}},
		{"etcd.password_file", text{&e.PasswordFile, optionalFile}},
		{"etcd.ca_file", text{&e.CAFile, optionalFile}},
		{"etcd.cert_file", text{&e.CertFile, optionalFile}},
		{"etcd.key_file", text{&e.KeyFile, optionalFile}},
		{"etcd.server_cert_file", text{&e.ServerCertFile, optionalFile}},
		{"etcd.server_key_file", text{&e.ServerKeyFile, optionalFile}},
		{"etcd.peer_ca_file", text{&e.PeerCAFile, optionalFile}},
		{"etcd.peer_cert_file", text{&e.PeerCertFile, optionalFile}},
		{"etcd.peer_key_file", text{&e.PeerKeyFile, optionalFile}},
		// Slower than 30 s a Spot notice (two minutes) leaves too little time.
		{"lifecycle.poll", duration{&l.Poll, 10 * time.Millisecond, 30 * time.Second}},
		// 48 h is the longest that AWS lets any hook wait.
		{"lifecycle.launch_timeout", duration{&l.LaunchTimeout, time.Second, maxHook}},
		{"lifecycle.launch_hook", text{&l.LaunchHook, anyText}},
		{"lifecycle.terminate_hook", text{&l.TerminateHook, anyText}},
		{"lifecycle.replacement_wait", duration{&l.ReplacementWait, 0, maxHook}},
		{"lifecycle.lock_wait", duration{&l.LockWait, 0, maxHook}},
		{"lifecycle.margin", duration{&l.Margin, 0, maxHook}},
		{"reboot.strategy", text{&r.Strategy, oneOf(string(policy.StrategyLock), string(policy.StrategyOff))}},
		{"reboot.group", text{&r.Group, groupName}},
		{"reboot.sources", list{&r.Sources, oneOf(sources()...)}},
		{"reboot.windows", windows{&r.Windows}},
		{"reboot.pause_between", duration{&r.PauseBetween, 0, 24 * time.Hour}},
		{"reboot.small_clusters", flag{&r.SmallClusters}},
		{"reboot.user_grace", duration{&r.UserGrace, 0, 24 * time.Hour}},
		{"reboot.units", list{&r.Units, unitName}},
		{"reboot.required_file", text{&r.RequiredFile, directory}},
		{"reboot.sentinel_command", words{&r.SentinelCommand}},
		// More often than every few seconds it would be the machine's main work.
		{"reboot.sentinel_every", duration{&r.SentinelEvery, 5 * time.Second, 24 * time.Hour}},
		{"reboot.scheduled_lead", duration{&r.ScheduledLead, 0, 60 * 24 * time.Hour}},
		{"reboot.scripts_dir", text{&r.ScriptsDir, directory}},
		{"reboot.script_timeout", duration{&r.ScriptTimeout, time.Second, 24 * time.Hour}},
		{"force_election.enabled", flag{&c.Force.Enabled}},
		// A healthy cluster elects within seconds, also over a slow network.
		{"force_election.after", duration{&c.Force.After, 10 * time.Second, 24 * time.Hour}},
		{"force_election.pause", duration{&c.Force.Pause, 0, 10 * time.Minute}},
		{"force_election.cooldown", duration{&c.Force.Cooldown, time.Minute, 24 * time.Hour}},
		{"force_election.max_attempts", number{&c.Force.MaxAttempts, 1, 100}},
		{"listen.peer", text{&c.Listen.Peer, hostPort}},
		{"listen.metrics", text{&c.Listen.Metrics, hostPort}},
		{"listen.fleetlock", text{&c.Listen.FleetLock, loopback}},
		{"listen.control", text{&c.Listen.Control, socketPath}},
		{"state_dir", text{&c.StateDir, directory}},
		{"systemd.system_dir", text{&c.Systemd.SystemDir, directory}},
		{"systemd.runtime_dir", text{&c.Systemd.RuntimeDir, directory}},
		{"systemd.boot_id_file", text{&c.Systemd.BootIDFile, optionalFile}},
		{"systemd.machine_id_file", text{&c.Systemd.MachineIDFile, optionalFile}},
		{"systemd.dmi_dir", text{&c.Systemd.DMIDir, directory}},
		{"log.level", text{&c.Log.Level, oneOf("debug", "info", "warn", "error")}},
		{"log.format", text{&c.Log.Format, oneOf("auto", "journal", "text", "json")}},
	}
}

const maxHook = 48 * time.Hour

// sections are the keys that hold keys.
func sections(fs []field) map[string]bool {
	s := map[string]bool{}
	for _, f := range fs {
		if i := strings.LastIndexByte(f.key, '.'); i > 0 {
			s[f.key[:i]] = true
		}
	}
	return s
}
