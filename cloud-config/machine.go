package cloudconfig

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/units"
)

// Where things are on every machine. /usr is read-only on the systems that this is
// for first.
const (
	binDir      = "/opt/bin"
	agentBinary = binDir + "/quorumd"
	configFile  = config.DefaultPath
	unitDir     = "/etc/systemd/system"
	sysusers    = "/etc/sysusers.d/etcd.conf"
	flatcarUnit = "etcd-member.service"
	etcdImage   = "quay.io/coreos/etcd"

	agentUnit    = "quorumd.service"
	shutdownUnit = "quorumd-shutdown.service"
)

// machine is what one machine is given, in no format's words yet.
type machine struct {
	dirs  []string
	files []file
	units []unit
}

// file is one file, root's. Exactly one of content and from is set.
type file struct {
	path    string
	mode    int
	content string
	from    Download
}

// unit is one unit of systemd, or what is added to one that the system has.
type unit struct {
	name string
	// content is the whole unit; empty: the system has it.
	content string
	dropIns []dropIn
	// enabled: it starts at boot. start: also at the end of provisioning, where
	// that is later than the start of units.
	enabled, start bool
	masked         bool
}

type dropIn struct{ name, content string }

// newMachine says what a machine of a format gets.
func newMachine(f Format, o Options, c config.Config) (machine, error) {
	b := builder{options: o, config: c}
	switch f.system() {
	case flatcar:
		b.flatcar(f)
	case fedoraCoreOS:
		b.fedoraCoreOS()
	default:
		b.anyLinux()
	}
	return b.machine, b.err
}

// builder collects a machine; the first error stays.
type builder struct {
	options Options
	config  config.Config
	machine machine
	err     error
}

func (b *builder) file(path string, mode int, content string) {
	b.machine.files = append(b.machine.files, file{path: path, mode: mode, content: content})
}

func (b *builder) unit(u unit) { b.machine.units = append(b.machine.units, u) }

// embedded is one of the files in package units.
func (b *builder) embedded(name string) string {
	data, err := units.File(name)
	if err != nil && b.err == nil {
		b.err = err
	}
	return withoutComments(name, data)
}

// configuration is quorumd.yaml as it was given, or words in its place.
func (b *builder) configuration() {
	text := string(b.options.Config)
	if strings.TrimSpace(text) == "" {
		text = "# All defaults; 'quorumd config' shows them.\n"
	}
	b.file(configFile, 0o644, text)
}

// guard keeps etcd from starting until the agent allowed it once.
func (b *builder) guard() dropIn {
	data, err := units.Guard(b.config.StateDir, b.config.Etcd.DataDir)
	if err != nil && b.err == nil {
		b.err = err
	}
	const name = "10-quorumd-guard.conf"
	return dropIn{name, withoutComments(name, data)}
}

// agent is the agent's unit, and the one that lets a leave finish when the machine
// stops. They come last, so that where units are started one by one they find
// everything else.
func (b *builder) agent() {
	for _, name := range []string{agentUnit, shutdownUnit} {
		b.unit(unit{name: name, content: b.embedded(name), enabled: true, start: true})
	}
}

// fetchBinary has Ignition put the agent's binary into its place.
func (b *builder) fetchBinary() {
	if !b.options.Binary.Present {
		b.machine.files = append(b.machine.files, file{path: agentBinary, mode: 0o755, from: b.options.Binary})
	}
}

// flatcar: etcd-member.service is there already and gets drop-ins only.
func (b *builder) flatcar(f Format) {
	if f.byIgnition() {
		b.fetchBinary()
	} else {
		b.installer()
	}
	b.configuration()
	// What else would reboot for an update, without asking etcd's quorum.
	for _, name := range []string{"locksmithd.service", "systemd-sysupdate-reboot.service", "systemd-sysupdate-reboot.timer"} {
		b.unit(unit{name: name, masked: true})
	}
	b.flatcarEtcd()
	b.agent()
}

func (b *builder) flatcarEtcd() {
	if b.config.Worker() {
		return
	}
	// The unit's own etcd is as old as the image of the system; a cluster's
	// version is its operator's to choose.
	image := dropIn{"20-quorumd-image.conf", "[Service]\nEnvironment=ETCD_IMAGE_TAG=v" + b.options.etcdVersion() + "\n"}
	b.unit(unit{name: b.config.Etcd.Unit, enabled: true, dropIns: []dropIn{b.guard(), image}})
}

// fedoraCoreOS: Zincati installs updates and reboots for them, and asks the agent
// first.
func (b *builder) fedoraCoreOS() {
	b.fetchBinary()
	b.configuration()
	b.quadlet()
	b.file("/etc/zincati/config.d/55-quorumd.toml", 0o644, zincati(b.config))
	b.agent()
}

