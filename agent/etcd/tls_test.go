package etcd

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

func withTLS(t *testing.T, f certs.Files) func(*Config) {
	t.Helper()
	set, err := certs.New(f, slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(t, err)
	return func(c *Config) { c.TLS = set }
}

func TestServerTLS(t *testing.T) {
	t.Parallel()
	ca, other := etcdproc.NewCA(t), etcdproc.NewCA(t)
	cert, key := ca.Issue("server")
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{ClientTLS: &etcdproc.ServerTLS{CertFile: cert, KeyFile: key}})
	m := cl.Member("i-a")
	ctx := soon(t)

	good := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: ca.File}))
	if h, err := good.Probe(ctx, m.ClientURL); err != nil || !h.Serves {
		t.Errorf("probe: %+v, %v", h, err)
	}
	must(t, good.TakeSlot(ctx, policy.HoldLeaving, 1, clusterID(t, good)))

	bad := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: other.File}))
	plain := clientOf(t, m, cl.ClientURLs())
	for what, err := range map[string]error{
		"wrong ca": errOf(bad.Probe(ctx, m.ClientURL)), "wrong ca, list": errOf(bad.Members(ctx)),
		"the system's cas": errOf(plain.Probe(ctx, m.ClientURL)),
		"http to https":    errOf(plain.Probe(ctx, "http"+m.ClientURL[len("https"):])),
	} {
		if Classify(err) != CannotTell {
			t.Errorf("%s: %v: class %q", what, err, Classify(err))
		}
	}
	missing := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: filepath.Join(t.TempDir(), "none")}))
	if _, err := missing.Members(ctx); Classify(err) != CannotTell {
		t.Errorf("missing ca file: %v", err)
	}

	// A member that hangs or is gone is not a matter of certificates.
	m.Pause()
	for what, c := range map[string]*Client{
		"connected": good, "new": clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: ca.File})),
	} {
		if _, err := c.Probe(ctx, m.ClientURL); Classify(err) != NoAnswer {
			t.Errorf("paused, %s: %v: class %q", what, err, Classify(err))
		}
	}
	m.Kill()
	eventually(t, "a killed member is no answer", func() bool {
		_, err := good.Probe(ctx, m.ClientURL)
		return Classify(err) == NoAnswer
	})
}

// A certificate for another address is refused, also with the right CA.
func TestServerTLSOtherHost(t *testing.T) {
	t.Parallel()
	ca := etcdproc.NewCA(t)
	cert, key := ca.Issue("elsewhere", net.IPv4(10, 1, 2, 3))
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{ClientTLS: &etcdproc.ServerTLS{CertFile: cert, KeyFile: key}})
	c := clientOf(t, cl.Member("i-a"), cl.ClientURLs(), withTLS(t, certs.Files{CA: ca.File}))
	if _, err := c.Members(soon(t)); Classify(err) != CannotTell {
		t.Errorf("certificate of another address: %v", err)
	}
}

// Mutual TLS; and files that change are read again, without a new client.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca, other := etcdproc.NewCA(t), etcdproc.NewCA(t)
	cert, key := ca.Issue("server")
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{
		ClientTLS: &etcdproc.ServerTLS{CertFile: cert, KeyFile: key, ClientCAFile: ca.File},
	})
	m := cl.Member("i-a")
	ctx := soon(t)
	ccert, ckey := ca.Issue("client")
	c := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: ca.File, Cert: ccert, Key: ckey}))
	if h, err := c.Probe(ctx, m.ClientURL); err != nil || !h.Serves {
		t.Errorf("probe: %+v, %v", h, err)
	}

	none := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: ca.File}))
	if _, err := none.Probe(ctx, m.ClientURL); Classify(err) != CannotTell {
		t.Errorf("no client certificate: %v: class %q", err, Classify(err))
	}

	// Issued by another CA, then replaced by good ones.
	dir := t.TempDir()
	files := certs.Files{CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	replace := func(from, to string) {
		b, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(to+".new", b, 0o600))
		must(t, os.Rename(to+".new", to))
	}
	ocert, okey := other.Issue("client")
	replace(ca.File, files.CA)
	replace(ocert, files.Cert)
	replace(okey, files.Key)
	c = clientOf(t, m, cl.ClientURLs(), withTLS(t, files))
	if _, err := c.Probe(ctx, m.ClientURL); Classify(err) != CannotTell {
		t.Errorf("client certificate of another ca: %v: class %q", err, Classify(err))
	}
	replace(ccert, files.Cert)
	replace(ckey, files.Key)
	within(t, 5*time.Second, "taking up a renewed certificate", func() {
		eventually(t, "the renewed certificate is used", func() bool {
			_, err := c.Probe(ctx, m.ClientURL)
			return err == nil
		})
	})
}
