package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

func TestDefault(t *testing.T) {
	want := Default()
	for _, content := range []string{"", "# nothing\n", "---\n", "etcd:\nlog: {}\n"} {
		got, from, err := Parse("q.yaml", []byte(content), []string{"PATH=/bin", "QUORUMD_CONFIG=q.yaml"})
		if err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", content, d)
		}
		for key, o := range from {
			if o != (Origin{}) {
				t.Errorf("%q: %s comes from %s, want default", content, key, o)
			}
		}
	}
	if d := cmp.Diff(policy.DefaultConfig(), want.Policy()); d != "" {
		t.Errorf("policy of the default (-policy.DefaultConfig +got):\n%s", d)
	}
}

const full = `# every key
cluster: prod
role: member
etcd:
  unit: etcd.service
  version_command: [/opt/bin/etcd-version, --short]
  endpoints: ["https://10.0.0.1:2379", 'https://[fd00::1]:2379']
  data_dir: /data/etcd
  client_port: 12379
  peer_port: 12380
  metrics_port: 12381
  discovery_srv: ""
  members_tag: ""
  username: quorumd
  password_file: /etc/quorumd/password
  ca_file: /tls/ca
  cert_file: /tls/cert
  key_file: /tls/key
  server_cert_file: /tls/scert
  server_key_file: /tls/skey
  peer_ca_file: /tls/pca
  peer_cert_file: /tls/pcert
  peer_key_file: /tls/pkey
lifecycle:
  poll: 500ms
  launch_timeout: 1h
  launch_hook: in
  terminate_hook: out
  replacement_wait: 0
  lock_wait: 1h30m
  margin: 45s
reboot:
  strategy: "off"
  group: default
  sources: [sentinel, scheduled-events]
  windows:
  - {days: [mon-fri], start: "23:00", length: 4h, time_zone: Europe/Berlin}
  - start: 02:30
    length: 90m
  pause_between: 5m
  small_clusters: true
  user_grace: 10m
  units: [docker.service, app.target]
  required_file: /e
  sentinel_command: [/opt/bin/check, "-v", "-v"]
  sentinel_every: 2m
  scheduled_lead: 48h
  scripts_dir: /f
  script_timeout: 1m
force_election: {enabled: false, after: 1m, pause: 7s, cooldown: 20m, max_attempts: 5}
listen: {peer: "10.0.0.1:12382", metrics: "127.0.0.1:19382", fleetlock: "127.0.0.2:12383", control: /tmp/q.sock}
state_dir: /data/quorumd
systemd:
  system_dir: /a
  runtime_dir: /b
  boot_id_file: /c
  machine_id_file: /d
  dmi_dir: /e
log:
  level: debug
  format: json
`

func fullConfig() Config {
	return Config{
		Cluster: "prod",
		Role:    "member",
		Etcd: Etcd{
			Unit:           "etcd.service",
			VersionCommand: []string{"/opt/bin/etcd-version", "--short"},
			Endpoints:      []string{"https://10.0.0.1:2379", "https://[fd00::1]:2379"},
			DataDir:        "/data/etcd",
			ClientPort:     12379, PeerPort: 12380, MetricsPort: 12381,
			Username: "quorumd", PasswordFile: "/etc/quorumd/password",
			CAFile: "/tls/ca", CertFile: "/tls/cert", KeyFile: "/tls/key",
			ServerCertFile: "/tls/scert", ServerKeyFile: "/tls/skey",
			PeerCAFile: "/tls/pca", PeerCertFile: "/tls/pcert", PeerKeyFile: "/tls/pkey",
		},
		Lifecycle: Lifecycle{
			Poll: 500 * time.Millisecond, LaunchTimeout: time.Hour, LaunchHook: "in", TerminateHook: "out",
			LockWait: 90 * time.Minute, Margin: 45 * time.Second,
		},
		Reboot: Reboot{
			Strategy: "off", Group: "default", Sources: []string{"sentinel", "scheduled-events"},
			Windows: []Window{
				{Days: week[:5], Start: 23 * time.Hour, Length: 4 * time.Hour, TimeZone: "Europe/Berlin"},
				{Days: week, Start: 150 * time.Minute, Length: 90 * time.Minute, TimeZone: "UTC"},
			},
			PauseBetween: 5 * time.Minute, SmallClusters: true, UserGrace: 10 * time.Minute,
			Units: []string{"docker.service", "app.target"}, RequiredFile: "/e",
			SentinelCommand: []string{"/opt/bin/check", "-v", "-v"}, SentinelEvery: 2 * time.Minute,
			ScheduledLead: 48 * time.Hour, ScriptsDir: "/f", ScriptTimeout: time.Minute,
		},
		Force:    policy.ForceConfig{After: time.Minute, Pause: 7 * time.Second, Cooldown: 20 * time.Minute, MaxAttempts: 5},
		Listen:   Listen{Peer: "10.0.0.1:12382", Metrics: "127.0.0.1:19382", FleetLock: "127.0.0.2:12383", Control: "/tmp/q.sock"},
		StateDir: "/data/quorumd",
		Systemd:  Systemd{SystemDir: "/a", RuntimeDir: "/b", BootIDFile: "/c", MachineIDFile: "/d", DMIDir: "/e"},
		Log:      Log{Level: "debug", Format: "json"},
	}
}

