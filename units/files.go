package units

import (
	"bytes"
	"embed"
	"fmt"
	"regexp"
)

var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

// The unit files, embedded so that the binary can install and check them.
//
//go:embed *.service *.conf
var files embed.FS

// Where the shipped guard finds the agent's state and etcd's data.
const (
	DefaultStateDir = "/var/lib/quorumd"
	DefaultDataDir  = "/var/lib/etcd"
)

// File returns one of the unit files of this directory: "quorumd.service",
// "etcd-member.service", "10-quorumd-guard.conf", "sysusers-etcd.conf".
func File(name string) ([]byte, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read embedded unit file: %w", err)
	}
	return data, nil
}

// Guard returns the drop-in that keeps etcd's unit from starting where no agent
// allowed it, for directories other than the default. They must be of characters
// that neither systemd nor a shell takes for its own: [A-Za-z0-9._/-].
func Guard(stateDir, dataDir string) ([]byte, error) {
	for _, dir := range []string{stateDir, dataDir} {
		if !plainPath.MatchString(dir) {
			return nil, fmt.Errorf("guard: directory %q, allowed: an absolute path of letters, digits and ._/-", dir)
		}
	}
	data, err := File("10-quorumd-guard.conf")
	if err != nil {
		return nil, err
	}
	data = bytes.ReplaceAll(data, []byte(DefaultStateDir), []byte(stateDir))
	return bytes.ReplaceAll(data, []byte("--data-dir "+DefaultDataDir), []byte("--data-dir "+dataDir)), nil
}
