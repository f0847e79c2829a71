package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/host"
)

// report is one report of a Marker's watch.
type report struct {
	present bool
	err     error
}

func watchMarker(t *testing.T, m host.Marker) <-chan report {
	t.Helper()
	seen, ended := make(chan report, 1000), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- m.Watch(ctx, func(p bool, err error) { seen <- report{p, err} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
	return seen
}

func await(t *testing.T, seen <-chan report, want bool) {
	t.Helper()
	patience := time.After(30 * time.Second)
	for {
		select {
		case r := <-seen:
			if r.err != nil {
				t.Fatal(r.err)
			}
			if r.present == want {
				return
			}
		case <-patience:
			t.Fatalf("never reported: present %v", want)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMarkerComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "reboot-required")
	// Only inotify can be the one to tell.
	seen := watchMarker(t, host.Marker{Path: path, Reread: time.Hour})
	await(t, seen, false)
	for range 3 {
		ok(t, os.WriteFile(path, nil, 0o600))
		await(t, seen, true)
		ok(t, os.Remove(path))
		await(t, seen, false)
	}
	other := filepath.Join(dir, "other")
	ok(t, os.WriteFile(other, nil, 0o600))
	ok(t, os.Rename(other, path))
	await(t, seen, true)
	ok(t, os.Rename(path, other))
	await(t, seen, false)
}

func TestMarkerIsThereAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reboot-required")
	ok(t, os.WriteFile(path, nil, 0o600))
	await(t, watchMarker(t, host.Marker{Path: path, Reread: time.Hour}), true)
}

// The directory itself may be missing, come, and be replaced.
func TestMarkerDirectoryComesAndGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	path := filepath.Join(dir, "reboot-required")
	seen := watchMarker(t, host.Marker{Path: path, Reread: 2 * time.Millisecond})
	await(t, seen, false)
	for range 2 {
		ok(t, os.Mkdir(dir, 0o700))
		ok(t, os.WriteFile(path, nil, 0o600))
		await(t, seen, true)
		ok(t, os.RemoveAll(dir))
		await(t, seen, false)
	}
}

func TestMarkerThatCannotBeRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	ok(t, os.WriteFile(file, nil, 0o600))
	seen := watchMarker(t, host.Marker{Path: filepath.Join(file, "reboot-required"), Reread: time.Hour})
	if r := <-seen; r.err == nil {
		t.Errorf("below a file, it is reported as present %v", r.present)
	}
}
