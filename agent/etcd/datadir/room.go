package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// least is what etcd allocates on its first start, and again whenever a segment of its
// write-ahead log is full: the segment and the one after it, 64 MB each (SegmentSizeBytes
// of server/storage/wal).
const least = 2 * 64_000_000

// NoRoom says where, if the file system of a data directory has too little left for etcd to
// start with, and "" if it has enough, or if nobody can tell. The words are always the same
// for a directory: how much is left changes all the time.
func NoRoom(dir string) string {
	var s syscall.Statfs_t
	at := dir
	err := syscall.Statfs(at, &s)
	for errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) { // etcd makes it
		at = filepath.Dir(at)
		err = syscall.Statfs(at, &s)
	}
	if err != nil || uint64(s.Bavail)*uint64(s.Bsize) >= least {
		return ""
	}
	return fmt.Sprintf("%s has less than %d MB left, which etcd needs to start", dir, least/1_000_000)
}
