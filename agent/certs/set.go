package certs

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Files names PEM files. CA alone: only the server shows a certificate. Cert and
// Key too: mutual TLS.
type Files struct{ CA, Cert, Key string }

// Set is what the files hold. Its methods may be used concurrently.
type Set struct {
	files Files
	log   *slog.Logger

	mu     sync.Mutex
	ca     file
	cert   file
	key    file
	roots  *x509.CertPool
	rootsT time.Time // when the last of the authorities expires
	pair   *tls.Certificate
	// What is wrong with what the files hold now; empty: nothing.
	rootsErr, pairErr string
}

// New makes a set. Files that are not there yet are no error: they may come later.
// log is told once when a file cannot be used, and when it can again; nil: nobody.
func New(f Files, log *slog.Logger) (*Set, error) {
	if f.CA == "" {
		return nil, errors.New("tls: the file of the certificate authority is not set")
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("tls: the certificate file and the key file go together")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Set{files: f, log: log, ca: file{path: f.CA}, cert: file{path: f.Cert}, key: file{path: f.Key}}, nil
}

// Client gives the configuration for connections to one host, whose name or address
// the server's certificate must bear. crypto/tls reads its authorities once, when a
// connection is configured; so its own verification is off, and VerifyConnection
// does the same against the authorities of that moment.
func (s *Set) Client(host string) *tls.Config {
	cfg := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		ServerName:             host,
		SessionTicketsDisabled: true, // a resumed session would not show its certificate
		InsecureSkipVerify:     true, // VerifyConnection does it
		VerifyConnection:       func(cs tls.ConnectionState) error { return s.verify(cs, host) },
	}
	if s.files.Cert != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.current() }
	}
	return cfg
}

// Server gives the configuration of a server that lets in only clients with a
// certificate of the authority. The set must have a certificate.
func (s *Set) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pair, err := s.current()
			if err != nil {
				return nil, err
			}
			roots, err := s.authorities()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion:             tls.VersionTLS12,
				SessionTicketsDisabled: true,
				Certificates:           []tls.Certificate{*pair},
				ClientAuth:             tls.RequireAndVerifyClientCert,
				ClientCAs:              roots,
				NextProtos:             []string{"http/1.1"},
			}, nil
		},
	}
}

func (s *Set) verify(cs tls.ConnectionState, host string) error {
	roots, err := s.authorities()
	if err != nil {
		return err
	}
	if len(cs.PeerCertificates) == 0 {
		return errors.New("tls: the server shows no certificate")
	}
	leaf := cs.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: roots, DNSName: host, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err = leaf.Verify(opts)
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert == leaf {
		return fmt.Errorf("the certificate that %s shows %s; renew it there: %w", host, validity(leaf.NotBefore, leaf.NotAfter, time.Now()), err)
	}
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return fmt.Errorf("the certificate that %s shows is not of the authorities in %s: %w", host, s.files.CA, err)
	}
	return err
}

// validity says in words what is wrong with a period of validity; empty: nothing.
func validity(from, to, now time.Time) string {
	switch {
	case now.After(to):
		return "expired on " + date(to)
	case now.Before(from):
		return "is not valid before " + date(from)
	}
	return ""
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// authorities are those in the CA file, or the last good ones.
func (s *Set) authorities() (*x509.CertPool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readRootsLocked()
	if s.roots == nil {
		return nil, errors.New("tls: " + s.rootsErr)
	}
	return s.roots, nil
}

func (s *Set) readRootsLocked() {
	changed, err := s.ca.read()
	if err == nil && !changed && s.rootsErr == "" {
		return
	}
	if err != nil {
		s.note(&s.rootsErr, fmt.Sprintf("the file of the certificate authority cannot be read: %v", err), s.roots != nil)
		return
	}
	pool, last, err := parseRoots(s.ca.data)
	if err != nil {
		s.note(&s.rootsErr, fmt.Sprintf("%s: %v", s.files.CA, err), s.roots != nil)
		return
	}
	s.roots, s.rootsT = pool, last
	s.note(&s.rootsErr, "", true)
}

// parseRoots reads a bundle, all of it: a block that cannot be read is a file that
// is being written.
func parseRoots(data []byte) (pool *x509.CertPool, last time.Time, err error) {
	pool = x509.NewCertPool()
	ends := bytes.Count(data, []byte("-----END "))
	for n := 0; ; n++ {
		var block *pem.Block
		block, data = pem.Decode(data)
		switch {
		case block == nil && n == 0:
			return nil, last, errors.New("there is no certificate in it")
		case block == nil && bytes.Contains(data, []byte("-----BEGIN")):
			return nil, last, errors.New("its end is missing")
		case block == nil && n != ends:
			return nil, last, fmt.Errorf("%d of its %d certificates can be read", n, ends) // damaged ones are skipped
		case block == nil:
			return pool, last, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, last, fmt.Errorf("it holds a %s, allowed: certificates only", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, last, err
		}
		pool.AddCert(c)
		if c.NotAfter.After(last) {
			last = c.NotAfter
		}
	}
}

// current is the certificate with its key, or the last good one.
func (s *Set) current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readPairLocked()
	if s.pair == nil {
		return nil, errors.New("tls: " + s.pairErr)
	}
	return s.pair, nil
}

func (s *Set) readPairLocked() {
	certChanged, certErr := s.cert.read()
	keyChanged, keyErr := s.key.read()
	if err := cmp.Or(certErr, keyErr); err != nil {
		s.note(&s.pairErr, fmt.Sprintf("the certificate and its key cannot be read: %v", err), s.pair != nil)
		return
	}
	if !certChanged && !keyChanged && s.pairErr == "" {
		return
	}
	pair, err := tls.X509KeyPair(s.cert.data, s.key.data)
	if err != nil {
		// The two are replaced one after the other; until both are, the old pair is
		// the one that fits together.
		s.note(&s.pairErr, fmt.Sprintf("%s and %s: %v", s.files.Cert, s.files.Key, err), s.pair != nil)
		return
	}
	s.pair = &pair
	s.note(&s.pairErr, "", true)
}

// note keeps what is wrong, and says what is new about it; kept: there is an older
// content that is used meanwhile.
func (s *Set) note(at *string, problem string, kept bool) {
	was := *at
	*at = problem
	switch {
	case problem == was:
	case problem == "":
		s.log.Info("certificate files are good again", "problem", was)
	case kept:
		s.log.Warn("certificate files cannot be used, the old content stays in use", "problem", problem)
	default:
		s.log.Warn("certificate files cannot be used", "problem", problem)
	}
}