func workerConfig() Config {
	c := Default()
	c.Role = "worker"
	c.Etcd.MembersTag = "quorumd:cluster-id"
	c.Reboot.Group = "web.blue-1"
	return c
}

func TestFull(t *testing.T) {
	got, from, err := Parse("q.yaml", []byte(full), nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(fullConfig(), got); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	for _, s := range got.Settings() {
		if from[s.Key].File != "q.yaml" || from[s.Key].Line == 0 {
			t.Errorf("%s comes from %s, want a line of q.yaml: the test's file must set every key", s.Key, from[s.Key])
		}
	}
	if o := from["etcd.unit"]; o.String() != "q.yaml:5" {
		t.Errorf("etcd.unit comes from %s, want q.yaml:5", o)
	}
	p := got.Policy()
	if p.LaunchHook != "in" || p.TerminateHook != "out" || p.ReplacementWait != 0 || p.LockWait != 90*time.Minute ||
		p.Margin != 45*time.Second || p.LaunchTimeout != time.Hour {
		t.Errorf("policy config is %+v", p)
	}
	wantReboot := policy.RebootConfig{Strategy: policy.StrategyOff, PauseBetween: 5 * time.Minute, SmallClusters: true, UserGrace: 10 * time.Minute, Services: true}
	windows := p.Reboot.Windows
	p.Reboot.Windows = nil
	if d := cmp.Diff(wantReboot, p.Reboot); d != "" || p.Role != policy.RoleMember || p.LockGroup != policy.MembersGroup {
		t.Errorf("role %s, lock group %s, reboot (-want +got):\n%s", p.Role, p.LockGroup, d)
	}
	if len(windows) != 2 || windows[0].Zone.String() != "Europe/Berlin" || windows[1].Zone.String() != "UTC" ||
		windows[0].Start != 23*time.Hour || len(windows[0].Days) != 5 || windows[1].Length != 90*time.Minute || len(windows[1].Days) != 7 {
		t.Errorf("windows are %+v", windows)
	}
	if p := workerConfig().Policy(); p.Role != policy.RoleWorker || p.LockGroup != "web.blue-1" {
		t.Errorf("worker: role %s, lock group %s", p.Role, p.LockGroup)
	}
	urls := []string{got.Etcd.ClientURL("10.0.0.1"), got.Etcd.PeerURL("fd00::1"), Default().Etcd.ClientURL("h")}
	if d := cmp.Diff([]string{"https://10.0.0.1:12379", "https://[fd00::1]:12380", "http://h:2379"}, urls); d != "" {
		t.Errorf("URLs (-want +got):\n%s", d)
	}
	if got.Listen.PeerPort() != 12382 {
		t.Errorf("peer port is %d", got.Listen.PeerPort())
	}
}

func TestYAMLRoundTrip(t *testing.T) {
	for _, want := range []Config{Default(), fullConfig(), workerConfig()} {
		out, err := want.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := Parse("q.yaml", out, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s\n%s", d, out)
		}
	}
}

func TestEnvironment(t *testing.T) {
	env := []string{
		"QUORUMD_CLUSTER=a", "QUORUMD_CLUSTER=b",
		"QUORUMD_ETCD_DATA_DIR=/d",
		"QUORUMD_ETCD_CLIENT_PORT=1",
		"QUORUMD_ETCD_ENDPOINTS=http://a:1, http://b:2",
		"QUORUMD_LIFECYCLE_LOCK_WAIT=0s",
		"QUORUMD_REBOOT_WINDOWS=sat-mon,wed 22:15 3h America/New_York; 01:00 1h;",
		"QUORUMD_REBOOT_SMALL_CLUSTERS=true",
		"QUORUMD_REBOOT_SOURCES=sentinel",
		"QUORUMD_REBOOT_SENTINEL_COMMAND=/bin/check -a b",
		"QUORUMD_LISTEN_FLEETLOCK=",
		"HOME=/root",
	}
	got, from, err := Parse("q.yaml", []byte("cluster: file\netcd: {unit: x.service}\n"), env)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Cluster = "b"
	want.Etcd.Unit = "x.service"
	want.Etcd.DataDir = "/d"
	want.Etcd.ClientPort = 1
	want.Etcd.Endpoints = []string{"http://a:1", "http://b:2"}
	want.Lifecycle.LockWait = 0
	want.Reboot.Windows = []Window{
		{Days: []time.Weekday{time.Monday, time.Wednesday, time.Saturday, time.Sunday}, Start: 22*time.Hour + 15*time.Minute, Length: 3 * time.Hour, TimeZone: "America/New_York"},
		{Days: week, Start: time.Hour, Length: time.Hour, TimeZone: "UTC"},
	}
	want.Reboot.SmallClusters = true
	want.Reboot.Sources = []string{"sentinel"}
	want.Reboot.SentinelCommand = []string{"/bin/check", "-a", "b"}
	want.Listen.FleetLock = ""
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if s := (windows{&got.Reboot.Windows}).String(); s != "mon,wed,sat,sun 22:15 3h America/New_York; mon-sun 01:00 1h UTC" {
		t.Errorf("windows are shown as %s", s)
	}
	origins := map[string]string{"cluster": "env QUORUMD_CLUSTER", "etcd.unit": "q.yaml:2", "etcd.peer_port": "default"}
	for key, want := range origins {
		if from[key].String() != want {
			t.Errorf("%s comes from %s, want %s", key, from[key], want)
		}
	}
}

func TestEnvironmentNamesAreDistinct(t *testing.T) {
	c := Default()
	seen := map[string]string{EnvConfig: "the file itself"}
	for _, f := range fields(&c) {
		if other, ok := seen[f.env()]; ok {
			t.Errorf("%s is the variable of %s and of %s", f.env(), f.key, other)
		}
		seen[f.env()] = f.key
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name, yaml string
		env        []string
		want       []string
	}{
		{"near miss", "etcd:\n  data_dri: /x\n", nil, []string{
			`q.yaml:2: etcd.data_dri: no such key; did you mean etcd.data_dir?`}},
		{"wrong section", "data_dir: /x\n", nil, []string{
			`q.yaml:1: data_dir: no such key; did you mean etcd.data_dir?`}},
		{"nothing near", "frobnicate: 1\n", nil, []string{`q.yaml:1: frobnicate: no such key`}},
		{"strange key", "\"a\\nb\": 1\n", nil, []string{`q.yaml:1: "a\nb": no such key`}},
		{"impatient", "force_election: {after: 1s}\n", nil, []string{
			`q.yaml:1: force_election.after: 1s is out of range, allowed: 10s to 24h`}},
		{"role", "role: membre\n", nil, []string{
			`q.yaml:1: role: "membre" is no role, allowed: member, worker; did you mean member?`}},
		{"worker without etcd", "role: worker\n", nil, []string{
			`q.yaml:1: role: worker does not say where etcd is, allowed: one of etcd.endpoints, etcd.discovery_srv, etcd.members_tag`}},
		{"worker with two ways", "role: worker\ncluster: a\netcd:\n  discovery_srv: example.com\n  members_tag: a=b\n", nil, []string{
			`q.yaml:4: etcd.discovery_srv: is given beside etcd.members_tag, allowed: one of them`}},
		{"worker without cluster", "role: worker\netcd:\n  discovery_srv: example.com\n", nil, []string{
			`q.yaml:1: cluster: is empty, which for a worker would be its own group's name, allowed: the members' cluster, by default the name of their auto scaling group`}},
		{"worker in the members' group", "role: worker\netcd: {members_tag: a}\nreboot:\n  group: members\n", nil, []string{
			`q.yaml:4: reboot.group: members is the members' own group, allowed for a worker: any other`}},
		{"member with a worker's keys", "etcd: {members_tag: a}\nreboot: {group: b}\n", nil, []string{
			`q.yaml:1: etcd.members_tag: is only for role: worker, allowed: leave it out; a member asks its own etcd, and its lock is always the group members`,
			`q.yaml:2: reboot.group: is only for role: worker, allowed: leave it out; a member asks its own etcd, and its lock is always the group members`}},
		{"reboot", "reboot:\n  strategy: etcd-lock\n  group: a_b\n  sources: [update_engine]\n  small_clusters: \"yes\"\n  units: [docker]\n  pause_between: 5\n  sentinel_command: [check]\n", nil, []string{
			`q.yaml:2: reboot.strategy: "etcd-lock" is none of the allowed: lock, off`,
			`q.yaml:3: reboot.group: "a_b" is no group, allowed: letters, digits, dots and dashes`,
			`q.yaml:4: reboot.sources: entry 1 (line 4): "update_engine" is none of the allowed: update-engine, reboot-required, sentinel, scheduled-events; did you mean update-engine?`,
			`q.yaml:5: reboot.small_clusters: "yes" is a text, allowed: true or false`,
			`q.yaml:6: reboot.units: entry 1 (line 6): "docker" is no unit, allowed: a name that ends in .service, .target, .socket, .mount, .timer`,
			`q.yaml:7: reboot.pause_between: 5 is a number, allowed: a duration with its unit, such as 500ms, 30s, 10m or 1h30m`,
			`q.yaml:8: reboot.sentinel_command: program "check" is not absolute, allowed: a path that starts with /`}},
		{"sentinel without command", "reboot:\n  sources: [sentinel]\n", nil, []string{
			`q.yaml:2: reboot.sources: has sentinel, but reboot.sentinel_command is not set, allowed: both or neither`}},
		{"command without sentinel", "reboot:\n  sentinel_command: [/bin/true]\n", nil, []string{
			`q.yaml:2: reboot.sentinel_command: is set, but reboot.sources does not have sentinel, allowed: both or neither`}},
		{"fleetlock for everybody", "listen:\n  fleetlock: \":2383\"\n", nil, []string{
			`q.yaml:2: listen.fleetlock: ":2383" is not only this machine's, allowed: such as 127.0.0.1:2383, or empty to switch it off`}},
		{"fleetlock's port", "listen:\n  fleetlock: 127.0.0.1:2382\n", nil, []string{
			`q.yaml:2: listen.fleetlock: port 2382 is also that of listen.peer, allowed: a port of its own`}},
		{"SRV", "role: worker\ncluster: a\netcd: {discovery_srv: \"a b\"}\n", nil, []string{
			`q.yaml:3: etcd.discovery_srv: "a b" is no domain, allowed: such as etcd.example.com, or empty`}},
		{"types", "cluster: 5\netcd:\n  client_port: \"1\"\n  unit: [a]\n  endpoints: x\n  peer_port: 1.5\nlog: yes\nstate_dir:\n", nil, []string{
			`q.yaml:1: cluster: 5 is a number, allowed: a text, in quotes if it looks like something else: "5"`,
			`q.yaml:3: etcd.client_port: "1" is a text, allowed: a number from 1 to 65535`,
			`q.yaml:4: etcd.unit: is a list, allowed: a text`,
			`q.yaml:5: etcd.endpoints: is a text, allowed: a list, such as [a, b]`,
			`q.yaml:6: etcd.peer_port: "1.5" is a number, allowed: a number from 1 to 65535`,
			`q.yaml:7: log: is a text, allowed: a section with keys of its own`,
			`q.yaml:8: state_dir: has no value, allowed: a text; leave the key out for the default`}},
		{"durations", "lifecycle:\n  poll: 1\n  margin: -5s\n  lock_wait: soon\n  launch_timeout: 1000h\n", nil, []string{
			`q.yaml:2: lifecycle.poll: 1 is a number, allowed: a duration with its unit, such as 500ms, 30s, 10m or 1h30m`,
			`q.yaml:3: lifecycle.margin: -5s is negative, allowed: 0s to 48h`,
			`q.yaml:4: lifecycle.lock_wait: "soon" is not a duration, allowed: a number with its unit, such as 500ms, 30s, 10m or 1h30m`,
			`q.yaml:5: lifecycle.launch_timeout: 1000h is out of range, allowed: 1s to 48h`}},
		{"range", "etcd: {client_port: 70000, peer_port: 0, metrics_port: 99999999999999999999}\nlisten: {peer: \":0\", metrics: nonsense}\n", nil, []string{
			`q.yaml:1: etcd.client_port: 70000 is out of range, allowed: 1 to 65535`,
			`q.yaml:1: etcd.peer_port: 0 is out of range, allowed: 1 to 65535`,
			`q.yaml:1: etcd.metrics_port: "99999999999999999999" is a number, allowed: a number from 1 to 65535`,
			`q.yaml:2: listen.peer: port "0" is out of range, allowed: 1 to 65535`,
			`q.yaml:2: listen.metrics: "nonsense" is no address to listen on, allowed: host:port or :port, such as :2382 or 10.0.0.1:2382`}},
		{"duplicates", "cluster: a\nlog: {level: info}\ncluster: b\nlog: {level: warn}\n", nil, []string{
			`q.yaml:3: cluster: is given twice, first at line 1; allowed: once`,
			`q.yaml:4: log: is given twice, first at line 2; allowed: once`}},
		{"documents", "cluster: a\n---\ncluster: b\n", nil, []string{`q.yaml:2: a second document begins here, allowed: one`}},
		{"not a mapping", "- a\n", nil, []string{`q.yaml:1: the file is a list, allowed: keys with values`}},
		{"aliases", "cluster: &c a\nrole: *c\n", nil, []string{
			`q.yaml:1: cluster: anchors and aliases are not allowed; write the value out`,
			`q.yaml:2: role: anchors and aliases are not allowed; write the value out`}},
		{"words", "log: {level: warning, format: xml}\n", nil, []string{
			`q.yaml:1: log.level: "warning" is none of the allowed: debug, info, warn, error; did you mean warn?`,
			`q.yaml:1: log.format: "xml" is none of the allowed: auto, journal, text, json`}},
		{"paths", "state_dir: lib\netcd: {data_dir: /, ca_file: ca.pem, unit: etcd}\nlisten: {control: /" + strings.Repeat("x", 110) + "}\n", nil, []string{
			`q.yaml:1: state_dir: "lib" is not absolute, allowed: a path that starts with /`,
			`q.yaml:2: etcd.data_dir: "/" is the root of the file system, allowed: a directory below it`,
			`q.yaml:2: etcd.ca_file: "ca.pem" is not absolute, allowed: a path that starts with /, or empty`,
			`q.yaml:2: etcd.unit: "etcd" is no service unit, allowed: a name that ends in .service`,
			`q.yaml:3: listen.control: the path has 111 bytes, allowed: at most 103 for a unix socket`}},
		{"environment", "", []string{"QUORUMD_ETCD_DATADIR=/x", "QUORUMD_ETCD_CLIENT_PORT=x"}, []string{
			`env QUORUMD_ETCD_CLIENT_PORT: etcd.client_port: "x" is not a decimal number, allowed: 1 to 65535`,
			`env QUORUMD_ETCD_DATADIR: no key has this variable, allowed: QUORUMD_ and a key in upper case; did you mean QUORUMD_ETCD_DATA_DIR?`}},
		{"cert without key", "etcd:\n  ca_file: /ca\n  cert_file: /c\n", nil, []string{
			`q.yaml:3: etcd.cert_file: is set without etcd.key_file, allowed: both or neither`}},
		{"cert without ca", "etcd: {cert_file: /c, key_file: /k}\n", nil, []string{
			`q.yaml:1: etcd.cert_file: is set without etcd.ca_file, allowed: ca_file alone, or ca_file, cert_file and key_file`}},
		{"refused key is not missing", "etcd: {ca_file: /ca, cert_file: /c, key_file: k}\n", nil, []string{
			`q.yaml:1: etcd.key_file: "k" is not absolute, allowed: a path that starts with /, or empty`}},
		{"peer ca alone", "etcd: {peer_ca_file: /c}\n", nil, []string{
			`q.yaml:1: etcd.peer_ca_file: is set without etcd.peer_cert_file and etcd.peer_key_file, allowed: all three or none`}},
		{"peer pair alone", "etcd:\n  peer_cert_file: /c\n  peer_key_file: /k\n", nil, []string{
			`q.yaml:2: etcd.peer_cert_file: is set without etcd.peer_ca_file, allowed: all three or none`}},
		{"server cert without key", "etcd: {ca_file: /ca, server_cert_file: /c}\n", nil, []string{
			`q.yaml:1: etcd.server_cert_file: is set without etcd.server_key_file, allowed: both or neither`}},
		{"server pair without ca", "etcd: {server_cert_file: /c, server_key_file: /k}\n", nil, []string{
			`q.yaml:1: etcd.server_cert_file: is set without etcd.ca_file, so clients would not speak TLS, allowed: both or neither`}},
		{"password without user", "etcd: {password_file: /c}\n", nil, []string{
			`q.yaml:1: etcd.password_file: is set without etcd.username, allowed: both or neither`}},
		{"scheme", "etcd:\n  ca_file: /ca\n  endpoints: [\"http://a:1\"]\n", nil, []string{
			`q.yaml:3: etcd.endpoints: http://a:1 is http, allowed: https, because etcd.ca_file is set`}},
		{"endpoint", "etcd:\n  endpoints:\n  - a:1\n", nil, []string{
			`q.yaml:2: etcd.endpoints: entry 1 (line 3): "a:1" is no client URL, allowed: such as http://10.0.0.1:2379`}},
		{"same port, from a default", "listen: {peer: \":2380\"}\n", nil, []string{
			`q.yaml:1: listen.peer: port 2380 is also that of etcd.peer_port, allowed: a port of its own`}},
		{"directories", "state_dir: /var/lib/etcd/quorumd\n", nil, []string{
			`q.yaml:1: state_dir: /var/lib/etcd/quorumd and /var/lib/etcd (etcd.data_dir) lie in each other, allowed: separate directories`}},
		{"window", "reboot:\n  windows:\n  - {days: [mo-fr], start: \"23:00\", length: 4h}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 1 (line 3): days: "mo-fr" is no day, allowed: mon, tue, wed, thu, fri, sat, sun, or a span such as mon-fri`}},
		{"window's start", "reboot:\n  windows:\n  - {start: \"24:00\", length: 4h}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 1 (line 3): start: "24:00" is no time of day, allowed: "00:00" to "23:59"`}},
		{"window's length", "reboot:\n  windows:\n  - {start: \"23:00\", length: 8d}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 1 (line 3): length: "8d" is not a duration, allowed: a number with its unit, such as 500ms, 30s, 10m or 1h30m`}},
		{"too long a window", "reboot:\n  windows:\n  - {start: \"23:00\", length: 169h}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 1 (line 3): length: 169h is out of range, allowed: 1m to 168h`}},
		{"window's zone", "reboot:\n  windows:\n  - {start: \"23:00\", length: 4h}\n  - {start: \"23:00\", length: 4h, time_zone: Mars/Olympus}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 2 (line 4): time_zone: "Mars/Olympus" is no time zone, allowed: a name in the system's time zone database (tzdata), such as Europe/Berlin or UTC`}},
		{"window's local zone", "", []string{"QUORUMD_REBOOT_WINDOWS=23:00 1h Local"}, []string{
			`env QUORUMD_REBOOT_WINDOWS: reboot.windows: entry 1: "Local" is no time zone, allowed: a name in the system's time zone database (tzdata), such as Europe/Berlin or UTC`}},
		{"window's key", "reboot:\n  windows:\n  - {begin: \"23:00\", length: 4h}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 1 (line 3): begin: no such key, allowed: days, start, length, time_zone`}},
		{"half a window", "reboot:\n  windows:\n  - {start: \"23:00\"}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 1 (line 3): start or length is missing, allowed: both, such as start: "23:00" and length: 4h`}},
		{"no days", "reboot:\n  windows:\n  - {days: [], start: \"23:00\", length: 1h}\n", nil, []string{
			`q.yaml:2: reboot.windows: entry 1 (line 3): days: is an empty list, allowed: such as [mon-fri], or leave it out for every day`}},
		{"windows from the environment", "", []string{"QUORUMD_REBOOT_WINDOWS=mon-fri"}, []string{
			`env QUORUMD_REBOOT_WINDOWS: reboot.windows: entry 1: is no window, allowed: DAYS START LENGTH TIME_ZONE, such as mon-fri 23:00 4h Europe/Berlin`}},
		{"combination from the environment", "", []string{"QUORUMD_ETCD_CERT_FILE=/c", "QUORUMD_ETCD_CA_FILE=/ca"}, []string{
			`env QUORUMD_ETCD_CERT_FILE: etcd.cert_file: is set without etcd.key_file, allowed: both or neither`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, from, err := Parse("q.yaml", []byte(tt.yaml), tt.env)
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("got error %v, want Errors", err)
			}
			if d := cmp.Diff(tt.want, strings.Split(err.Error(), "\n")); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(Config{}, c); d != "" || from != nil {
				t.Errorf("a refused configuration was returned: %+v, %v", c, from)
			}
		})
	}
}

func TestSyntaxErrorsNameTheLine(t *testing.T) {
	for _, tt := range []struct{ yaml, prefix string }{
		{"cluster: a\nrole: [member\n", "q.yaml:"},
		{"cluster: a\n\trole: b\n", "q.yaml:2: this is not YAML: "},
		{"cluster: a\n---\n{", "q.yaml:"},
		{"cluster: \xff\n", "q.yaml: this is not YAML: "},
	} {
		_, _, err := Parse("q.yaml", []byte(tt.yaml), nil)
		if err == nil || !strings.HasPrefix(err.Error(), tt.prefix) || !strings.Contains(err.Error(), "this is not YAML: ") {
			t.Errorf("%q: got %v, want %s…", tt.yaml, err, tt.prefix)
		}
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "q.yaml")
	if _, _, err := Load(file, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing explicit file: %v", err)
	}
	if err := os.WriteFile(file, []byte("cluster: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		env  []string
	}{{file, nil}, {"", []string{"QUORUMD_CONFIG=" + file}}} {
		c, from, err := Load(tt.path, tt.env)
		if err != nil || c.Cluster != "x" || from["cluster"].String() != file+":1" {
			t.Errorf("%v: got %q from %s, %v", tt, c.Cluster, from["cluster"], err)
		}
	}
	if got := Path("", []string{"QUORUMD_CONFIG="}); got != DefaultPath {
		t.Errorf("path is %s, want %s", got, DefaultPath)
	}
}

// FuzzParse: whatever the file holds, there is an answer; errors name the file and
// fit their lines; what is accepted survives being written out and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("etcd: {client_port: 1, client_port: 2}\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("reboot: {windows: [{days: [sat-mon], start: 1:00, length: 168h, time_zone: Europe/Berlin}], sources: []}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, _, err := Parse("q.yaml", data, nil)
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("%v is not Errors", err)
			}
			for _, e := range errs {
				if s := e.Error(); !strings.HasPrefix(s, "q.yaml") || strings.ContainsAny(s, "\n\r") {
					t.Fatalf("bad message %q", s)
				}
			}
			return
		}
		out, err := c.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := Parse("q.yaml", out, nil)
		if err != nil {
			t.Fatalf("own output: %v\n%s", err, out)
		}
		if d := cmp.Diff(c, again); d != "" {
			t.Fatalf("(-first +second):\n%s", d)
		}
	})
}
