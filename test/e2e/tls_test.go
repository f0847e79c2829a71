//go:build e2e && linux

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io/fs"
	"net"
	"strings"
	"testing"

	"github.com/quorumd/quorumd/test/lab"
	"github.com/quorumd/quorumd/test/testca"
	"github.com/quorumd/quorumd/units"
)

// tlsConfig is what an operator writes: one certificate that etcd shows to its
// clients and the agent to etcd, and one for etcd's and the agents' peers.
const tlsConfig = `
etcd:
  ca_file: /etc/etcd/ca.pem
  cert_file: /etc/etcd/client.pem
  key_file: /etc/etcd/client.key
  peer_ca_file: /etc/etcd/peer-ca.pem
  peer_cert_file: /etc/etcd/peer.pem
  peer_key_file: /etc/etcd/peer.key
`

// certify puts certificates of two authorities onto a host, with keys that the user
// etcd can read: an image that brings them brings the user, too.
func certify(h *lab.Host, clients, peers *testca.CA) error {
	user, err := units.File("sysusers-etcd.conf")
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"/etc/sysusers.d/etcd.conf": user,
		"/etc/etcd/ca.pem":          clients.PEM, "/etc/etcd/peer-ca.pem": peers.PEM,
		"/etc/tmpfiles.d/etcd-keys.conf": []byte("z /etc/etcd/*.key 0640 root etcd\n"),
	}
	for name, ca := range map[string]*testca.CA{"client": clients, "peer": peers} {
		cert, key, err := ca.Issue(testca.Leaf{Name: h.Spec.Hostname, IPs: []net.IP{h.Spec.Addr.AsSlice()}})
		if err != nil {
			return err
		}
		files["/etc/etcd/"+name+".pem"], files["/etc/etcd/"+name+".key"] = cert, key
	}
	for path, data := range files {
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(path, ".key") {
			mode = 0o600
		}
		if err := h.WriteFile(path, data, mode); err != nil {
			return err
		}
	}
	return nil
}

// Mutual TLS for clients, peers and agents, under the shipped units: a cluster forms,
// its leader's machine is replaced, and the command line sees all agents.
func TestMutualTLS(t *testing.T) {
	clients, err := testca.New("clients")
	if err != nil {
		t.Fatal(err)
	}
	peers, err := testca.New("peers")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := clients.Issue(testca.Leaf{Name: "application"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(clients.PEM)
	f := New(t, Config{
		Agent: tlsConfig + "force_election: {after: 10s}\n", Provision: func(h *lab.Host) error { return certify(h, clients, peers) },
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Certificates: []tls.Certificate{pair}},
	})
	before := f.Settle(f.Within(forBootstrap))

	ctx := f.Within(forOneChange)
	leader := f.Leader(ctx)
	if err := f.Cloud.TerminateInGroup(leader, false); err != nil {
		t.Fatal(err)
	}
	after := f.Settle(ctx)
	if kept := before.Kept(after); kept != 2 || after[leader] != nil {
		t.Errorf("%d of the other two members are the same as before; members %s", kept, after)
	}
	wantGap(t, f, plannedGap)

	h := f.Host(f.Leader(ctx))
	out, err := h.Exec(ctx, "/opt/bin/quorumd", "status", "--output", "json")
	var seen struct {
		Others []struct {
			Instance, Error string
			Status          *struct{ Version int }
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &seen)
	}
	answer := 0
	for _, o := range seen.Others {
		if after[o.Instance] != nil && o.Status != nil && o.Error == "" {
			answer++ // the one that is gone may still be asked
		}
	}
	if err != nil || answer != 2 {
		t.Errorf("quorumd status on %s hears %d of 2 others: %v\n%s", h.Name(), answer, err, out)
	}
	for _, what := range []string{"http://", "https://"} {
		// Neither who speaks no TLS nor who shows no certificate is told anything.
		if out, err := h.Exec(ctx, "curl", "-sk", "-m", "5", what+h.Spec.Addr.String()+":2382/v1/status"); strings.Contains(string(out), "instance") {
			t.Errorf("%s without a certificate is answered: %v\n%s", what, err, out)
		}
	}
	f.step("a majority frozen, the leader among them", forOneChange, f.freezeMajority)
}
