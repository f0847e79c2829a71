//go:build linux

package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// diskTimeout bounds making and mounting a disk.
const diskTimeout = 30 * time.Second

// linux/fs.h; what fsfreeze(8) calls.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// AddDisk gives the host another disk, with an empty ext4 of so many bytes on it,
// mounted at path from the next boot on. It lasts until the lab closes; one for a host.
func (h *Host) AddDisk(path string, bytes int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), diskTimeout)
	defer cancel()
	image := filepath.Join(h.dir, "disk.img")
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(bytes), f.Close(), os.Mkdir(h.diskDir(), 0o700)); err != nil {
		return err
	}
	if _, err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", image); err != nil {
		return err
	}
	if _, err := run(ctx, "mount", "-o", "loop", image, h.diskDir()); err != nil {
		return err
	}
	h.binds = append(h.binds, "--bind="+h.diskDir()+":"+path)
	// What owns the directory wants it for itself, and empty.
	return errors.Join(os.Chmod(h.diskDir(), 0o700), os.Remove(filepath.Join(h.diskDir(), "lost+found")))
}

func (h *Host) diskDir() string { return filepath.Join(h.dir, "disk") }

// StallDisk makes every write to the added disk wait, in the kernel, until ThawDisk.
// Processes that do so cannot be killed meanwhile; reads go on.
func (h *Host) StallDisk() error { return diskCall(h.diskDir(), fiFreeze) }

// ThawDisk lets what waits go on. PowerOff does it as well.
func (h *Host) ThawDisk() error { return diskCall(h.diskDir(), fiThaw) }

func diskCall(dir string, call uint) error {
	var disk, around unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &disk), unix.Stat(filepath.Dir(dir), &around)); err != nil {
		return err
	}
	if disk.Dev == around.Dev {
		return errors.New("no disk is mounted at " + dir) // the machine's own must not stand still
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("freeze or thaw "+dir, unix.IoctlSetInt(int(f.Fd()), call, 0))
}

// thawDisks thaws whatever is mounted under a lab's directory; most of it never stood still.
func thawDisks(dir string) {
	if dir == "" {
		return
	}
	mounts, _ := mountsUnder(dir) // removeMounts tells
	for _, path := range mounts {
		_ = diskCall(path, fiThaw)
	}
}
