package etcd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Snapshots keeps the newest snapshots of one member in a directory.
type Snapshots struct {
	// Dir is made when the first one is saved.
	Dir string
	// Keep is how many stay; older ones go.
	Keep int
}

const (
	snapshotSuffix = ".db"
	snapshotTime   = "20060102T150405.000000000Z" // sorts by age
)

// Snapshot saves what the member behind a client URL has committed, as far as it knows:
// it asks no quorum. The file is there in full or not at all, and only where the file
// system has room for two of them; its name is given.
func (c *Client) Snapshot(ctx context.Context, clientURL string, to Snapshots, now time.Time) (string, error) {
	path, err := c.snapshot(ctx, clientURL, to, now)
	if err != nil {
		return "", fmt.Errorf("save snapshot: %w", err)
	}
	return path, nil
}

func (c *Client) snapshot(ctx context.Context, clientURL string, to Snapshots, now time.Time) (path string, err error) {
	e, err := c.acquire(normalize(clientURL))
	if err != nil {
		return "", err
	}
	defer c.release(e)
	if err := os.MkdirAll(to.Dir, 0o700); err != nil {
		return "", err
	}
	until, ok := ctx.Deadline()
	if !ok {
		until = time.Now().Add(time.Minute)
	}
	path = filepath.Join(to.Dir, now.UTC().Format(snapshotTime)+snapshotSuffix)
	err = e.do(ctx, time.Until(until), func(ctx context.Context, e *endpoint) error {
		st, err := e.maint.Status(ctx, e.url)
		if err != nil {
			return err
		}
		if err := room(to.Dir, 2*st.DbSize); err != nil {
			return err
		}
		r, err := e.maint.Snapshot(ctx)
		if err != nil {
			return err
		}
		defer r.Close()
		return writeWhole(path, r)
	})
	if err != nil {
		return "", err
	}
	return path, to.prune()
}

// room reports whether a file system has so many bytes left.
func room(dir string, need int64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look for room: %w", err)
	}
	if free := int64(s.Bavail) * int64(s.Bsize); free < need {
		return fmt.Errorf("%s has %d MiB left, a snapshot wants %d: %w", dir, free>>20, need>>20, errRefused)
	}
	return nil
}

// writeWhole writes a file that is on disk in full or not there.
func writeWhole(path string, r io.Reader) error {
	f, err := os.OpenFile(path+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name()) // half a snapshot is none
	}
	return err
}

// prune removes all but the newest, and what a crash left half written.
func (s Snapshots) prune() error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), snapshotSuffix):
			names = append(names, e.Name())
		case strings.HasSuffix(e.Name(), snapshotSuffix+".part"):
			if err := os.Remove(filepath.Join(s.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	slices.Sort(names)
	for _, name := range names[:max(0, len(names)-s.Keep)] {
		if err := os.Remove(filepath.Join(s.Dir, name)); err != nil {
			return err
		}
	}
	return nil
}
