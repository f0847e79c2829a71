package units_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/units"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

func TestWriteAndRemoveDropIn(t *testing.T) {
	root := t.TempDir()
	dirs := units.Dirs{System: filepath.Join(root, "etc"), Runtime: filepath.Join(root, "run")}
	for _, runtime := range []bool{false, true} {
		d := units.DropIn{Unit: etcd, Name: "90-quorumd.conf", Runtime: runtime, Content: []byte("[Service]\n")}
		path := filepath.Join(root, map[bool]string{false: "etc", true: "run"}[runtime], etcd+".d", "90-quorumd.conf")
		steps := []struct {
			do      func(units.DropIn) (bool, error)
			content string
			changed bool
		}{
			{dirs.RemoveDropIn, "", false},
			{dirs.WriteDropIn, "[Service]\n", true},
			{dirs.WriteDropIn, "[Service]\n", false},
			{dirs.WriteDropIn, "[Service]\n# more\n", true},
			{dirs.WriteDropIn, "", true},
			{dirs.WriteDropIn, "", false},
			{dirs.RemoveDropIn, "", true},
			{dirs.RemoveDropIn, "", false},
		}
		for i, step := range steps {
			d.Content = []byte(step.content)
			before, _ := os.Stat(path)
			changed, err := step.do(d)
			if err != nil || changed != step.changed {
				t.Fatalf("step %d: changed %v, %v; want %v", i, changed, err, step.changed)
			}
			after, _ := os.Stat(path)
			if before != nil && after != nil && os.SameFile(before, after) == changed {
				t.Errorf("step %d: changed is %v, the file says otherwise", i, changed)
			}
			if after != nil {
				if got, err := os.ReadFile(path); err != nil || string(got) != step.content {
					t.Errorf("step %d: file holds %q, %v", i, got, err)
				}
			}
		}
	}
}

func TestDropInNames(t *testing.T) {
	dirs := units.Dirs{System: t.TempDir(), Runtime: t.TempDir()}
	for _, d := range []units.DropIn{
		{Unit: "", Name: "a.conf"},
		{Unit: "../a.service", Name: "a.conf"},
		{Unit: etcd, Name: ""},
		{Unit: etcd, Name: "../a.conf"},
		{Unit: etcd, Name: ".a.conf"},
		{Unit: etcd, Name: "a.cnf"},
	} {
		if _, err := dirs.WriteDropIn(d); err == nil {
			t.Errorf("wrote %+v", d)
		}
		if _, err := dirs.RemoveDropIn(d); err == nil {
			t.Errorf("removed %+v", d)
		}
	}
}

// A disk that is full or read-only must be an error that says so, keep the old
// drop-in and leave nothing half-written, while "already so" still succeeds.
func TestWriteDropInWhereItCannot(t *testing.T) {
	for _, c := range []struct {
		name string
		want error
		spec string
		ro   bool
	}{
		{name: "full disk", spec: "size=64k", want: syscall.ENOSPC},
		{name: "read-only", spec: "size=64k", ro: true, want: syscall.EROFS},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if err := syscall.Mount("tmpfs", root, "tmpfs", 0, c.spec); err != nil {
				t.Skipf("needs the right to mount a tiny tmpfs: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(root, 0); err != nil {
					t.Error(err)
				}
			})
			dirs := units.Dirs{System: root}
			d := units.DropIn{Unit: etcd, Name: "90-quorumd.conf", Content: []byte("old")}
			if _, err := dirs.WriteDropIn(d); err != nil {
				t.Fatal(err)
			}
			if c.ro {
				if err := syscall.Mount("tmpfs", root, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			big := d
			big.Content = bytes.Repeat([]byte("x"), 1<<20)
			_, err := dirs.WriteDropIn(big)
			if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "write drop-in "+dirs.Path(d)+": ") {
				t.Errorf("got %v, want %v", err, c.want)
			}
			entries, err := os.ReadDir(filepath.Dir(dirs.Path(d)))
			if err != nil || len(entries) != 1 {
				t.Errorf("directory holds %v, %v", entries, err)
			}
			if changed, err := dirs.WriteDropIn(d); changed || err != nil {
				t.Errorf("writing what is there already: %v, %v", changed, err)
			}
			if _, err := dirs.RemoveDropIn(d); c.ro && !errors.Is(err, syscall.EROFS) {
				t.Errorf("remove: %v", err)
			}
		})
	}
	t.Run("no permission", func(t *testing.T) {
		if os.Geteuid() == 0 {
			t.Skip("root may write where it likes")
		}
		root := t.TempDir()
		if err := os.Chmod(root, 0o500); err != nil {
			t.Fatal(err)
		}
		_, err := units.Dirs{System: root}.WriteDropIn(units.DropIn{Unit: etcd, Name: "a.conf"})
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("got %v, want permission denied", err)
		}
	})
}

