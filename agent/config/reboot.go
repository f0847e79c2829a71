package config

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// Reboot is who wants this machine rebooted, and when that may be.
type Reboot struct {
	// Strategy is lock or off. Under off no source is listened to; an operator's order
	// and FleetLock clients are served all the same.
	Strategy string
	// Group is a worker's group of the lock. Members are always in one of their own.
	Group string
	// Sources are those of [policy.WantSource] that are listened to.
	Sources []string
	// Windows in which reboots may begin; none: always.
	Windows []Window
	// PauseBetween is how long a node that is back keeps the lock.
	PauseBetween time.Duration
	// SmallClusters allows reboots of members where there are one or two voters.
	SmallClusters bool
	// UserGrace is how long people who are logged in are waited for, at most.
	UserGrace time.Duration
	// Units must be up, beside etcd on a member, before this node counts as healthy.
	Units []string
	// RequiredFile is there while a reboot is wanted (source reboot-required).
	RequiredFile string
	// SentinelCommand ends with 0 while a reboot is wanted (source sentinel); it is run
	// every SentinelEvery.
	SentinelCommand []string
	SentinelEvery   time.Duration
	// ScheduledLead is how long before its time an event of EC2 wants a reboot (source
	// scheduled-events).
	ScheduledLead time.Duration
	// ScriptsDir holds pre-reboot.d and post-reboot.d; each script in them may take
	// ScriptTimeout.
	ScriptsDir    string
	ScriptTimeout time.Duration
}

// defaultReboot: p is policy's part.
func defaultReboot(p policy.RebootConfig) Reboot {
	return Reboot{
		Strategy:      string(p.Strategy),
		Group:         "default",
		Sources:       []string{string(policy.WantUpdateEngine), string(policy.WantRebootRequired)},
		PauseBetween:  p.PauseBetween,
		SmallClusters: p.SmallClusters,
		UserGrace:     p.UserGrace,
		RequiredFile:  "/run/reboot-required",
		SentinelEvery: time.Minute,
		// A week: a window that opens once a week is met.
		ScheduledLead: 7 * 24 * time.Hour,
		ScriptsDir:    "/etc/quorumd",
		ScriptTimeout: 5 * time.Minute,
	}
}

// Wants reports whether a source is to be listened to.
func (r Reboot) Wants(s policy.WantSource) bool {
	return r.Strategy != string(policy.StrategyOff) && slices.Contains(r.Sources, string(s))
}

func (r Reboot) policy() policy.RebootConfig {
	out := policy.RebootConfig{
		Strategy:      policy.Strategy(r.Strategy),
		PauseBetween:  r.PauseBetween,
		SmallClusters: r.SmallClusters,
		UserGrace:     r.UserGrace,
		Services:      len(r.Units) > 0,
	}
	for _, w := range r.Windows {
		out.Windows = append(out.Windows, w.policy())
	}
	return out
}

// sources are all that can be listened to.
func sources() []string {
	return []string{string(policy.WantUpdateEngine), string(policy.WantRebootRequired),
		string(policy.WantSentinel), string(policy.WantScheduled)}
}

// What single texts of these keys may be.

// groupPattern is FleetLock's rule for groups, which a worker's client must name.
var groupPattern = regexp.MustCompile(`^[a-zA-Z0-9.-]{1,128}$`)

func groupName(s string) error {
	if !groupPattern.MatchString(s) {
		return fmt.Errorf("%q is no group, allowed: letters, digits, dots and dashes", s)
	}
	return nil
}

// unitTypes are those of which systemd can say that they are up.
var unitTypes = []string{".service", ".target", ".socket", ".mount", ".timer"}

func unitName(s string) error {
	ext := filepath.Ext(s)
	if !slices.Contains(unitTypes, ext) || s == ext || strings.ContainsAny(s, "/ ") {
		return fmt.Errorf("%q is no unit, allowed: a name that ends in %s", s, strings.Join(unitTypes, ", "))
	}
	return nil
}

// loopback: FleetLock's protocol knows no password, and whoever asks may have this
// machine hold the lock.
func loopback(s string) error {
	if s == "" {
		return nil
	}
	if err := hostPort(s); err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(s) // hostPort has looked
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is not only this machine's, allowed: such as 127.0.0.1:2383, or empty to switch it off", s)
	}
	return nil
}

