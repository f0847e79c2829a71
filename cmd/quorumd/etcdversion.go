package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/units"
)

// etcdVersion tells which etcd this node would run, while it does not run yet. In this
// order:
//
//  1. etcd.version_command, where it is set;
//  2. the image that the unit names: podman's last words in ExecStart= (a quadlet), or
//     the ETCD_IMAGE_TAG of Flatcar's wrapper, the unit's drop-ins included;
//  3. the program in ExecStart=, if it is called etcd: it is asked with --version.
//
// Anything else it cannot tell, and says so: a wrong version would keep a node out
// that fits, or let one in that does not.
type etcdVersion struct {
	unit     string
	command  []string
	services interface {
		Service(ctx context.Context, unit string) (units.Service, error)
	}

	mu   sync.Mutex
	last asked // the program is run again only when it is another
}

// asked is what a program said, and which program that was.
type asked struct {
	program string
	size    int64
	changed time.Time
	version string
}

// Version gives the version, such as 3.6.16.
func (e *etcdVersion) Version(ctx context.Context) (string, error) {
	if len(e.command) > 0 {
		return printedBy(ctx, e.command[0], e.command[1:]...)
	}
	s, err := e.services.Service(ctx, e.unit)
	if err != nil {
		return "", fmt.Errorf("read etcd's version: %w", err)
	}
	env, err := environment(s)
	if err != nil {
		return "", fmt.Errorf("read etcd's version: %w", err)
	}
	if v, ok, err := imageVersion(s, env); ok || err != nil {
		return v, err
	}
	if filepath.Base(s.Path) == "etcd" {
		return e.ask(ctx, s.Path)
	}
	return "", fmt.Errorf("etcd's version cannot be told from %s, which starts %q and names no image; etcd.version_command can name a program that prints it", e.unit, s.Path)
}

// ask runs etcd's own program. It reads no configuration and opens nothing for that.
func (e *etcdVersion) ask(ctx context.Context, program string) (string, error) {
	info, err := os.Stat(program)
	if err != nil {
		return "", fmt.Errorf("read etcd's version: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	is := asked{program: program, size: info.Size(), changed: info.ModTime(), version: e.last.version}
	if is == e.last {
		return is.version, nil
	}
	if is.version, err = printedBy(ctx, program, "--version"); err != nil {
		return "", err
	}
	e.last = is
	return is.version, nil
}

// printed finds the version in what etcd --version prints ("etcd Version: 3.6.16"), or
// in a line that holds nothing else.
var printed = regexp.MustCompile(`(?m)^(?:etcd Version: )?v?(\d+\.\d+\.\d+\S*)\s*$`)

func printedBy(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // none of ours: etcd reads ETCD_*
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for etcd's version: %w", program, err)
	}
	if m := printed.FindSubmatch(out); m != nil {
		if v, ok := policy.ParseVersion(string(m[1])); ok {
			return v.String(), nil
		}
	}
	return "", fmt.Errorf("ask %s for etcd's version: it printed none", program)
}

// imageVersion reads the version off the image that a unit runs. ok: the unit runs an
// image; then it is an error if its tag tells no version.
func imageVersion(s units.Service, env map[string]string) (version string, ok bool, err error) {
	tag := ""
	switch base := filepath.Base(s.Path); {
	case base == "podman" || base == "docker":
		for _, arg := range s.Args {
			if name, t, found := strings.Cut(arg[strings.LastIndexByte(arg, '/')+1:], ":"); found && name == "etcd" {
				tag = t
			}
		}
	case base == "etcd": // a program of its own, whatever variables there are
		return "", false, nil
	case env["ETCD_IMAGE"] != "": // of Flatcar's wrapper: all of the reference
		_, tag, _ = strings.Cut(env["ETCD_IMAGE"][strings.LastIndexByte(env["ETCD_IMAGE"], '/')+1:], ":")
	case env["ETCD_IMAGE_TAG"] != "":
		tag = env["ETCD_IMAGE_TAG"]
	default:
		return "", false, nil
	}
	tag, _, _ = strings.Cut(tag, "@") // a digest
	if v, parsed := policy.ParseVersion(tag); parsed {
		return v.String(), true, nil
	}
	return "", true, fmt.Errorf("etcd's version cannot be told from its image, whose tag is %q; etcd.version_command can name a program that prints it", tag)
}

// environment is what a service sets, by name, its files last as systemd has it.
func environment(s units.Service) (map[string]string, error) {
	env := map[string]string{}
	add := func(assignment string) {
		if name, value, ok := strings.Cut(assignment, "="); ok {
			env[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	for _, a := range s.Environment {
		add(a)
	}
	for _, path := range s.EnvironmentFiles {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // systemd refuses to start then, or ignores it
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != ';' {
				add(line)
			}
		}
	}
	return env, nil
}
