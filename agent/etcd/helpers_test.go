package etcd

import (
	"context"
	"log/slog"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

// clientOf makes the client of the agent beside a member.
func clientOf(t *testing.T, m *etcdproc.Member, urls []string, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Cluster: "test",
		Self: policy.Self{
			Instance: policy.InstanceID(m.Name), Machine: "machine-of-" + m.Name, Boot: "boot-of-" + m.Name,
			PeerURL: m.PeerURL, ClientURL: m.ClientURL,
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	c.SetEndpoints(urls)
	return c
}

// clientsOf makes one client for each member.
func clientsOf(t *testing.T, cl *etcdproc.Cluster) map[string]*Client {
	t.Helper()
	out := map[string]*Client{}
	for _, m := range cl.Members() {
		out[m.Name] = clientOf(t, m, cl.ClientURLs())
	}
	return out
}

// admin is etcd's own client, for what tests do behind the adapter's back.
func admin(t *testing.T, m *etcdproc.Member) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{m.ClientURL}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// soon is a context for things that are to work.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until f gives true; f is tried again after a moment.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		if f() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("not within 20 s: %s", what)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within fails when f takes longer than the bound.
func within(t *testing.T, bound time.Duration, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > bound {
		t.Errorf("%s took %s, more than %s", what, took, bound)
	}
}

var abc = []string{"i-a", "i-b", "i-c"}

// idOf asks a member who it is.
func idOf(t *testing.T, c *Client, m *etcdproc.Member) policy.MemberID {
	t.Helper()
	h, err := c.Probe(soon(t), m.ClientURL)
	must(t, err)
	return h.Member
}

// lead makes a member the leader, so that what happens to others starts no
// election in which calls may fail.
func lead(t *testing.T, c *Client, m *etcdproc.Member) {
	t.Helper()
	to := idOf(t, c, m)
	eventually(t, m.Name+" leads", func() bool {
		if c.MoveLeader(t.Context(), to) != nil {
			return false
		}
		for _, u := range c.order() {
			if h, err := c.Probe(t.Context(), u); err != nil || h.Leader != to || !h.Serves && !h.Learner {
				return false
			}
		}
		return true
	})
}
