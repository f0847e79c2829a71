package units

import (
	"bytes"
	"embed"
	"fmt"
)

// The unit files, embedded so that the binary can install and check them.
//
//go:embed *.service *.conf
var files embed.FS

// DefaultMarker is the file whose existence allows etcd to start at boot.
const DefaultMarker = "/var/lib/quorumd/etcd-allowed"

// File returns one of the unit files of this directory: "quorumd.service",
// "etcd-member.service", "10-quorumd-guard.conf", "sysusers-etcd.conf".
func File(name string) ([]byte, error) {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read embedded unit file: %w", err)
	}
	return data, nil
}

// Guard returns the drop-in that keeps a unit from starting until marker exists,
// for a state_dir other than the default.
func Guard(marker string) ([]byte, error) {
	data, err := File("10-quorumd-guard.conf")
	if err != nil {
		return nil, err
	}
	return bytes.ReplaceAll(data, []byte(DefaultMarker), []byte(marker)), nil
}
