package cloudconfig_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	cloudconfig "github.com/quorumd/quorumd/cloud-config"
)

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// archive is a release of etcd, in little.
func archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for _, name := range []string{"README.md", "etcd", "etcdctl", "etcdutl"} {
		content := "this is " + name
		if err := tw.WriteHeader(&tar.Header{Name: "etcd-v3/" + name, Mode: 0o600, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// installer is the script that user-data carries for these downloads, run by sh
// with another directory in place of /opt/bin.
func installer(t *testing.T, quorumd, etcd cloudconfig.Download) (run func() (string, error), bin string) {
	t.Helper()
	got, _ := fromYAML(t, render(t, cloudconfig.CloudInit, cloudconfig.Options{Binary: quorumd, Etcd: etcd}))
	dir := t.TempDir()
	script, bin := filepath.Join(dir, "install.sh"), filepath.Join(dir, "bin")
	if err := os.WriteFile(script, []byte(got["/etc/quorumd/install.sh"]), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		out, err := exec.CommandContext(t.Context(), "sh", script, bin).CombinedOutput()
		return string(out), err
	}, bin
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		if e.Name()[0] == '.' && !e.IsDir() {
			continue // the stamps
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = info.Mode().String() + " " + string(data)
	}
	return out
}

func TestInstallOverHTTP(t *testing.T) {
	_, curlErr := exec.LookPath("curl")
	if _, err := exec.LookPath("wget"); err != nil && curlErr != nil {
		t.Skip("neither curl nor wget is installed")
	}
	release := archive(t)
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/etcd.tar.gz":
			_, _ = w.Write(release)
		case "/quorumd":
			_, _ = w.Write([]byte("the agent"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	etcd := cloudconfig.Download{URL: srv.URL + "/etcd.tar.gz", SHA256: sum(release)}
	run, bin := installer(t, cloudconfig.Download{URL: srv.URL + "/quorumd", SHA256: sum([]byte("the agent"))}, etcd)
	for range 2 { // as at the next boot
		if out, err := run(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := contents(t, bin)
		if len(got) != 4 || got["quorumd"] != "-rwxr-xr-x the agent" || got["etcd"] != "-rwxr-xr-x this is etcd" || got["etcdutl"] == "" {
			t.Fatalf("installed: %v", got)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("%d downloads, want 2: the second run has all it needs", n)
	}

	// What is not what it should be is not installed, and what was there stays.
	for _, bad := range []cloudconfig.Download{{URL: srv.URL + "/quorumd", SHA256: agentSum}, {URL: srv.URL + "/gone", SHA256: agentSum}} {
		run, bin := installer(t, bad, etcd)
		out, err := run()
		if err == nil || out == "" {
			t.Errorf("%s: succeeded, saying %q", bad.URL, out)
		}
		if got := contents(t, bin); got["quorumd"] != "" || len(got) != 3 {
			t.Errorf("%s: installed %v", bad.URL, got)
		}
	}
}

func TestInstallFromFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quorumd")
	run, bin := installer(t, cloudconfig.Download{URL: "file://" + file}, cloudconfig.Download{Present: true})
	for _, content := range []string{"one", "two"} { // without a sum, what is there now counts
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := contents(t, bin)["quorumd"]; got != "-rwxr-xr-x "+content {
			t.Errorf("installed %q", got)
		}
	}
}
