// Package datadir looks at etcd's data directory from outside: whose it is, and
// moves it aside when it is somebody else's. It never deletes anything, and it
// never writes what etcd would read.
//
// The layout is etcd's own: member/wal holds the segments of the write-ahead
// log, member/snap the database and snapshots. Whether there is a member is
// decided as etcd itself decides it: by there being a segment. A first start
// that fails early leaves a database and no segment, and etcd starts over then.
//
// A log kept elsewhere (etcd's --wal-dir) is not looked for.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/quorumd/quorumd/agent/policy"
)

// headLimit is how much of a segment is read. Its first two records take about
// 60 bytes.
const headLimit = 64 << 10

// Inspect tells whose data the directory holds. Anything that cannot be read or
// understood is an error, never an empty directory.
func Inspect(dir string) (policy.Data, error) {
	wal := filepath.Join(dir, "member", "wal")
	entries, err := os.ReadDir(wal)
	if errors.Is(err, fs.ErrNotExist) {
		return policy.Data{Empty: true}, nil
	}
	if err != nil {
		return policy.Data{}, fmt.Errorf("inspect data directory: %w", err)
	}
	for _, e := range entries { // sorted by name, which begins with the sequence number
		if !strings.HasSuffix(e.Name(), ".wal") {
			continue // "0.tmp": space that etcd prepared for its next segment
		}
		path := filepath.Join(wal, e.Name())
		member, cluster, err := inspectSegment(path)
		if err != nil {
			return policy.Data{}, fmt.Errorf("inspect %s: %w", path, err)
		}
		return policy.Data{Member: member, Cluster: cluster}, nil
	}
	return policy.Data{Empty: true}, nil
}

func inspectSegment(path string) (policy.MemberID, policy.ClusterID, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() // read-only
	if info, err := f.Stat(); err != nil {
		return 0, 0, err
	} else if !info.Mode().IsRegular() {
		return 0, 0, errors.New("is no regular file")
	}
	head, err := io.ReadAll(io.LimitReader(f, headLimit))
	if err != nil {
		return 0, 0, err
	}
	return parseHead(head)
}
