//go:build linux

package hosts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/quorumd/quorumd/test/testca"
)

// Security is how etcd and the agents of a fleet trust each other; the zero value:
// everybody may do everything.
type Security struct {
	// Clients: etcd shows its clients a certificate; ClientCerts: and wants one.
	Clients, ClientCerts bool
	// Peers: etcd's members among themselves and agents among themselves speak
	// mutual TLS.
	Peers bool
	// User and Password are what agents log in with, once [Fleet.EnableAuth] was
	// called.
	User, Password string
}

// Files of certificates on every host, in [Host.CertDir].
const (
	caFile     = "ca.pem"
	ServerPair = "server" // etcd shows it to clients: server.pem, server.key
	ClientPair = "client" // the agent shows it to etcd
	PeerPair   = "peer"   // etcd and the agent show it to others of their kind
)

// authorities issue the certificates of a fleet. The first one is that of new
// certificates, all are believed.
type authorities struct {
	mu  sync.Mutex
	all []*testca.CA
}

func newAuthorities() (*authorities, error) {
	ca, err := testca.New("ca 1")
	if err != nil {
		return nil, err
	}
	return &authorities{all: []*testca.CA{ca}}, nil
}

func (a *authorities) list() []*testca.CA {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// AddAuthority makes a new authority; from now on it is believed too, by hosts that
// are given their files anew. UseAuthority makes it the one that issues, and
// ForgetAuthorities the only one.
func (f *Fleet) AddAuthority() error {
	ca, err := testca.New("another ca")
	if err != nil {
		return err
	}
	f.ca.mu.Lock()
	defer f.ca.mu.Unlock()
	f.ca.all = append(f.ca.all, ca)
	return nil
}

// UseAuthority: the newest authority issues from now on.
func (f *Fleet) UseAuthority() {
	f.ca.mu.Lock()
	defer f.ca.mu.Unlock()
	slices.Reverse(f.ca.all)
}

// ForgetAuthorities: nobody but the one that issues is believed any more.
func (f *Fleet) ForgetAuthorities() {
	f.ca.mu.Lock()
	defer f.ca.mu.Unlock()
	f.ca.all = f.ca.all[:1]
}

// CertDir holds the certificates of the host.
func (h *Host) CertDir() string { return filepath.Join(h.Dir, "tls") }

// Certify gives the host all its certificates anew, and the bundle of authorities.
// Each file is replaced at once, one after the other.
func (h *Host) Certify() error {
	var bundle []byte
	for _, ca := range h.fleet.ca.list() {
		bundle = append(bundle, ca.PEM...)
	}
	if err := testca.Replace(filepath.Join(h.CertDir(), caFile), bundle); err != nil {
		return err
	}
	for _, pair := range []string{ServerPair, ClientPair, PeerPair} {
		if err := h.CertifyAs(pair, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// CertifyAs gives the host one pair anew, which expires then; zero: tomorrow.
func (h *Host) CertifyAs(pair string, expires time.Time) error {
	l := testca.Leaf{
		Name: h.fleet.cfg.Security.User, NotAfter: expires,
		// 127.0.0.1 is what this host's connections come from: they are not bound.
		IPs: []net.IP{h.Addr.AsSlice(), net.IPv4(127, 0, 0, 1)},
	}
	if !expires.IsZero() {
		l.NotBefore = expires.Add(-time.Hour)
	}
	cert, key, err := h.fleet.ca.list()[0].Issue(l)
	if err != nil {
		return err
	}
	path := filepath.Join(h.CertDir(), pair)
	return errors.Join(testca.Replace(path+".pem", cert), testca.Replace(path+".key", key))
}

// PasswordFile is where the agent reads its password.
func (h *Host) PasswordFile() string { return filepath.Join(h.Dir, "password") }

// secure puts what a new host needs onto its disk, and gives the lines of etcd's
// section that name it.
func (h *Host) secure() (lines string, err error) {
	s := h.fleet.cfg.Security
	var b strings.Builder
	name := func(key, file string) { fmt.Fprintf(&b, "  %s: %s\n", key, filepath.Join(h.CertDir(), file)) }
	if s.Clients {
		name("ca_file", caFile)
		name("server_cert_file", ServerPair+".pem")
		name("server_key_file", ServerPair+".key")
	}
	if s.ClientCerts {
		name("cert_file", ClientPair+".pem")
		name("key_file", ClientPair+".key")
	}
	if s.Peers {
		name("peer_ca_file", caFile)
		name("peer_cert_file", PeerPair+".pem")
		name("peer_key_file", PeerPair+".key")
	}
	if s.Clients || s.Peers {
		if err := h.Certify(); err != nil {
			return "", err
		}
	}
	if s.User != "" {
		fmt.Fprintf(&b, "  username: %s\n  password_file: %s\n", s.User, h.PasswordFile())
		err = os.WriteFile(h.PasswordFile(), []byte(s.Password+"\n"), 0o600)
	}
	return b.String(), err
}

func (s Security) clientScheme() string { return scheme(s.Clients) }
func (s Security) peerScheme() string   { return scheme(s.Peers) }

func scheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// clientTLS is for whoever is no host: it has a certificate of the authority that
// issues, and believes all, as of each handshake.
func (f *Fleet) clientTLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(cs tls.ConnectionState) error {
			roots := x509.NewCertPool()
			for _, ca := range f.ca.list() {
				roots.AppendCertsFromPEM(ca.PEM)
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: cs.ServerName})
			return err
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, key, err := f.ca.list()[0].Issue(testca.Leaf{Name: f.cfg.Security.User})
			if err != nil {
				return nil, err
			}
			pair, err := tls.X509KeyPair(cert, key)
			return &pair, err
		},
	}
}

// client of this fleet's etcd, with certificate and password; the caller closes it.
func (f *Fleet) client(endpoints ...string) (*clientv3.Client, error) {
	s := f.cfg.Security
	if s == (Security{}) {
		return Client(endpoints...)
	}
	cfg := clientv3.Config{Endpoints: endpoints, DialTimeout: 2 * time.Second, Logger: zap.NewNop(), Username: s.User, Password: s.Password}
	if s.Clients {
		cfg.TLS = f.clientTLS()
	}
	return clientv3.New(cfg)
}

// agentClient reads the status of agents.
func (f *Fleet) agentClient() *http.Client {
	if !f.cfg.Security.Peers {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: f.clientTLS(), DisableKeepAlives: true}}
}

// EnableAuth switches etcd's auth on: the fleet's user, with the role root, and the
// user root, whom etcd wants to be there.
func (f *Fleet) EnableAuth(ctx context.Context) error {
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		return err
	}
	defer client.Close()
	s := f.cfg.Security
	if _, err := client.RoleAdd(ctx, "root"); err != nil {
		return err
	}
	for _, user := range []string{"root", s.User} {
		if _, err := client.UserAdd(ctx, user, s.Password); err != nil {
			return err
		}
		if _, err := client.UserGrantRole(ctx, user, "root"); err != nil {
			return err
		}
	}
	_, err = client.AuthEnable(ctx)
	return err
}
