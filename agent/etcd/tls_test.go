package etcd

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
	"github.com/quorumd/quorumd/test/testca"
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
	must(t, good.TakeSlot(ctx, granted(policy.HoldLeaving, 1, clusterID(t, good))))

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

// A certificate that expired, ours or the member's, is named with its date, and is
// no evidence against etcd.
func TestExpiredTLS(t *testing.T) {
	t.Parallel()
	ca := etcdproc.NewCA(t)
	past := time.Date(2020, 2, 3, 4, 5, 0, 0, time.UTC)
	local := etcdproc.IPs(t)
	old := testca.Leaf{IPs: local, NotBefore: past.Add(-time.Hour), NotAfter: past}
	named := func(name string) testca.Leaf { old.Name = name; return old }
	cert, key := ca.Issue("server", local...)
	ccert, ckey := ca.IssueLeaf(named("client"))
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{
		ClientTLS: &etcdproc.ServerTLS{CertFile: cert, KeyFile: key, ClientCAFile: ca.File},
	})
	m := cl.Member("i-a")
	ctx := soon(t)
	c := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: ca.File, Cert: ccert, Key: ckey}))
	expect := func(what, text string) {
		t.Helper()
		for range 3 {
			for call, err := range map[string]error{"probe": errOf(c.Probe(ctx, m.ClientURL)), "members": errOf(c.Members(ctx))} {
				if Classify(err) != CannotTell || !strings.Contains(err.Error(), text) {
					t.Errorf("%s, %s: %v: class %q, want %q in it", what, call, err, Classify(err), text)
				}
			}
		}
	}
	expect("ours", ccert+" expired on 2020-02-03 04:05 UTC")

	// Ours is renewed in place, and then etcd's expires.
	ca.IssueLeaf(testca.Leaf{Name: "client"})
	eventually(t, "the renewed certificate is used", func() bool { return errOf(c.Members(ctx)) == nil })
	ca.IssueLeaf(named("server"))
	c = clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: ca.File, Cert: ccert, Key: ckey}))
	expect("etcd's", "the certificate that "+local[1].String()+" shows expired on 2020-02-03 04:05 UTC; renew it there")
}

// The authority is replaced: first a bundle, then etcd's certificate, then the new
// authority alone; the client is the same all the while.
func TestAuthorityReplaced(t *testing.T) {
	t.Parallel()
	old, next := etcdproc.NewCA(t), etcdproc.NewCA(t)
	cert, key := old.Issue("server")
	cl := etcdproc.Start(t, []string{"i-a"}, etcdproc.Options{ClientTLS: &etcdproc.ServerTLS{CertFile: cert, KeyFile: key}})
	m := cl.Member("i-a")
	ctx := soon(t)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	must(t, testca.Replace(bundle, old.PEM))
	c := clientOf(t, m, cl.ClientURLs(), withTLS(t, certs.Files{CA: bundle}))
	must(t, errOf(c.Members(ctx)))
	must(t, testca.Replace(bundle, slices.Concat(old.PEM, next.PEM)))
	must(t, errOf(c.Members(ctx)))
	ncert, nkey, err := next.CA.Issue(testca.Leaf{Name: "server", IPs: etcdproc.IPs(t)})
	must(t, err)
	must(t, errors.Join(testca.Replace(key, nkey), testca.Replace(cert, ncert)))
	again := func(when string) {
		t.Helper()
		m.Kill() // so that a new connection is made
		m.StartExisting(m)
		m.WaitHealthy()
		eventually(t, "etcd is believed "+when, func() bool { return errOf(c.Members(ctx)) == nil })
	}
	again("with the bundle")
	must(t, testca.Replace(bundle, next.PEM))
	again("with the new authority alone")
	must(t, testca.Replace(bundle, old.PEM))
	m.Kill()
	m.StartExisting(m)
	m.WaitHealthy()
	eventually(t, "etcd is not believed by who knows the old one only", func() bool { return Classify(errOf(c.Members(ctx))) == CannotTell })
}
