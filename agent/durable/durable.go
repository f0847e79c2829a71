// Package durable writes small files so that a crash, of the process or of the
// machine, leaves either the old content or the new one, never a mixture and
// never an empty file.
//
// The recipe is the usual one, and every step of it is needed:
//
//  1. write a temporary file in the same directory (rename is atomic only
//     within one file system);
//  2. fsync it (else the name may reach the disk before the bytes do);
//  3. rename it over the old one;
//  4. fsync the directory (else the rename itself may be lost).
//
// When WriteFile returns nil the content survives a power cut. When it returns
// an error from steps 1 to 3 the old file is untouched; only an error of step 4
// ("sync directory") leaves open which of the two a power cut would keep.
//
// The package knows nothing of what it writes. It is for records of a few
// kilobytes that are written before an act, not for bulk data.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path by data, with exactly the permissions
// perm whatever the umask, and returns once both are on disk. The directory
// must exist. Two concurrent writers of one path do not corrupt it; the last
// rename wins.
//
// A crash in between may leave a file named ".<name>.tmp<digits>" behind. It is
// never read.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("create temporary file: %w", err)
	}
	if err := fill(tmp, data, perm); err != nil {
		return errors.Join(err, discard(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("rename temporary file: %w", err), discard(tmp.Name()))
	}
	return syncDir(dir)
}

// fill puts data into f, syncs and closes it. f is closed also after an error.
func fill(f *os.File, data []byte, perm os.FileMode) error {
	_, err := f.Write(data)
	if err != nil {
		err = fmt.Errorf("write temporary file: %w", err)
	}
	if err == nil {
		if err = f.Chmod(perm); err != nil {
			err = fmt.Errorf("set permissions: %w", err)
		}
	}
	if err == nil {
		if err = f.Sync(); err != nil {
			err = fmt.Errorf("sync temporary file: %w", err)
		}
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close temporary file: %w", cerr)
	}
	return err
}

// discard removes a temporary file that did not become the real one.
func discard(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove temporary file: %w", err)
	}
	return nil
}

// Remove deletes the file at path and returns once that is on disk. A file that
// is not there is no error: what was asked for holds.
func Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		// An earlier Remove may have crashed before its directory sync, so
		// the absence seen here is not yet proven to last.
		if err := syncDir(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// MkdirAll is os.MkdirAll whose new directories survive a power cut: each
// directory that gains an entry is synced.
func MkdirAll(path string, perm os.FileMode) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	if info, err := os.Stat(path); err != nil {
		return fmt.Errorf("make directory: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("make directory %s: a file is in the way", path)
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory to sync it: %w", err)
	}
	defer d.Close() // read-only: nothing can be lost by a failed close
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
