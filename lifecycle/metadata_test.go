package lifecycle_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

const (
	targetPath = "autoscaling/target-lifecycle-state"
	spotPath   = "spot/instance-action"
)

func TestIdentity(t *testing.T) {
	r := newRig(t, bare(1))
	got, err := r.meta.Identity(r.ctx)
	r.ok(err)
	want := lifecycle.Identity{InstanceID: r.self, Region: "eu-central-1", AZ: "eu-central-1a",
		PrivateIP: netip.MustParseAddr("10.0.0.10"), AccountID: "123456789012"}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"imds identity ok"}, r.seen.take()); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func TestTarget(t *testing.T) {
	r := newRig(t, hooked(1))
	for _, c := range []struct {
		name   string
		set    func() error
		want   policy.Target
		fails  bool
		result string
	}{
		{"from launch on", func() error { return nil }, "InService", false, "ok"},
		{"not filled yet", func() error { return r.cloud.HideMetadata(string(r.self), targetPath) }, "", false, "none"},
		{"a word of next year", func() error { return r.cloud.SetMetadata(string(r.self), targetPath, "Warmed:Frozen") }, "Warmed:Frozen", false, "ok"},
		{"a page", func() error { return r.cloud.SetMetadata(string(r.self), targetPath, "<html>") }, "", true, "malformed"},
		{"a novel", func() error { return r.cloud.SetMetadata(string(r.self), targetPath, strings.Repeat("a", 65)) }, "", true, "malformed"},
		{"a control character", func() error { return r.cloud.SetMetadata(string(r.self), targetPath, "InService\x00") }, "", true, "malformed"},
		{"nothing", func() error { return r.cloud.SetMetadata(string(r.self), targetPath, "") }, "", true, "malformed"},
		{"told to go", func() error {
			return errors.Join(r.cloud.ResetMetadata(string(r.self), targetPath), r.cloud.TerminateInGroup(string(r.self), false))
		}, "Terminated", false, "ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.set(); err != nil {
				t.Fatal(err)
			}
			r.seen.take()
			got, err := r.meta.Target(r.ctx)
			if got != c.want || (err != nil) != c.fails || c.fails && !errors.Is(err, lifecycle.ErrMalformed) {
				t.Errorf("got %q, %v; want %q, error: %v", got, err, c.want, c.fails)
			}
			if diff := cmp.Diff([]string{"imds target " + c.result}, r.seen.take()); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSpot(t *testing.T) {
	r := newRig(t, bare(1))
	if n, err := r.meta.Spot(r.ctx); n != (policy.Notice{}) || err != nil {
		t.Errorf("no notice: got %v, %v", n, err)
	}
	r.ok(r.cloud.InterruptSpot(string(r.self), 2*time.Minute))
	want := policy.Notice{Action: "terminate", Time: epoch.Add(2 * time.Minute)}
	if n, err := r.meta.Spot(r.ctx); n != want || err != nil {
		t.Errorf("got %v, %v; want %v", n, err, want)
	}
	for _, bad := range []string{"", "<html>", `{"action":"terminate"}`, `{"time":"2026-11-22T10:00:00Z"}`,
		`{"action":"terminate","time":"soon"}`, `{"action":"terminate","time":"2026-11-22T10:00:00Z"} {}`} {
		r.ok(r.cloud.SetMetadata(string(r.self), spotPath, bad))
		if n, err := r.meta.Spot(r.ctx); n != (policy.Notice{}) || !errors.Is(err, lifecycle.ErrMalformed) {
			t.Errorf("%q: got %v, %v; want a malformed answer", bad, n, err)
		}
	}
}

// The service is away, refuses, or talks nonsense: never an answer, never "there is none".
func TestMetadataFaults(t *testing.T) {
	r := newRig(t, bare(1))
	for _, kind := range []fakeaws.FaultKind{fakeaws.Outage, fakeaws.Throttling, fakeaws.AccessDenied, fakeaws.Malformed, fakeaws.Cut} {
		for _, path := range []string{"/latest/meta-data/", "/latest/api/token"} {
			meta, _ := r.adapter() // without a token
			r.fault(fakeaws.Fault{Kind: kind, Service: "imds", Action: path})
			if got, err := meta.Target(r.ctx); got != "" || err == nil {
				t.Errorf("%s at %s: target %q, %v; want an error", kind, path, got, err)
			}
			if got, err := meta.Spot(r.ctx); got != (policy.Notice{}) || err == nil {
				t.Errorf("%s at %s: notice %v, %v; want an error", kind, path, got, err)
			}
			r.cloud.ClearFaults()
			if got, err := meta.Target(r.ctx); got != "InService" || err != nil {
				t.Errorf("after %s at %s: %q, %v", kind, path, got, err)
			}
		}
	}
}

// A token that the service no longer takes costs one more question, not an error.
func TestStaleToken(t *testing.T) {
	r := newRig(t, bare(1))
	for range 2 {
		_, err := r.meta.Target(r.ctx)
		r.ok(err)
	}
	r.clock.Advance(7 * time.Hour) // the emulator's tokens all run out; the client's clock stands
	r.cloud.ResetCalls()
	got, err := r.meta.Target(r.ctx)
	if got != "InService" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	var calls []string
	for _, c := range r.cloud.Calls() {
		calls = append(calls, c.Action)
	}
	read, token := "GET /latest/meta-data/"+targetPath, "PUT /latest/api/token"
	if diff := cmp.Diff([]string{read, token, read}, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// One token serves many questions.
func TestTokenIsKept(t *testing.T) {
	r := newRig(t, bare(1))
	for range 10 {
		_, err := r.meta.Target(r.ctx)
		r.ok(err)
	}
	n := 0
	for _, c := range r.cloud.Calls() {
		if strings.HasPrefix(c.Action, "PUT ") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d tokens for 10 questions", n)
	}
}

// A host without IMDSv2 is not a host without a target.
func TestTokenNotFound(t *testing.T) {
	imds := httptest.NewServer(http.NotFoundHandler())
	defer imds.Close()
	setEnv(t, "http://127.0.0.1:9", imds.URL)
	m, err := lifecycle.NewMetadata(t.Context(), lifecycle.MetadataConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got, err := m.Target(t.Context()); err == nil {
		t.Errorf("target %q without a token", got)
	}
}

func TestMalformedIdentity(t *testing.T) {
	var doc string
	imds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		body := doc
		if r.Method == http.MethodPut {
			body = "token"
		}
		_, _ = w.Write([]byte(body))
	}))
	defer imds.Close()
	setEnv(t, "http://127.0.0.1:9", imds.URL)
	m, err := lifecycle.NewMetadata(t.Context(), lifecycle.MetadataConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	good := `{"instanceId":"i-0123456789abcdef0","region":"eu-central-1","availabilityZone":"eu-central-1a","privateIp":"10.0.0.1"}`
	for _, doc = range []string{"", "<html>", "{}", strings.Replace(good, "i-0123", "j-0123", 1),
		strings.Replace(good, `"eu-central-1"`, `""`, 1), strings.Replace(good, "10.0.0.1", "fd00::1", 1),
		strings.Repeat(" ", 1<<17) + good} {
		if id, err := m.Identity(t.Context()); err == nil {
			t.Errorf("%.80q: got %v, want an error", doc, id)
		}
	}
	doc = good
	if _, err := m.Identity(t.Context()); err != nil {
		t.Error(err)
	}
}
