package control

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

func status() *peer.Status {
	return &peer.Status{Version: peer.Version, Instance: "i-a", Decision: peer.Decision{Time: time.Now()}}
}

// serve runs an agent's socket and gives its path.
func serve(t *testing.T, submit Submit) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "q.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(status, submit)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return path
}

func TestStatus(t *testing.T) {
	c := NewClient(serve(t, nil))
	s, err := c.Status(t.Context())
	if err != nil || s.Instance != "i-a" {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestSubmit(t *testing.T) {
	type outcome struct {
		ok     bool
		answer string
		err    error
	}
	var next outcome
	var got policy.RequestKind
	c := NewClient(serve(t, func(_ context.Context, kind policy.RequestKind) (bool, string, error) {
		got = kind
		return next.ok, next.answer, next.err
	}))
	next = outcome{ok: true, answer: "tag removed"}
	if a, err := c.Submit(t.Context(), policy.FreshStart); err != nil || a != "tag removed" || got != policy.FreshStart {
		t.Errorf("done: %q, %v, kind %q", a, err, got)
	}
	next = outcome{answer: "a member answers"}
	if a, err := c.Submit(t.Context(), policy.FreshStart); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "a member answers") || a != "" {
		t.Errorf("refused: %q, %v", a, err)
	}
	next = outcome{err: errors.New("not decided in time")}
	if _, err := c.Submit(t.Context(), policy.FreshStart); errors.Is(err, ErrRefused) || err == nil || !strings.Contains(err.Error(), "not decided in time") {
		t.Errorf("undecided: %v", err)
	}
	got = ""
	if _, err := c.Submit(t.Context(), "reboot-everything"); err == nil || got != "" {
		t.Errorf("unknown kind: %v, reached the loop as %q", err, got)
	}
}

func TestRequestsAreStrict(t *testing.T) {
	path := serve(t, func(context.Context, policy.RequestKind) (bool, string, error) {
		t.Error("reached the loop")
		return true, "", nil
	})
	c := NewClient(path).http
	for _, body := range []string{"", "{", `{"kind":"bootstrap-fresh","force":true}`, `{"kind":""}`, `{"kind":"` + strings.Repeat("x", maxRequest) + `"}`} {
		resp, err := c.Post(base+"/v1/requests", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.40q: %s", body, resp.Status)
		}
	}
	resp, err := c.Get(base + "/v1/requests")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		t.Errorf("GET: %s", resp.Status)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "q.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("directory's mode %v, %v", dir.Mode(), err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("while in use: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

// TestListenReplacesDead: a crashed agent leaves its socket behind.
func TestListenReplacesDead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	for _, p := range []string{path, path + ".new"} {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		dead.Close()
	}
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	// A successor's socket is not taken away by the predecessor's end.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the successor's socket is gone: %v", err)
	}
	second.Close()
}

func TestListenLeavesFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.sock")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil {
		t.Error("a file was replaced")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "mine" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestUnreachable(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "none"))
	if _, err := c.Status(t.Context()); !errors.Is(err, peer.ErrUnreachable) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("status: %v", err)
	}
	if _, err := c.Submit(t.Context(), policy.FreshStart); !errors.Is(err, peer.ErrUnreachable) {
		t.Errorf("submit: %v", err)
	}
}
