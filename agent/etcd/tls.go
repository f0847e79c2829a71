package etcd

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// TLSFiles names PEM files. CAFile alone: only the server shows a certificate.
// CertFile and KeyFile too: mutual TLS. They are read again when they change,
// so that a renewed certificate needs no restart.
type TLSFiles struct {
	CAFile            string
	CertFile, KeyFile string
}

// tlsFiles caches what the files hold.
type tlsFiles struct {
	files TLSFiles
	ca    watchedFile
	cert  watchedFile
	key   watchedFile

	mu    sync.Mutex
	roots *x509.CertPool
	pair  *tls.Certificate
}

func newTLSFiles(f TLSFiles) (*tlsFiles, error) {
	if f.CAFile == "" {
		return nil, errors.New("tls: ca file is not set")
	}
	if (f.CertFile == "") != (f.KeyFile == "") {
		return nil, errors.New("tls: certificate file and key file go together")
	}
	return &tlsFiles{
		files: f,
		ca:    watchedFile{path: f.CAFile}, cert: watchedFile{path: f.CertFile}, key: watchedFile{path: f.KeyFile},
	}, nil
}

// config makes the TLS configuration for one host. crypto/tls reads its roots
// once, when a connection is configured; so the usual verification is switched
// off there and done in VerifyConnection, against the roots of this moment.
func (t *tlsFiles) config(host string) *tls.Config {
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection:   func(cs tls.ConnectionState) error { return t.verify(cs, host) },
	}
	if t.files.CertFile != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.clientPair() }
	}
	return cfg
}

func (t *tlsFiles) verify(cs tls.ConnectionState, host string) error {
	roots, err := t.currentRoots()
	if err != nil {
		return err
	}
	if len(cs.PeerCertificates) == 0 {
		return errors.New("tls: server shows no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err = cs.PeerCertificates[0].Verify(opts)
	return err
}

func (t *tlsFiles) currentRoots() (*x509.CertPool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	data, changed, err := t.ca.read()
	if err != nil {
		return nil, fmt.Errorf("tls: read ca file: %w", err)
	}
	if changed || t.roots == nil {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("tls: no certificate in ca file %s", t.files.CAFile)
		}
		t.roots = roots
	}
	return t.roots, nil
}

func (t *tlsFiles) clientPair() (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cert, certChanged, err := t.cert.read()
	if err != nil {
		return nil, fmt.Errorf("tls: read certificate file: %w", err)
	}
	key, keyChanged, err := t.key.read()
	if err != nil {
		return nil, fmt.Errorf("tls: read key file: %w", err)
	}
	if certChanged || keyChanged || t.pair == nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			// The two files are replaced one after the other; until both are,
			// the old pair is the one that fits together.
			if t.pair != nil {
				t.cert.forget()
				t.key.forget()
				return t.pair, nil
			}
			return nil, fmt.Errorf("tls: load %s: %w", t.files.CertFile, err)
		}
		t.pair = &pair
	}
	return t.pair, nil
}

// watchedFile is a small file, read again when its size or time changed.
type watchedFile struct {
	path string
	size int64
	mod  time.Time
	data []byte
}

func (w *watchedFile) read() (data []byte, changed bool, err error) {
	info, err := os.Stat(w.path)
	if err != nil {
		return nil, false, err
	}
	if w.data != nil && info.Size() == w.size && info.ModTime().Equal(w.mod) {
		return w.data, false, nil
	}
	data, err = os.ReadFile(w.path)
	if err != nil {
		return nil, false, err
	}
	changed = !bytes.Equal(data, w.data)
	w.size, w.mod, w.data = info.Size(), info.ModTime(), data
	return data, changed, nil
}

func (w *watchedFile) forget() { w.data = nil }

// password is the content of the password file.
type password struct {
	path string
	mu   sync.Mutex
	file watchedFile
}

func (p *password) read() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.file.path = p.path
	data, _, err := p.file.read()
	if err != nil {
		return "", fmt.Errorf("read password file: %w", err)
	}
	pw := strings.TrimRight(string(data), "\r\n")
	if pw == "" {
		return "", fmt.Errorf("password file %s is empty", p.path)
	}
	return pw, nil
}
