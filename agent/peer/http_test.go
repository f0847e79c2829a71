package peer

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve runs a server of the package; the pointer is what it publishes.
func serve(t *testing.T) (*httptest.Server, *atomic.Pointer[Status]) {
	var p atomic.Pointer[Status]
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewServer(p.Load, nil)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv, &p
}

func current() *Status {
	s := FromPass(view(), decision(), About{Sequence: 7})
	s.Decision.Time = time.Now()
	return &s
}

func TestFetch(t *testing.T) {
	srv, p := serve(t)
	if _, err := Fetch(t.Context(), srv.Client(), srv.URL); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("before the first pass: %v", err)
	}
	want := current()
	p.Store(want)
	got, err := Fetch(t.Context(), srv.Client(), srv.URL+"/")
	if err != nil {
		t.Fatal(err)
	}
	if got.AgeSeconds <= 0 || got.AgeSeconds > 60 || want.AgeSeconds != 0 {
		t.Errorf("age is %g s; the published one's %g s", got.AgeSeconds, want.AgeSeconds)
	}
	if d := cmp.Diff(want.Peer(), got.Peer()); d != "" {
		t.Errorf("(-published +fetched):\n%s", d)
	}
	if p.Load() != want {
		t.Error("the server replaced what is published")
	}
}

func TestFetchHung(t *testing.T) {
	srv, p := serve(t)
	s := current()
	s.Decision.Time = time.Now().Add(-time.Hour)
	p.Store(s)
	got, err := Fetch(t.Context(), srv.Client(), srv.URL)
	if !errors.Is(err, ErrHung) || got.Instance != "i-a" {
		t.Errorf("got %v and instance %q, want ErrHung with the status", err, got.Instance)
	}
}

func TestServerIsReadOnly(t *testing.T) {
	srv, p := serve(t)
	do := func(method, path string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body), resp.Header
	}
	expect := func(method, path string, want int) {
		t.Helper()
		if got, _, _ := do(method, path); got != want {
			t.Errorf("%s %s answers %d, want %d", method, path, got, want)
		}
	}
	expect("GET", "/healthz", 503)
	p.Store(current())
	expect("GET", "/healthz", 200)
	expect("GET", "/v1/status", 200)
	expect("HEAD", "/v1/status", 200)
	expect("GET", "/", 404)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		expect(method, "/v1/status", 405)
	}
	if _, body, h := do("GET", "/v1/status"); h.Get("Content-Type") != "application/json" || !strings.Contains(body, `"version":1`) {
		t.Errorf("got %s, %v", body, h)
	}
	old := current()
	old.Decision.Time = time.Now().Add(-time.Hour)
	p.Store(old)
	expect("GET", "/healthz", 503)
	expect("GET", "/v1/status", 200)
}
