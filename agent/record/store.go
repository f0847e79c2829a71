package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/quorumd/quorumd/agent/durable"
	"github.com/quorumd/quorumd/agent/policy"
)

const (
	recordFile = "record.json"
	markerFile = "etcd-allowed"
	lockFile   = "lock"
)

// Store is one state_dir. [Store.Lock] comes before anything else; its methods
// are safe for concurrent use, the last Save wins.
type Store struct {
	// Dir must exist; [Store.Lock] makes it.
	Dir string
}

// Load reads the record. No file gives the zero record; a file that is damaged or
// of a later version is an error.
func (s Store) Load() (policy.Record, error) {
	path := s.path(recordFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Record{}, nil
	}
	if err != nil {
		return policy.Record{}, fmt.Errorf("read record: %w", err)
	}
	r, err := decode(data)
	if err != nil {
		var later laterVersion
		if errors.As(err, &later) {
			return policy.Record{}, fmt.Errorf("read record %s: %w: run the quorumd that wrote it, or a later one", path, err)
		}
		return policy.Record{}, fmt.Errorf("read record %s: %w: it is not taken for empty, because it may hold a promise; "+
			"if this node's member is out of the cluster (etcdctl member list), move this file and etcd's data directory aside, "+
			"and the node joins anew", path, err)
	}
	return r, nil
}

// Save replaces the record; when it returns nil the record survives a power cut.
func (s Store) Save(r policy.Record) error {
	data, err := encode(r)
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	if err := durable.WriteFile(s.path(recordFile), data, 0o600); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func (s Store) path(name string) string { return filepath.Join(s.Dir, name) }
