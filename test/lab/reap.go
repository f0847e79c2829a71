//go:build linux

package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quorumd/quorumd/test/fleet"
)

// Every lab has a directory here, named by its prefix, wherever its checkout is:
//
//	lock   held by the owner (flock, so the kernel gives it back when it dies)
//	dir    the path of the layers, for whoever cleans up after a dead owner
const stateRoot = "/run/quorumd-lab"

const idPrefix = "qlab-"

func stateDir(id string) string { return filepath.Join(stateRoot, id) }

// lockFile opens and locks a file. LOCK_NB in how: an error when it is held.
func lockFile(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// claim takes an id and the directories of a new lab. The lock over all labs is
// held so long that no reaper sees a directory without its owner's lock.
func (l *Lab) claim(repo string) error {
	if err := os.MkdirAll(stateRoot, 0o755); err != nil {
		return err
	}
	all, err := lockFile(filepath.Join(stateRoot, "lock"), unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer all.Close()
	for {
		var b [2]byte
		rand.Read(b[:])
		l.id = fmt.Sprintf("%s%x", idPrefix, b)
		err := os.Mkdir(stateDir(l.id), 0o755)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	cache := cacheDir(repo)
	l.base = filepath.Join(cache, "base/root")
	l.dir = filepath.Join(cache, "run", l.id)
	own, err := lockFile(filepath.Join(stateDir(l.id), "lock"), unix.LOCK_EX)
	if err != nil {
		return err
	}
	l.locks = append(l.locks, own)
	base, err := lockFile(filepath.Join(cache, "lock"), unix.LOCK_SH) // prepare.sh builds under it
	if err != nil {
		return err
	}
	l.locks = append(l.locks, base)
	if err := os.WriteFile(filepath.Join(stateDir(l.id), "dir"), []byte(l.dir), 0o644); err != nil {
		return err
	}
	return os.MkdirAll(l.dir, 0o755)
}

// Reap removes what labs with a dead owner left. It never touches a lab whose
// owner lives, of whichever checkout.
func Reap() error {
	all, err := lockFile(filepath.Join(stateRoot, "lock"), unix.LOCK_EX)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no lab was ever made since the machine booted
	}
	if err != nil {
		return err
	}
	defer all.Close()
	dirs, err := filepath.Glob(stateDir(idPrefix + "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		own, err := lockFile(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, destroy(filepath.Base(dir)))
		own.Close()
	}
	return errors.Join(errs...)
}

// destroy removes every trace of a lab, whatever state it is in. The order
// matters: processes hold mounts, namespaces and cgroups.
func destroy(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.ReadFile(filepath.Join(stateDir(id), "dir"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	thawDisks(string(dir)) // first: who waits for one cannot be killed
	err = errors.Join(
		killHosts(ctx, id),
		removeNamespaces(ctx, id),
		removeCgroups(ctx, id),
		removeMounts(ctx, string(dir)),
	)
	for _, left := range glob("/run/systemd/nspawn/propagate/" + id + "-*") {
		_ = os.Remove(left) // empty; nspawn removes it only where /run is a tmpfs
	}
	if err != nil {
		return fmt.Errorf("remove lab %s: %w", id, err) // what is left stays known by its directory
	}
	if filepath.Base(string(dir)) == id {
		err = os.RemoveAll(string(dir))
	}
	return errors.Join(err, os.RemoveAll(stateDir(id)))
}

// killHosts ends the hosts of a lab: the systemd in each, with which the kernel
// ends all in its pid namespace; then nspawn, if it does not end by itself.
func killHosts(ctx context.Context, id string) error {
	pids := nspawns(id)
	for _, pid := range pids {
		for _, leader := range leaders(pid) {
			_ = syscall.Kill(leader, syscall.SIGKILL)
		}
	}
	soft, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	gone := func(context.Context) error {
		if left := nspawns(id); len(left) > 0 {
			return fmt.Errorf("nspawn %v still runs", left)
		}
		return nil
	}
	if fleet.Until(soft, 20*time.Millisecond, "hosts to end", gone) == nil {
		return nil
	}
	for _, pid := range nspawns(id) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return fleet.Until(ctx, 20*time.Millisecond, "hosts to end", gone)
}

// nspawns finds the lab's nspawn processes by the machine name they were given.
func nspawns(id string) (pids []int) {
	for _, dir := range glob("/proc/[0-9]*") {
		data, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		argv := strings.Split(string(data), "\x00")
		of := func(arg string) bool { return strings.HasPrefix(arg, "--machine="+id+"-") }
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil &&
			filepath.Base(argv[0]) == "systemd-nspawn" && slices.ContainsFunc(argv, of) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// leaders are the children of an nspawn: the systemd of its host, or, for a
// moment, the child that becomes it.
func leaders(nspawn int) (pids []int) {
	for _, f := range glob(fmt.Sprintf("/proc/%d/task/*/children", nspawn)) {
		pids = append(pids, readPids(f)...)
	}
	return pids
}

// readPids reads one of the kernel's lists of processes; none if it vanished.
func readPids(file string) []int {
	data, _ := os.ReadFile(file)
	return parsePids(data)
}

// parsePids leaves out what no test may ever signal: 0 (a process of another
// pid namespace, or our own group), 1 and this process.
func parsePids(list []byte) (pids []int) {
	for _, word := range strings.Fields(string(list)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 1 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// removeNamespaces ends what still runs in the lab's namespaces and removes
// them; the cables and the bridge go with them.
func removeNamespaces(ctx context.Context, id string) (err error) {
	for _, path := range glob("/run/netns/" + id + "-*") {
		name := filepath.Base(path)
		out, e := run(ctx, "ip", "netns", "pids", name)
		err = errors.Join(err, e)
		for _, pid := range parsePids(out) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_, e = run(ctx, "ip", "netns", "del", name)
		err = errors.Join(err, e)
	}
	return err
}

// removeCgroups ends what still runs in the lab's groups (nspawn died before it
// told its children to) and removes them, deepest first, once they are empty: a
// killed process leaves its group only when it is gone altogether.
func removeCgroups(ctx context.Context, id string) error {
	return fleet.Until(ctx, 20*time.Millisecond, "cgroups to empty", func(context.Context) (err error) {
		for _, root := range []string{"", "systemd", "unified"} {
			top := filepath.Join("/sys/fs/cgroup", root, id)
			var groups []string
			_ = filepath.WalkDir(top, func(path string, d os.DirEntry, e error) error {
				if e == nil && d.IsDir() {
					groups = append(groups, path)
				}
				return nil // what vanished meanwhile is what we want
			})
			for _, path := range slices.Backward(groups) {
				for _, pid := range readPids(filepath.Join(path, "cgroup.procs")) {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				if e := os.Remove(path); e != nil && !errors.Is(e, os.ErrNotExist) {
					err = errors.Join(err, e)
				}
			}
		}
		return err
	})
}

// removeMounts unmounts what was mounted under the lab's directory in the
// machine's own mount namespace (the hosts' layers are not), last first.
func removeMounts(ctx context.Context, dir string) (err error) {
	if dir == "" {
		return nil
	}
	mounts, err := mountsUnder(dir)
	for _, path := range slices.Backward(mounts) {
		_, e := run(ctx, "umount", "--lazy", path)
		err = errors.Join(err, e)
	}
	return err
}

// mountsUnder lists what is mounted under a directory, first first.
func mountsUnder(dir string) (paths []string, err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			paths = append(paths, f[1])
		}
	}
	return paths, err
}

func glob(pattern string) []string {
	paths, _ := filepath.Glob(pattern) // the only error is a bad pattern
	return paths
}
