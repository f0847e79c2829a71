package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// insideName is the directory of archives inside a data directory that is a
// mount point of its own.
const insideName = ".archive"

// Archive moves everything in dir aside and tells whereto: into
// <dir>.archive/<UTC time>-<why>, or, when that is not on the same filesystem
// (dir is a mount point) or cannot be made, <dir>/.archive/<UTC time>-<why>.
// Each entry is renamed, the member directory first and in one step, so a crash
// leaves etcd's data either here or there, whole. The archive has owner and mode
// of dir. Nothing is deleted. etcd must not be running.
//
// to is empty when there was nothing to move.
func Archive(dir, why string, now time.Time) (to string, err error) {
	dir = filepath.Clean(dir)
	entries, err := content(dir)
	if err != nil || len(entries) == 0 {
		return "", wrap(err)
	}
	name := now.UTC().Format("20060102T150405Z") + "-" + slug(why)
	to, err = moveAll(dir, entries, dir+".archive", name)
	if to == "" && elsewhere(err) {
		to, err = moveAll(dir, entries, filepath.Join(dir, insideName), name)
	}
	return to, wrap(err)
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("archive data directory: %w", err)
}

// content names what is to be moved, the member directory first.
func content(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		switch e.Name() {
		case insideName, "lost+found": // the latter belongs to the filesystem
		case "member":
			names = slices.Insert(names, 0, e.Name())
		default:
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// elsewhere reports whether an error says that a place cannot be used as an
// archive of the directory, so that another may.
func elsewhere(err error) bool {
	for _, e := range []error{syscall.EXDEV, syscall.EBUSY, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// moveAll renames the entries of dir into parent/name, which it makes. If not
// even the first could be moved, it leaves nothing behind.
func moveAll(dir string, entries []string, parent, name string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("%s is no directory", dir)
	}
	madeParent, err := makeLike(parent, info)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	to, err := makeNew(parent, name, info)
	if err != nil {
		if madeParent {
			err = errors.Join(err, os.Remove(parent)) // empty: we just made it
		}
		return "", err
	}
	for i, e := range entries {
		if err := os.Rename(filepath.Join(dir, e), filepath.Join(to, e)); err != nil {
			if i > 0 {
				return to, err // what has moved stays where it is
			}
			undo := os.Remove(to)
			if madeParent {
				undo = errors.Join(undo, os.Remove(parent))
			}
			return "", errors.Join(err, undo)
		}
	}
	for _, d := range []string{to, parent, filepath.Dir(parent), dir} {
		if err := syncDir(d); err != nil {
			return to, err
		}
	}
	return to, nil
}

// makeNew makes a directory of that name, or, where it exists, with a number.
func makeNew(parent, name string, like fs.FileInfo) (string, error) {
	for n := 1; ; n++ {
		to := filepath.Join(parent, name)
		if n > 1 {
			to += fmt.Sprintf("-%d", n)
		}
		_, err := makeLike(to, like)
		if err == nil {
			return to, nil
		}
		if !errors.Is(err, fs.ErrExist) || n == 1000 {
			return "", err
		}
	}
}

// makeLike makes a directory with the owner and mode of another.
func makeLike(path string, like fs.FileInfo) (made bool, err error) {
	if err := os.Mkdir(path, 0o700); err != nil {
		return false, err
	}
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		err = os.Chown(path, int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = os.Chmod(path, like.Mode().Perm())
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(path))
	}
	return true, nil
}

// slug makes a reason fit for a file name.
func slug(why string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, why)
	s = strings.Trim(s[:min(len(s), 60)], "-")
	if s == "" {
		return "archived"
	}
	return s
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // read-only
	return d.Sync()
}
