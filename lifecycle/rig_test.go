package lifecycle_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

const group = "etcd"

// rig is an emulated cloud on a manual clock, with an adapter for its first
// instance that asks through real sockets.
type rig struct {
	t     *testing.T
	ctx   context.Context
	clock *fakeaws.ManualClock
	cloud *fakeaws.Cloud
	self  policy.InstanceID
	meta  *lifecycle.Metadata
	fleet *lifecycle.Fleet
	seen  *seen
}

// hooked is a group with a hook on each transition, of one and of two minutes.
func hooked(desired int) fakeaws.GroupConfig {
	return fakeaws.GroupConfig{Name: group, Max: 9, Desired: desired, Hooks: []fakeaws.Hook{
		{Name: "leave", Transition: fakeaws.Terminating, HeartbeatTimeout: 2 * time.Minute},
		{Name: "join", Transition: fakeaws.Launching, HeartbeatTimeout: time.Minute},
	}}
}

// bare is a group without hooks.
func bare(desired int) fakeaws.GroupConfig {
	return fakeaws.GroupConfig{Name: group, Max: 9, Desired: desired}
}

func newRig(t *testing.T, g fakeaws.GroupConfig) *rig {
	t.Helper()
	r := &rig{t: t, ctx: t.Context(), clock: fakeaws.NewManualClock(epoch), seen: &seen{}}
	cloud, err := fakeaws.New(fakeaws.Config{Clock: r.clock, Seed: 1})
	r.ok(err)
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	r.cloud = cloud
	api, err := cloud.Serve(listen(t))
	r.ok(err)
	r.ok(cloud.AddGroup(g))
	r.self = r.ids()[0]
	metadata, err := cloud.ServeMetadata(string(r.self), listen(t))
	r.ok(err)
	setEnv(t, api, metadata)
	r.meta, r.fleet = r.adapter()
	return r
}

// setEnv points the SDK at an emulator, and at no file or variable of this machine. The
// credentials come from metadata.
func setEnv(t *testing.T, api, metadata string) {
	t.Helper()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": api, "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata,
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_EC2_METADATA_DISABLED": "",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "", "AWS_CA_BUNDLE": "", "AWS_REGION": "",
	} {
		t.Setenv(k, v)
	}
}

// adapter makes both clients; each call is tried once, so that no test waits for a retry.
func (r *rig) adapter(opts ...func(*lifecycle.FleetConfig)) (*lifecycle.Metadata, *lifecycle.Fleet) {
	r.t.Helper()
	meta, err := lifecycle.NewMetadata(r.ctx, lifecycle.MetadataConfig{Observe: r.seen.add})
	r.ok(err)
	r.t.Cleanup(meta.Close)
	cfg := lifecycle.FleetConfig{Instance: r.self, Region: r.cloud.Region(), Attempts: 1,
		Observe: r.seen.add, Now: r.clock.Now}
	for _, o := range opts {
		o(&cfg)
	}
	fleet, err := lifecycle.NewFleet(r.ctx, cfg)
	r.ok(err)
	r.t.Cleanup(fleet.Close)
	return meta, fleet
}

// at makes an adapter for an API server that is no emulator.
func at(t *testing.T, h http.HandlerFunc) *lifecycle.Fleet {
	t.Helper()
	api := httptest.NewServer(h)
	t.Cleanup(api.Close)
	setEnv(t, api.URL, "http://127.0.0.1:9")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	f, err := lifecycle.NewFleet(t.Context(), lifecycle.FleetConfig{Instance: "i-0123456789abcdef0", Region: "eu-central-1", Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// ids are the group's instances, oldest first.
func (r *rig) ids() []policy.InstanceID {
	r.t.Helper()
	g, ok := r.cloud.Group(group)
	if !ok {
		r.t.Fatal("no group")
	}
	var ids []policy.InstanceID
	for _, i := range g.Instances {
		ids = append(ids, policy.InstanceID(i.ID))
	}
	return ids
}

func (r *rig) fault(f fakeaws.Fault) {
	r.t.Helper()
	_, err := r.cloud.AddFault(f)
	r.ok(err)
}

// calls lists the API calls that reached the cloud since the last time, with their error codes.
func (r *rig) calls() []string {
	var out []string
	for _, c := range r.cloud.Calls() {
		if c.Service == "imds" {
			continue
		}
		s := c.Action
		if c.Code != "" {
			s += " " + c.Code
		}
		out = append(out, s)
	}
	r.cloud.ResetCalls()
	return out
}

// state is this instance's lifecycle state, as the emulator itself knows it.
func (r *rig) state() string {
	r.t.Helper()
	i, ok := r.cloud.Instance(string(r.self))
	if !ok {
		r.t.Fatal("the instance is unknown")
	}
	return i.Lifecycle
}

// seen collects what Observe is told.
type seen struct {
	mu   sync.Mutex
	what []string
}

func (s *seen) add(service, operation, result string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d < 0 {
		result += " in negative time"
	}
	s.what = append(s.what, service+" "+operation+" "+result)
}

// take gives what was seen since the last time.
func (s *seen) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.what)
	s.what = nil
	return out
}

// asStranger makes an adapter of an instance that the cloud has never heard of.
func asStranger(c *lifecycle.FleetConfig) { c.Instance = "i-0123456789abcdef0" }