var domainPattern = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.?$`)

func domain(s string) error {
	if s != "" && (len(s) > 253 || !domainPattern.MatchString(s)) {
		return fmt.Errorf("%q is no domain, allowed: such as etcd.example.com, or empty", s)
	}
	return nil
}

// tag is KEY or KEY=VALUE. AWS counts 128 and 256 characters.
func tag(s string) error {
	key, value, _ := strings.Cut(s, "=")
	if s != "" && (key == "" || len(key) > 128 || len(value) > 256) {
		return fmt.Errorf("%q is no tag, allowed: KEY or KEY=VALUE, such as quorumd:cluster-id, or empty", s)
	}
	return nil
}

// words are a program and its arguments.
type words struct{ p *[]string }

func (v words) fromYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return fmt.Errorf("is %s, allowed: a list of the program and its arguments, such as [/opt/bin/check, --quiet]", typeName(n))
	}
	var out []string
	for i, e := range n.Content {
		var s string
		if err := (text{&s, anyText}).fromYAML(e); err != nil {
			return fmt.Errorf("entry %d (line %d): %w", i+1, e.Line, err)
		}
		out = append(out, s)
	}
	return v.set(out)
}

// fromText separates at spaces; what needs one within a word needs the file.
func (v words) fromText(s string) error {
	out := strings.Fields(s)
	for _, w := range out {
		if err := (text{new(string), anyText}).fromText(w); err != nil {
			return err
		}
	}
	return v.set(out)
}

func (v words) set(out []string) error {
	if len(out) > 0 && !filepath.IsAbs(out[0]) {
		return fmt.Errorf("program %q is not absolute, allowed: a path that starts with /", out[0])
	}
	if len(out) == 0 {
		out = nil
	}
	*v.p = out
	return nil
}

func (v words) String() string { return strings.Join(*v.p, " ") }
func (v words) plain() any     { return append([]string{}, *v.p...) }

// roles checks what belongs to one role only, and what a worker needs.
func (l *loader) roles(c Config) {
	if l.failed["role"] {
		return
	}
	e := c.Etcd
	if !c.Worker() {
		for _, key := range []string{"etcd.discovery_srv", "etcd.members_tag", "reboot.group"} {
			if l.fields[key].val.String() != l.defaults[key] {
				l.clash("is only for role: worker, allowed: leave it out; a member asks its own etcd, and its lock is always the group "+policy.MembersGroup, key, "role")
			}
		}
		return
	}
	ways := []string{"etcd.endpoints", "etcd.discovery_srv", "etcd.members_tag"}
	var given []string
	for i, set := range []bool{len(e.Endpoints) > 0, e.DiscoverySRV != "", e.MembersTag != ""} {
		if set {
			given = append(given, ways[i])
		}
	}
	switch {
	case len(given) == 0:
		l.clash("worker does not say where etcd is, allowed: one of "+strings.Join(ways, ", "), "role", ways...)
	case len(given) > 1:
		l.clash("is given beside "+strings.Join(given[1:], " and ")+", allowed: one of them", given[0], given[1:]...)
	case e.MembersTag == "" && c.Cluster == "":
		l.clash("is empty, which for a worker would be its own group's name, allowed: the members' cluster, by default the name of their auto scaling group", "cluster", "role")
	}
	if c.Reboot.Group == policy.MembersGroup {
		l.clash(fmt.Sprintf("%s is the members' own group, allowed for a worker: any other", policy.MembersGroup), "reboot.group", "role")
	}
}

// reboots checks what the keys of the section need of each other.
func (l *loader) reboots(r Reboot) {
	listed := slices.Contains(r.Sources, string(policy.WantSentinel))
	if listed && len(r.SentinelCommand) == 0 {
		l.clash("has sentinel, but reboot.sentinel_command is not set, allowed: both or neither", "reboot.sources", "reboot.sentinel_command")
	}
	if !listed && len(r.SentinelCommand) > 0 {
		l.clash("is set, but reboot.sources does not have sentinel, allowed: both or neither", "reboot.sentinel_command", "reboot.sources")
	}
}
