package locksmith

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/policy"
)

// membersTag is on the auto scaling group of every cluster that quorumd formed.
const membersTag = "quorumd:cluster-id"

// Options are what locksmith's configuration does not say.
type Options struct {
	// Role is member or worker; empty: worker where an endpoint is another machine.
	Role string
	// Cluster is what a worker's etcd belongs to; empty: it is left to be filled in.
	Cluster string
	// TimeZone is the machine's, in which locksmithd's window was; empty: UTC.
	TimeZone string
}

// converter collects the new file and what is to be said about it.
type converter struct {
	old    Settings
	opts   Options
	worker bool
	root   *yaml.Node
	notes  []string
	used   map[string]bool
}

// Convert gives quorumd's YAML, and one line for each setting that has no
// counterpart, or that means something else now. Values of locksmith's that cannot
// be understood are an error.
func Convert(old Settings, opts Options) (out []byte, notes []string, err error) {
	c := &converter{old: old, opts: opts, root: &yaml.Node{Kind: yaml.MappingNode}, used: map[string]bool{}}
	for _, step := range []func() error{c.role, c.etcd, c.strategy, c.group, c.window} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	c.rest()
	if len(c.root.Content) == 0 {
		out = []byte("# Nothing differs from quorumd's defaults.\n")
	} else if out, err = c.yaml(); err != nil {
		return nil, nil, err
	}
	check := out
	if c.worker && opts.Cluster == "" {
		check = append(slices.Clone(out), "\ncluster: checked-without\n"...)
	}
	if _, _, err := config.Parse("the new configuration", check, nil); err != nil {
		return nil, nil, fmt.Errorf("what locksmith was given cannot be used: %w", err)
	}
	return out, c.notes, nil
}

func (c *converter) yaml() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(c.root); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// get reads a setting and notes that it was looked at.
func (c *converter) get(name string) (Setting, bool) {
	c.used[name] = true
	return c.old.Get(name)
}

func (c *converter) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// set writes a key, with the old setting above it.
func (c *converter) set(key string, value any, was string) error {
	at := c.root
	if section, name, ok := strings.Cut(key, "."); ok {
		at, key = c.section(section), name
	}
	v := &yaml.Node{}
	if err := v.Encode(value); err != nil {
		return err
	}
	k := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
	if was != "" {
		k.HeadComment = "# was " + was
	}
	at.Content = append(at.Content, k, v)
	return nil
}

func (c *converter) section(name string) *yaml.Node {
	for i := 0; i < len(c.root.Content); i += 2 {
		if c.root.Content[i].Value == name {
			return c.root.Content[i+1]
		}
	}
	s := &yaml.Node{Kind: yaml.MappingNode}
	c.root.Content = append(c.root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, s)
	return s
}

// role decides whether this machine is a worker.
func (c *converter) role() error {
	endpoints, given := c.get("LOCKSMITHD_ENDPOINT")
	far := given && slices.ContainsFunc(endpointList(endpoints.Value), func(u string) bool { return !isLocal(u) })
	switch c.opts.Role {
	case config.RoleWorker:
		c.worker = true
	case "":
		c.worker = far
		if far {
			c.note("locksmith's etcd is on other machines: taken for a worker; --role member if this machine runs etcd")
		}
	}
	if !c.worker {
		return nil
	}
	if err := c.set("role", config.RoleWorker, ""); err != nil {
		return err
	}
	switch {
	case c.opts.Cluster == "" && !given:
		return nil // found with the members, by their group's tag
	case c.opts.Cluster == "":
		c.note("fill in cluster: the members' cluster, by default the name of their auto scaling group; the file is refused without")
		return nil
	}
	return c.set("cluster", c.opts.Cluster, "")
}

// etcd is where etcd is and how it is spoken to.
func (c *converter) etcd() error {
	endpoints, given := c.get("LOCKSMITHD_ENDPOINT")
	switch {
	case c.worker && given:
		if err := c.set("etcd.endpoints", endpointList(endpoints.Value), "LOCKSMITHD_ENDPOINT"); err != nil {
			return err
		}
		if strings.Contains(endpoints.Value, ":4001") {
			c.note("port 4001 was etcd's old one; members listen on 2379 unless they were told otherwise")
		}
	case c.worker:
		if err := c.set("etcd.members_tag", membersTag, ""); err != nil {
			return err
		}
		c.note("locksmith was given no endpoint: the members are looked for by their auto scaling group's tag")
	case given:
		c.note("LOCKSMITHD_ENDPOINT (%s): not needed, an agent asks the member beside it and finds the others", endpoints.From)
	}
	for _, f := range [][2]string{{"LOCKSMITHD_ETCD_CAFILE", "etcd.ca_file"}, {"LOCKSMITHD_ETCD_CERTFILE", "etcd.cert_file"},
		{"LOCKSMITHD_ETCD_KEYFILE", "etcd.key_file"}, {"LOCKSMITHD_ETCD_USERNAME", "etcd.username"}} {
		if s, ok := c.get(f[0]); ok {
			if err := c.set(f[1], s.Value, f[0]); err != nil {
				return err
			}
		}
	}
	if s, ok := c.get("LOCKSMITHD_ETCD_PASSWORD"); ok {
		const file = "/etc/quorumd/password"
		c.note("LOCKSMITHD_ETCD_PASSWORD (%s): put it into %s, mode 0600; it is not shown here", s.From, file)
		return c.set("etcd.password_file", file, "LOCKSMITHD_ETCD_PASSWORD")
	}
	return nil
}

