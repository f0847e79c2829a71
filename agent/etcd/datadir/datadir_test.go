package datadir_test

import (
	"context"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/etcd"
	"github.com/quorumd/quorumd/agent/etcd/datadir"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The ids in real data directories are those that etcd reports; of a running
// member, of a stopped one, and of one that joined.
func TestRealEtcd(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, []string{"i-a", "i-b", "i-c"}, etcdproc.Options{
		// Small enough that the log is cut and snapshots are taken.
		Args: []string{"--snapshot-count", "10", "--max-wals", "1"},
	})
	a := cl.Member("i-a")
	c, err := etcd.New(etcd.Config{Cluster: "x", Self: policy.Self{Instance: "i-d"}})
	must(t, err)
	defer func() { _ = c.Close() }()
	c.SetEndpoints(cl.ClientURLs())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	check := func(m *etcdproc.Member) {
		t.Helper()
		list, err := c.Members(ctx)
		must(t, err)
		i := slices.IndexFunc(list.Members, func(l policy.Member) bool { return slices.Contains(l.PeerURLs, m.PeerURL) })
		got, err := datadir.Inspect(m.Dir)
		if want := (policy.Data{Member: list.Members[i].ID, Cluster: list.Cluster}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", m.Name, got, err, want)
		}
	}
	for _, m := range cl.Members() {
		check(m)
	}
	joiner := cl.Add("i-d")
	if d, err := datadir.Inspect(joiner.Dir); err != nil || !d.Empty {
		t.Errorf("before the first start: %+v, %v", d, err)
	}
	for ctx.Err() == nil {
		if _, err = c.AddLearner(ctx, "i-d", joiner.PeerURL); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	must(t, err)
	joiner.StartExisting(cl.Members()...)
	joiner.WaitServing()
	check(joiner)
	joiner.Stop()
	check(joiner)

	// Archived, the directory is empty for etcd too, and the data is whole.
	want, err := datadir.Inspect(joiner.Dir)
	must(t, err)
	to, err := datadir.Archive(joiner.Dir, "removed member", time.Now())
	must(t, err)
	if d, err := datadir.Inspect(joiner.Dir); err != nil || !d.Empty {
		t.Errorf("after archiving: %+v, %v", d, err)
	}
	if d, err := datadir.Inspect(to); err != nil || d != want {
		t.Errorf("archive: %+v, %v; want %+v", d, err, want)
	}
	a.Kill()
	got, err := datadir.Inspect(a.Dir)
	if err != nil || got.Member == 0 {
		t.Errorf("killed: %+v, %v", got, err)
	}
}

// segment is a log's first segment as etcd writes it.
func segment(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/segment.wal")
	must(t, err)
	return b
}

func TestInspect(t *testing.T) {
	t.Parallel()
	const name = "0000000000000000-0000000000000000.wal"
	good := segment(t)
	edit := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	for _, tt := range []struct {
		name  string
		files map[string][]byte // below member/wal; a nil map: no such directory
		want  policy.Data
		err   string
	}{
		{name: "no member", want: policy.Data{Empty: true}},
		{name: "no segment", files: map[string][]byte{}, want: policy.Data{Empty: true}},
		{name: "prepared space only", files: map[string][]byte{"0.tmp": {}}, want: policy.Data{Empty: true}},
		{name: "good", files: map[string][]byte{name: good}, want: policy.Data{Member: 0x8e9e05c52164694d, Cluster: 0xcdf818194e3a8c32}},
		{name: "empty segment", files: map[string][]byte{name: {}}, err: "cut short"},
		{name: "zeros", files: map[string][]byte{name: make([]byte, 4096)}, err: "not written"},
		{name: "cut", files: map[string][]byte{name: good[:20]}, err: "cut short"},
		{name: "flipped bit", files: map[string][]byte{name: edit(func(b []byte) []byte { b[len(b)-6] ^= 1; return b })}, err: "checksum"},
		{name: "huge", files: map[string][]byte{name: edit(func(b []byte) []byte {
			binary.LittleEndian.PutUint64(b, 1<<55)
			return b
		})}, err: "more than there is"},
		{name: "text", files: map[string][]byte{name: []byte(strings.Repeat("no log at all ", 10))}, err: "more than there is"},
	} {
		dir := t.TempDir()
		wal := filepath.Join(dir, "member", "wal")
		if tt.files != nil {
			must(t, os.MkdirAll(wal, 0o700))
		}
		for n, b := range tt.files {
			must(t, os.WriteFile(filepath.Join(wal, n), b, 0o600))
		}
		got, err := datadir.Inspect(dir)
		if got != tt.want || (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %+v, %v; want %+v, error %q", tt.name, got, err, tt.want, tt.err)
		}
	}
	// What is in the way is not nothing.
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "member"), nil, 0o600))
	if d, err := datadir.Inspect(dir); err == nil {
		t.Errorf("a file named member: %+v", d)
	}
	dir = t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "member", "wal", name), 0o700))
	if d, err := datadir.Inspect(dir); err == nil {
		t.Errorf("a directory named like a segment: %+v", d)
	}
	if d, err := datadir.Inspect(filepath.Join(dir, "absent")); err != nil || !d.Empty {
		t.Errorf("no data directory: %+v, %v", d, err)
	}
}

