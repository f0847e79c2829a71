package units

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/quorumd/quorumd/agent/durable"
)

// DropIn is one file that adds to or overrides a unit's settings. systemd reads
// the drop-ins of a unit in the order of their names, whichever directory they
// are in, so a later name wins ("90-quorumd.conf" after "40-etcd-cluster.conf").
type DropIn struct {
	Unit    string // e.g. "etcd-member.service"
	Name    string // e.g. "90-quorumd.conf"
	Runtime bool   // in Dirs.Runtime: gone after a reboot
	Content []byte
}

// Dirs are the two directories systemd reads drop-ins from that are ours to
// write. They are configurable for tests and the demo.
type Dirs struct {
	System  string // lasting
	Runtime string // until the next boot
}

// DefaultDirs returns systemd's directories.
func DefaultDirs() Dirs {
	return Dirs{System: "/etc/systemd/system", Runtime: "/run/systemd/system"}
}

// Path returns where d belongs.
func (dirs Dirs) Path(d DropIn) string {
	root := dirs.System
	if d.Runtime {
		root = dirs.Runtime
	}
	return filepath.Join(root, d.Unit+".d", d.Name)
}

// WriteDropIn makes the file of d hold d.Content, durably and atomically. If it
// does already, changed is false and nothing is written. systemd learns of it
// only by a Reload.
func (dirs Dirs) WriteDropIn(d DropIn) (changed bool, err error) {
	if err := d.check(); err != nil {
		return false, fmt.Errorf("write drop-in: %w", err)
	}
	path := dirs.Path(d)
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, d.Content) {
		return false, nil
	}
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, fmt.Errorf("write drop-in %s: %w", path, err)
	}
	if err := durable.WriteFile(path, d.Content, 0o644); err != nil {
		return false, fmt.Errorf("write drop-in %s: %w", path, err)
	}
	return true, nil
}

// RemoveDropIn deletes the file of d, whatever it holds. If there is none,
// changed is false.
func (dirs Dirs) RemoveDropIn(d DropIn) (changed bool, err error) {
	if err := d.check(); err != nil {
		return false, fmt.Errorf("remove drop-in: %w", err)
	}
	path := dirs.Path(d)
	_, err = os.Lstat(path)
	existed := !errors.Is(err, fs.ErrNotExist)
	if err := durable.Remove(path); err != nil {
		return false, fmt.Errorf("remove drop-in %s: %w", path, err)
	}
	return existed, nil
}

func (d DropIn) check() error {
	switch {
	case d.Unit == "" || strings.ContainsAny(d.Unit, "/\x00"):
		return fmt.Errorf("bad unit name %q", d.Unit)
	case d.Name == "" || strings.ContainsAny(d.Name, "/\x00") || strings.HasPrefix(d.Name, "."):
		return fmt.Errorf("bad file name %q", d.Name)
	case !strings.HasSuffix(d.Name, ".conf"):
		return fmt.Errorf("file name %q does not end in .conf, systemd would ignore it", d.Name)
	}
	return nil
}

// EnvVar is one environment variable of a service.
type EnvVar struct {
	Name, Value string
}

// RenderEnvironment returns the content of a drop-in that sets vars, in their
// order, each to exactly its value.
//
// What systemd would not accept is an error: it drops a bad assignment with no
// more than a line in its log, and an etcd that started without its
// ETCD_INITIAL_CLUSTER would found a cluster of its own. Names must be
// [A-Za-z_][A-Za-z0-9_]*; values must be UTF-8 without control characters
// other than tab and newline (newer systemds take them, older do not), and
// without Unicode's noncharacters.
func RenderEnvironment(vars []EnvVar) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by quorumd, which replaces it when etcd's membership changes.\n" +
		"# Edits are lost; use a drop-in with a later name to override.\n" +
		"[Service]\n")
	for _, v := range vars {
		if !validEnvName(v.Name) {
			return nil, fmt.Errorf("render environment: bad variable name %q", v.Name)
		}
		if err := validEnvValue(v.Value); err != nil {
			return nil, fmt.Errorf("render environment: value of %s: %w", v.Name, err)
		}
		b.WriteString(`Environment="` + v.Name + "=" + quoteEnv.Replace(v.Value) + "\"\n")
	}
	return b.Bytes(), nil
}

// quoteEnv escapes a value for the inside of double quotes. systemd first takes
// the quotes and C escapes away, then expands % specifiers. It does not expand
// $ here.
var quoteEnv = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "%", "%%")

func validEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func validEnvValue(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not valid UTF-8")
	}
	for _, r := range s {
		switch {
		case r < ' ' && r != '\t' && r != '\n', r == 0x7f:
			return fmt.Errorf("control character %U", r)
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return fmt.Errorf("noncharacter %U", r)
		}
	}
	return nil
}
