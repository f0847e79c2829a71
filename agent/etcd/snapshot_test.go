package etcd

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/test/etcdproc"
)

// A member that has lost its quorum still gives a snapshot; three are kept.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	m := cl.Member("i-a")
	c := clientOf(t, m, cl.ClientURLs())
	cl.Member("i-b").Kill()
	cl.Member("i-c").Kill()
	to := Snapshots{Dir: filepath.Join(t.TempDir(), "snapshots"), Keep: 3}
	must(t, os.MkdirAll(to.Dir, 0o700))
	must(t, os.WriteFile(filepath.Join(to.Dir, "old.db.part"), nil, 0o600))
	var names []string
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range 4 {
		path, err := c.Snapshot(soon(t), m.ClientURL, to, now.Add(time.Duration(i)*time.Millisecond))
		must(t, err)
		names = append(names, filepath.Base(path))
		// A snapshot of etcd is its database followed by a SHA-256 of it.
		if info, err := os.Stat(path); err != nil || info.Size()%512 != 32 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	left, err := os.ReadDir(to.Dir)
	must(t, err)
	var have []string
	for _, e := range left {
		have = append(have, e.Name())
	}
	if strings.Join(have, " ") != strings.Join(names[1:], " ") {
		t.Errorf("there are %v, want %v", have, names[1:])
	}
	// Frozen, it gives none within the bound, and leaves nothing behind.
	m.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if path, err := c.Snapshot(ctx, m.ClientURL, to, now); err == nil {
		t.Errorf("a frozen member gave %s", path)
	}
	if again, err := os.ReadDir(to.Dir); err != nil || len(again) != 3 {
		t.Errorf("afterwards there are %v, %v", again, err)
	}
	if err := room(to.Dir, 1<<62); err == nil {
		t.Error("there is room for everything")
	}
}