func TestRenderEnvironment(t *testing.T) {
	got, err := units.RenderEnvironment([]units.EnvVar{
		{Name: "ETCD_NAME", Value: "i-0123"},
		{Name: "ETCD_INITIAL_CLUSTER", Value: "i-0123=https://10.0.0.1:2380,i-0456=https://10.0.0.2:2380"},
		{Name: "_x1", Value: "a \"b\" 'c' \\d 50% $HOME\n\tend"},
		{Name: "EMPTY"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `# Written by quorumd, which replaces it when etcd's membership changes.
# Edits are lost; use a drop-in with a later name to override.
[Service]
Environment="ETCD_NAME=i-0123"
Environment="ETCD_INITIAL_CLUSTER=i-0123=https://10.0.0.1:2380,i-0456=https://10.0.0.2:2380"
Environment="_x1=a \"b\" 'c' \\d 50%% $HOME\n\tend"
Environment="EMPTY="
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRenderEnvironmentRefusesWhatSystemdWouldDrop(t *testing.T) {
	for _, v := range []units.EnvVar{
		{Name: ""}, {Name: "1A"}, {Name: "A B"}, {Name: "A="}, {Name: "Ä"}, {Name: "A\n"},
		{Name: "A", Value: "\x00"}, {Name: "A", Value: "\r"}, {Name: "A", Value: "\x1b"}, {Name: "A", Value: "\x7f"},
		{Name: "A", Value: "\xff"}, {Name: "A", Value: "\uffff"}, {Name: "A", Value: "\ufdd0"}, {Name: "A", Value: "\U0001fffe"},
	} {
		if got, err := units.RenderEnvironment([]units.EnvVar{v}); err == nil {
			t.Errorf("%q rendered as\n%s", v, got)
		}
	}
}

// The whole way: rendered, written, reloaded, seen by a process.
func TestEnvironmentReachesTheProcess(t *testing.T) {
	t.Setenv("NOT_FOR_UNITS", "1")
	out := filepath.Join(t.TempDir(), "environ")
	m := boot(t, "env", func(u *fakesystemd.Unit) {
		u.Env = append(u.Env, "OUT="+out, "ETCD_NAME=unit", "KEPT=yes")
	})
	value := "100% \"sure\" \\n $HOME 'x'\n\tnext"
	lasting, err := units.RenderEnvironment([]units.EnvVar{
		{Name: "ETCD_NAME", Value: value}, {Name: "ETCD_INITIAL_CLUSTER_STATE", Value: "existing"}})
	if err != nil {
		t.Fatal(err)
	}
	once, err := units.RenderEnvironment([]units.EnvVar{{Name: "ETCD_INITIAL_CLUSTER_STATE", Value: "new"}})
	if err != nil {
		t.Fatal(err)
	}
	first := units.DropIn{Unit: etcd, Name: "95-quorumd-first.conf", Runtime: true, Content: once}
	for _, d := range []units.DropIn{{Unit: etcd, Name: "90-quorumd.conf", Content: lasting}, first} {
		if _, err := m.Dirs().WriteDropIn(d); err != nil {
			t.Fatal(err)
		}
	}
	read := func() map[string]string {
		m.must(t, m.conn.Start)
		m.until(t, "active", active)
		env := environ(t, out)
		m.must(t, m.conn.Stop)
		got := map[string]string{}
		for _, k := range []string{"ETCD_NAME", "KEPT", "ETCD_INITIAL_CLUSTER_STATE", "NOT_FOR_UNITS"} {
			if v, ok := env[k]; ok {
				got[k] = v
			}
		}
		return got
	}
	want := map[string]string{"ETCD_NAME": "unit", "KEPT": "yes"}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("before the reload (-want +got):\n%s", diff)
	}
	if err := m.conn.Reload(patience(t)); err != nil {
		t.Fatal(err)
	}
	want = map[string]string{"ETCD_NAME": value, "KEPT": "yes", "ETCD_INITIAL_CLUSTER_STATE": "new"}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("first start (-want +got):\n%s", diff)
	}
	if _, err := m.Dirs().RemoveDropIn(first); err != nil {
		t.Fatal(err)
	}
	if err := m.conn.Reload(patience(t)); err != nil {
		t.Fatal(err)
	}
	want["ETCD_INITIAL_CLUSTER_STATE"] = "existing"
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("later start (-want +got):\n%s", diff)
	}
}

func TestReloadReportsABadDropIn(t *testing.T) {
	m := boot(t, "ready", nil)
	d := units.DropIn{Unit: etcd, Name: "90-x.conf", Content: []byte("[Service]\nEnviroment=A=1\n")}
	if _, err := m.Dirs().WriteDropIn(d); err != nil {
		t.Fatal(err)
	}
	if err := m.conn.Reload(patience(t)); err == nil || !strings.Contains(err.Error(), "Service.Enviroment") {
		t.Errorf("reload: %v", err)
	}
}
