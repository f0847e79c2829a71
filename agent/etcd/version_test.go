package etcd

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

// The cluster's version is read from whoever answers, and no password is needed for it.
func TestClusterVersion(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	c := clientOf(t, cl.Member("i-a"), cl.ClientURLs())
	ctx := soon(t)
	var urls []string
	for _, m := range cl.Members() {
		urls = append(urls, m.PeerURL)
	}
	h, err := c.Probe(ctx, cl.Member("i-a").ClientURL)
	must(t, err)
	own, ok := policy.ParseVersion(h.Version)
	if !ok {
		t.Fatalf("etcd calls itself %q", h.Version)
	}
	// A young cluster says 3.0.0 until its members have told each other.
	eventually(t, "the members agree on "+own.Line(), func() bool {
		v, err := c.ClusterVersion(ctx, urls)
		return err == nil && v == own.Line()+".0"
	})
	cl.Member("i-b").Pause()
	cl.Member("i-c").Kill()
	within(t, time.Second, "a member that hangs and one that is gone", func() {
		if v, err := c.ClusterVersion(ctx, urls); err != nil || v != own.Line()+".0" {
			t.Errorf("%q, %v", v, err)
		}
	})
	cl.Member("i-b").Resume()
	if v, err := c.ClusterVersion(ctx, urls[2:]); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %q, %v", v, err)
	}
	if v, err := c.ClusterVersion(ctx, nil); err == nil {
		t.Errorf("nobody to ask: %q", v)
	}
	if v, err := c.ClusterVersion(ctx, []string{cl.Member("i-a").MetricsURL}); err == nil {
		t.Errorf("a port that does not tell it: %q", v)
	}
}

// Among peers that use TLS it is asked with etcd's own certificate.
func TestClusterVersionTLS(t *testing.T) {
	t.Parallel()
	ca, other := etcdproc.NewCA(t), etcdproc.NewCA(t)
	cert, key := ca.Issue("peer")
	// etcd's client port stands in for its peer port, which etcdproc leaves plain: both
	// tell the version over HTTP, to whoever shows the certificate.
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{ClientTLS: &etcdproc.ServerTLS{CertFile: cert, KeyFile: key, ClientCAFile: ca.File}})
	m := cl.Member("i-a")
	with := func(f certs.Files) *Client {
		set, err := certs.New(f, slog.New(slog.NewTextHandler(t.Output(), nil)))
		must(t, err)
		return clientOf(t, m, nil, func(c *Config) { c.PeerTLS = set })
	}
	urls := []string{m.ClientURL}
	good := with(certs.Files{CA: ca.File, Cert: cert, Key: key})
	eventually(t, "the version over TLS", func() bool {
		v, err := good.ClusterVersion(soon(t), urls)
		return err == nil && strings.HasPrefix(v, "3.")
	})
	for name, f := range map[string]certs.Files{
		"another authority": {CA: other.File, Cert: cert, Key: key},
		"no certificate":    {CA: ca.File},
	} {
		if v, err := with(f).ClusterVersion(soon(t), urls); err == nil {
			t.Errorf("%s: %q", name, v)
		}
	}
}