// strategy: quorumd never reboots without the lock.
func (c *converter) strategy() error {
	s, ok := c.get("REBOOT_STRATEGY")
	word := "lock"
	switch s.Value {
	case "etcd-lock":
	case "best-effort":
		c.note("best-effort rebooted without a lock where etcd did not run; quorumd waits and says why")
	case "reboot", "":
		c.note("locksmith rebooted without any lock (strategy reboot); quorumd takes the lock in every case")
	case "off":
		word = "off"
		c.note("off: no source is listened to; 'quorumd reboot' and FleetLock clients work all the same")
	default:
		return fmt.Errorf("%s: REBOOT_STRATEGY is %q, known are: etcd-lock, best-effort, reboot, off", s.From, s.Value)
	}
	if !ok {
		return nil
	}
	return c.set("reboot.strategy", word, "REBOOT_STRATEGY="+s.Value)
}

func (c *converter) group() error {
	s, ok := c.get("LOCKSMITHD_GROUP")
	switch {
	case !ok:
		return nil
	case !c.worker:
		c.note("LOCKSMITHD_GROUP=%s (%s): etcd's members are always in one group of their own, with one slot", s.Value, s.From)
		return nil
	}
	c.note("if more than one machine of the group may reboot at once (locksmithctl set-max): quorumd lock slots N")
	return c.set("reboot.group", s.Value, "LOCKSMITHD_GROUP")
}

// window: locksmith knew one, daily or weekly, on the machine's own clock.
func (c *converter) window() error {
	start, from := c.either("LOCKSMITHD_REBOOT_WINDOW_START", "REBOOT_WINDOW_START")
	length, to := c.either("LOCKSMITHD_REBOOT_WINDOW_LENGTH", "REBOOT_WINDOW_LENGTH")
	switch {
	case !from && !to:
		return nil
	case !from || !to:
		return fmt.Errorf("%s%s: start and length of the reboot window go together, and only one is given", start.From, length.From)
	}
	fields := strings.Fields(start.Value)
	w := config.WindowYAML{Length: length.Value, TimeZone: c.opts.TimeZone}
	switch len(fields) {
	case 1:
		w.Days, w.Start = []string{"mon-sun"}, fields[0]
	case 2:
		w.Days, w.Start = []string{strings.ToLower(fields[0])}, fields[1]
	default:
		return fmt.Errorf("%s: the window's start is %q, known are: \"23:00\" and \"Thu 23:00\"", start.From, start.Value)
	}
	var h, m int
	if n, err := fmt.Sscanf(w.Start, "%d:%d", &h, &m); n != 2 || err != nil {
		return fmt.Errorf("%s: the window's start is %q, known are: \"23:00\" and \"Thu 23:00\"", start.From, start.Value)
	}
	w.Start = fmt.Sprintf("%02d:%02d", h, m)
	d, err := time.ParseDuration(length.Value)
	if err != nil {
		return fmt.Errorf("%s: the window's length is %q, no duration such as 1h30m", length.From, length.Value)
	}
	if longest := policy.MaxWindow; d > longest {
		c.note("the window was %s long; a week (%s) is the longest there is, and always open", length.Value, longest)
		w.Length = longest.String()
	}
	if w.TimeZone == "" {
		w.TimeZone = "UTC"
		c.note("locksmith's window was on the machine's own clock, whose time zone is not known here: check time_zone")
	}
	c.note("locksmith looked at the window once, before it waited for the lock; quorumd looks again right before the reboot")
	return c.set("reboot.windows", []config.WindowYAML{w}, fmt.Sprintf("%q for %s", start.Value, length.Value))
}

// either reads a setting by its name or by its old one.
func (c *converter) either(name, old string) (Setting, bool) {
	c.used[old] = true
	if s, ok := c.get(name); ok {
		return s, ok
	}
	return c.get(old)
}

// rest names what was not looked at.
func (c *converter) rest() {
	names := c.old.names()
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		s, _ := c.old.Get(name)
		switch {
		case c.used[name] || name == "GOMAXPROCS":
		case name == "GROUP" || name == "SERVER" || strings.HasPrefix(name, "PUBLIC_KEY") || strings.HasPrefix(name, "MACHINE_ALIAS"):
			c.note("%s (%s) is update_engine's: it stays where it is", name, s.From)
		default:
			c.note("%s (%s) has no counterpart", name, s.From)
		}
	}
}

func endpointList(s string) []string {
	var out []string
	for _, e := range strings.Split(s, ",") {
		if e = strings.TrimSuffix(strings.TrimSpace(e), "/"); e != "" && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// isLocal reports whether a URL is this machine's own.
func isLocal(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
