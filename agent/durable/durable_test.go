package durable

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

func TestWriteFileReplacesContentAndMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	for _, step := range []struct {
		data string
		perm os.FileMode
	}{{"first", 0o644}, {"second, longer", 0o600}, {"", 0o666}} {
		if err := WriteFile(path, []byte(step.data), step.perm); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != step.data {
			t.Errorf("content %q, want %q", got, step.data)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != step.perm {
			t.Errorf("mode %v, want %v", info.Mode().Perm(), step.perm)
		}
	}
	wantOnly(t, filepath.Dir(path), "record")
}

func TestWriteFileErrorsLeaveNothingBehind(t *testing.T) {
	t.Run("no directory", func(t *testing.T) {
		err := WriteFile(filepath.Join(t.TempDir(), "none", "record"), nil, 0o600)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want not exist", err)
		}
	})
	t.Run("path is a directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "record"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(filepath.Join(dir, "record"), []byte("x"), 0o600); err == nil {
			t.Error("wrote a file over a directory")
		}
		wantOnly(t, dir, "record")
	})
	t.Run("read-only directory", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write where it likes")
		}
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if err := WriteFile(filepath.Join(dir, "record"), nil, 0o600); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v, want permission denied", err)
		}
	})
}

// A full disk must be an error that says so, and must keep the old record.
func TestWriteFileOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("needs the right to mount a tiny tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "record")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := WriteFile(path, bytes.Repeat([]byte("x"), 1<<20), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want no space", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("record is %q, %v; want the old one", got, err)
	}
	wantOnly(t, dir, "record")
}

func TestWriteFileConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	contents := [][]byte{bytes.Repeat([]byte("a"), 9000), bytes.Repeat([]byte("b"), 5000)}
	var wg sync.WaitGroup
	for _, data := range contents {
		wg.Go(func() {
			for range 20 {
				if err := WriteFile(path, data, 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
		t.Errorf("record mixes two writers: %d bytes", len(got))
	}
	wantOnly(t, filepath.Dir(path), "record")
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	if err := WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing left to remove
		if err := Remove(path); err != nil {
			t.Fatal(err)
		}
		wantOnly(t, dir)
	}
	if err := Remove(filepath.Join(dir, "no", "such", "record")); err != nil {
		t.Errorf("remove below a missing directory: %v", err)
	}
}

func TestMkdirAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "c")
	for range 2 {
		if err := MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		t.Errorf("stat: %v, %v", info, err)
	}
	file := filepath.Join(dir, "file")
	if err := WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(file, "below"), 0o700); err == nil {
		t.Error("made a directory below a file")
	}
}

func wantOnly(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) || (len(got) == 1 && got[0] != want[0]) {
		t.Errorf("directory holds %v, want %v", got, want)
	}
}
