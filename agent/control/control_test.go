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

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

func status() *peer.Status {
	return &peer.Status{Version: peer.Version, Instance: "i-a", Decision: peer.Decision{Time: time.Now()}}
}

// locks are those of two groups.
func locks(context.Context) ([]policy.Lock, error) {
	return []policy.Lock{
		{Group: "members", Slots: 1, Holders: []policy.Hold{{Instance: "i-a", Reason: policy.HoldRebooting, Phase: policy.Acting, Client: "c", Why: "update", Revision: 7}}},
		{Group: "web", Slots: 3, Queue: []policy.Waiter{{Instance: "i-b", Reason: policy.HoldFleetLock, Since: time.Unix(9, 0).UTC()}}},
	}, nil
}

// serve runs an agent's socket and gives its path.
func serve(t *testing.T, submit Submit) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "q.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(Agent{Status: status, Submit: submit, Locks: locks})
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
	var next policy.AnswerRequest
	var nextErr error
	var got policy.Request
	c := NewClient(serve(t, func(_ context.Context, r policy.Request) (policy.AnswerRequest, error) {
		got = r
		return next, nextErr
	}))
	fresh := Request{Kind: string(policy.FreshStart)}
	next = policy.AnswerRequest{OK: true, Answer: "tag removed"}
	if a, err := c.Submit(t.Context(), fresh); err != nil || a != "tag removed" || got.Kind != policy.FreshStart {
		t.Errorf("done: %q, %v, request %+v", a, err, got)
	}
	next = policy.AnswerRequest{Reason: policy.AwaitLock, Answer: "i-b holds it"}
	var refused Refusal
	if a, err := c.Submit(t.Context(), fresh); !errors.Is(err, ErrRefused) || !errors.As(err, &refused) || a != "" ||
		refused.Reason != policy.AwaitLock || err.Error() != "refused: AwaitLock: i-b holds it" {
		t.Errorf("refused: %q, %v", a, err)
	}
	nextErr = errors.New("not decided in time")
	if _, err := c.Submit(t.Context(), fresh); errors.Is(err, ErrRefused) || err == nil || !strings.Contains(err.Error(), "not decided in time") {
		t.Errorf("undecided: %v", err)
	}
}

// What each kind takes reaches the loop; what it does not take is an error.
func TestKinds(t *testing.T) {
	var got *policy.Request
	c := NewClient(serve(t, func(_ context.Context, r policy.Request) (policy.AnswerRequest, error) {
		got = &r
		return policy.AnswerRequest{OK: true}, nil
	}))
	for _, tt := range []struct {
		name string
		ask  Request
		want *policy.Request // nil: refused
	}{
		{"fresh", Request{Kind: "bootstrap-fresh"}, &policy.Request{Kind: policy.FreshStart}},
		{"fresh with more", Request{Kind: "bootstrap-fresh", Why: "x"}, nil},
		{"reboot", Request{Kind: "reboot", Why: "x"}, &policy.Request{Kind: policy.OrderReboot, Why: "x"}},
		{"reboot without why", Request{Kind: "reboot"}, nil},
		{"reboot of another", Request{Kind: "reboot", Why: "x", Instance: "i-b"}, nil},
		{"a long why", Request{Kind: "reboot", Why: strings.Repeat("x", maxWhy+1)}, nil},
		{"cancel", Request{Kind: "reboot-cancel"}, &policy.Request{Kind: policy.CancelReboot}},
		{"acquire", Request{Kind: "lock-acquire", Why: "x"}, &policy.Request{Kind: policy.LockAcquire, Why: "x"}},
		{"acquire without why", Request{Kind: "lock-acquire"}, nil},
		{"release", Request{Kind: "lock-release", Instance: "i-b", Revision: 7}, &policy.Request{Kind: policy.LockRelease, Instance: "i-b", Revision: 7}},
		{"release slots", Request{Kind: "lock-release", Slots: 7}, nil},
		{"slots", Request{Kind: "lock-slots", Slots: 3}, &policy.Request{Kind: policy.LockSlots, Slots: 3}},
		{"fleetlock", Request{Kind: "fleetlock-pre-reboot"}, nil},
		{"unknown", Request{Kind: "reboot-everything"}, nil},
	} {
		got = nil
		_, err := c.Submit(t.Context(), tt.ask)
		if (err == nil) != (tt.want != nil) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s: reached the loop as %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestLocks(t *testing.T) {
	got, err := NewClient(serve(t, nil)).Locks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []peer.Lock{
		{Group: "members", Slots: 1, Holders: []peer.Hold{{Instance: "i-a", Reason: "rebooting", Phase: "acting", Client: "c", Why: "update", Revision: 7}}},
		{Group: "web", Slots: 3, Queue: []peer.Waiter{{Instance: "i-b", Reason: "fleetlock", Since: time.Unix(9, 0).UTC()}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestRequestsAreStrict(t *testing.T) {
	path := serve(t, func(context.Context, policy.Request) (policy.AnswerRequest, error) {
		t.Error("reached the loop")
		return policy.AnswerRequest{OK: true}, nil
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
	if _, err := c.Submit(t.Context(), Request{Kind: string(policy.FreshStart)}); !errors.Is(err, peer.ErrUnreachable) {
		t.Errorf("submit: %v", err)
	}
}