var now = time.Date(2026, 11, 5, 6, 7, 8, 0, time.FixedZone("CET", 3600))

// tree lists a directory's files with their content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(b)
		return err
	}))
	return out
}

func fill(t *testing.T, dir, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "member", "wal"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "member", "wal", "x.wal"), []byte(content), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "note"), []byte(content), 0o600))
}

func TestArchive(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "etcd")
	if to, err := datadir.Archive(dir, "x", now); to != "" || err != nil {
		t.Errorf("no directory: %q, %v", to, err)
	}
	fill(t, dir, "one")
	must(t, os.Chmod(dir, 0o750))
	if os.Getuid() == 0 {
		must(t, os.Chown(dir, 4711, 4712))
	}
	first, err := datadir.Archive(dir+"/", "Wiped voter: ../x", now)
	must(t, err)
	fill(t, dir, "two")
	second, err := datadir.Archive(dir, "Wiped voter: ../x", now) // the same second
	must(t, err)
	if to, err := datadir.Archive(dir, "x", now); to != "" || err != nil {
		t.Errorf("nothing to move: %q, %v", to, err)
	}
	want := map[string]string{}
	for sub, content := range map[string]string{"": "one", "-2": "two"} {
		base := "etcd.archive/20261105T050708Z-wiped-voter-----x" + sub
		want[base+"/member/wal/x.wal"], want[base+"/note"] = content, content
	}
	if d := cmp.Diff(want, tree(t, top)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, path := range []string{dir, dir + ".archive", first, second} {
		info, err := os.Stat(path)
		must(t, err)
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode().Perm() != 0o750 || (os.Getuid() == 0 && (st.Uid != 4711 || st.Gid != 4712)) {
			t.Errorf("%s: mode %s, owner %d:%d", path, info.Mode(), st.Uid, st.Gid)
		}
	}
}

// A sibling on another filesystem cannot take the data; the directory itself can.
func TestArchiveInside(t *testing.T) {
	t.Parallel()
	other, err := os.MkdirTemp("/dev/shm", "datadir-test-")
	if err != nil {
		t.Skip("no second filesystem: ", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	dir := filepath.Join(t.TempDir(), "etcd")
	fill(t, dir, "one")
	must(t, os.Symlink(other, dir+".archive"))
	if os.Rename(filepath.Join(dir, "note"), filepath.Join(other, "note")) == nil {
		t.Skip("/dev/shm is the same filesystem")
	}
	checkInside(t, dir)
	if got := tree(t, other); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

// The same with a real mount point, in a mount namespace of its own.
func TestArchiveMountPoint(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etcd")
	mounted(t, dir, "size=1m", func() {
		if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
			t.Error(err)
			return
		}
		fill(t, dir, "one")
		checkInside(t, dir)
	})
	if _, err := os.Stat(dir + ".archive"); err == nil {
		t.Error("an empty archive was left beside the mount point")
	}
}

// A file system that is too small for etcd's log is told by the name of the data directory,
// also before etcd has made it.
func TestNoRoom(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
	t.Parallel()
	const words = " has less than 128 MB left, which etcd needs to start"
	disk := filepath.Join(t.TempDir(), "disk")
	for size, full := range map[string]bool{"size=120m": true, "size=140m": false} {
		mounted(t, disk, size, func() {
			for _, dir := range []string{disk, filepath.Join(disk, "lib", "etcd")} {
				want := ""
				if full {
					want = dir + words
				}
				if got := datadir.NoRoom(dir); got != want {
					t.Errorf("%s with %s: %q, want %q", dir, size, got, want)
				}
			}
		})
	}
}

// mounted does something while only its own thread sees a new file system at a directory.
func mounted(t *testing.T, dir, size string, do func()) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	done := make(chan error, 1)
	go func() {
		// The thread ends with this goroutine, and the namespace with it.
		runtime.LockOSThread()
		var err error
		defer func() { done <- err }()
		err = syscall.Unshare(syscall.CLONE_NEWNS | syscall.CLONE_FS)
		if err == nil {
			err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
		}
		if err == nil {
			err = syscall.Mount("tmpfs", dir, "tmpfs", 0, size)
		}
		if err == nil {
			do()
		}
	}()
	if err := <-done; err != nil {
		t.Skip("cannot mount: ", err)
	}
}

func checkInside(t *testing.T, dir string) {
	t.Helper()
	to, err := datadir.Archive(dir, "copy", now)
	if want := filepath.Join(dir, ".archive", "20261105T050708Z-copy"); err != nil || to != want {
		t.Errorf("archived to %q, %v; want %q", to, err, want)
		return
	}
	want := map[string]string{
		".archive/20261105T050708Z-copy/member/wal/x.wal": "one",
		".archive/20261105T050708Z-copy/note":             "one",
	}
	if d := cmp.Diff(want, tree(t, dir)); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if to, err := datadir.Archive(dir, "again", now); to != "" || err != nil {
		t.Errorf("archives archived: %q, %v", to, err)
	}
	if d, err := datadir.Inspect(dir); err != nil || !d.Empty {
		t.Errorf("after archiving: %+v, %v", d, err)
	}
}