// quadlet is etcd's unit. systemd makes the service out of it at boot, so that it
// cannot be enabled; its own [Install] section does that.
func (b *builder) quadlet() {
	b.machine.dirs = append(b.machine.dirs, "/etc/etcd")
	if b.config.Worker() {
		return
	}
	name := strings.TrimSuffix(b.config.Etcd.Unit, ".service")
	b.file("/etc/containers/systemd/"+name+".container", 0o644, quadlet(name, b.options.etcdVersion(), b.config.Etcd.DataDir))
	b.unit(unit{name: b.config.Etcd.Unit, dropIns: []dropIn{b.guard()}})
}

// anyLinux: our own unit runs etcd's binary.
func (b *builder) anyLinux() {
	b.installer()
	b.configuration()
	b.anyEtcd()
	b.agent()
}

func (b *builder) anyEtcd() {
	if b.config.Worker() {
		return
	}
	b.file(sysusers, 0o644, b.embedded("sysusers-etcd.conf"))
	etcd := unit{name: b.config.Etcd.Unit, content: b.embedded("etcd-member.service"), enabled: true, dropIns: []dropIn{b.guard()}}
	if dir := b.config.Etcd.DataDir; dir != config.Default().Etcd.DataDir {
		// The empty assignment takes back what the unit says.
		etcd.dropIns = append(etcd.dropIns, dropIn{"20-quorumd-data.conf",
			"[Service]\nStateDirectory=\nStateDirectory=" + stateDirectory(dir) + "\nEnvironment=ETCD_DATA_DIR=" + dir + "\n"})
	}
	b.unit(etcd)
}

// stateDirectory is a directory below /var/lib in the words of StateDirectory=.
func stateDirectory(dir string) string { return strings.TrimPrefix(dir, "/var/lib/") }

// zincati is Zincati's configuration: like locksmithd it reboots by itself, unless
// it is told whom to ask.
func zincati(c config.Config) string {
	if c.Listen.FleetLock == "" {
		return `# An update is a reboot, and no reboot may come without asking etcd's quorum, which
# quorumd serves nobody here (listen.fleetlock is empty).
[updates]
enabled = false
`
	}
	group := ""
	if c.Worker() && c.Reboot.Group != config.Default().Reboot.Group {
		group = fmt.Sprintf("\n# The same as quorumd's reboot.group.\n[identity]\ngroup = %q\n", c.Reboot.Group)
	}
	return fmt.Sprintf(`# No reboot without quorumd's lock, which asks etcd's quorum.
[updates]
strategy = "fleet_lock"

[updates.fleet_lock]
base_url = "http://%s/"
`, c.Listen.FleetLock) + group
}

// quadlet is etcd's unit for podman. The variables that quorumd's drop-in sets are
// those of podman's process; --env=ETCD_* hands them on. root in the container has
// no capability: it can read what is root's, and nothing else.
func quadlet(name, version, dataDir string) string {
	return fmt.Sprintf(`[Unit]
Description=etcd member
Documentation=https://etcd.io/docs/
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Container]
ContainerName=%[1]s
Image=%[2]s:v%[3]s
Exec=/usr/local/bin/etcd
Network=host
# etcd itself says READY=1.
Notify=true
PodmanArgs=--env=ETCD_*
Volume=%[4]s:%[4]s:Z
# Certificates, if there are any.
Volume=/etc/etcd:/etc/etcd:ro,z
ReadOnly=true
NoNewPrivileges=true
DropCapability=all

[Service]
Restart=always
RestartSec=10s
TimeoutStartSec=0
# Makes the directory anew when quorumd has moved the old one aside.
StateDirectory=%[5]s
StateDirectoryMode=0700
CPUWeight=500
Environment=ETCD_NAME=%%m
Environment=ETCD_DATA_DIR=%[4]s

[Install]
WantedBy=multi-user.target
`, name, etcdImage, version, dataDir, stateDirectory(dataDir))
}

// withoutComments gives a unit file without its comments, and with one that tells
// where they are: EC2 takes no more than [MaxUserData] bytes. Within a line that goes on
// after a backslash nothing is taken for a comment; our files have none.
func withoutComments(name string, data []byte) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s of quorumd; the reasons are in its repository, in units/.\n", name)
	blank := true
	for line := range bytes.Lines(data) {
		switch text := bytes.TrimSpace(line); {
		case len(text) > 0 && (text[0] == '#' || text[0] == ';'):
			continue
		case len(text) == 0:
			blank = true
			continue
		default:
			if blank && text[0] == '[' && b.Len() > 0 {
				b.WriteByte('\n')
			}
			blank = false
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}
