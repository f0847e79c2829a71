package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
)

// Bounds of every phase of one question; [Timeout] is that of all of it.
const (
	dialTimeout      = time.Second
	handshakeTimeout = 2 * time.Second
	headerTimeout    = 2 * time.Second
	maxHeader        = 16 << 10 // bytes of an answer's header
)

// NewClient makes the client that reads other agents. Connections are kept: the same
// few agents are asked again and again. With certificates it speaks to https only as
// mutual TLS, and the other's certificate must bear the host that is dialled, as etcd
// wants it of its peers. Without (nil) an https URL is an error.
func NewClient(set *certs.Set) *http.Client {
	d := &dialer{net: net.Dialer{Timeout: dialTimeout}, certs: set}
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // an address of ours is never behind a proxy
			DialContext:            d.net.DialContext,
			DialTLSContext:         d.dialTLS,
			Protocols:              http1,
			DisableCompression:     true, // what is read is bounded as it comes over the wire
			MaxIdleConnsPerHost:    1,
			MaxConnsPerHost:        2,
			IdleConnTimeout:        time.Minute,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeader,
		},
	}
}

// dialer makes the connections of one client.
type dialer struct {
	net   net.Dialer
	certs *certs.Set
}

func (d *dialer) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	if d.certs == nil {
		return nil, cannotTell("no certificates are configured for https; etcd.peer_ca_file, etcd.peer_cert_file and etcd.peer_key_file name them", nil)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	raw, err := d.net.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Client(raw, d.certs.Client(host))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, d.handshakeError(err)
	}
	return &unheard{Conn: conn, dialer: d}, nil
}

// handshakeError tells silence, which is no answer, from everything else.
func (d *dialer) handshakeError(err error) error {
	var plain tls.RecordHeaderError
	var timeout net.Error
	switch {
	case errors.As(err, &plain):
		return cannotTell("it does not speak TLS; is etcd.peer_ca_file set there too?", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("TLS handshake: %w", err)
	}
	return cannotTell("TLS handshake", d.certs.Explain(err))
}

// unheard is a connection of which it is not known yet whether the other side
// accepted our certificate: in TLS 1.3 our handshake is over before it has looked.
// If it refuses, the connection breaks before its first byte, and the alert that
// tells why is often lost.
type unheard struct {
	*tls.Conn
	dialer *dialer
	heard  atomic.Bool
}

func (c *unheard) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(true)
		return n, err
	}
	return n, c.refused(err)
}

func (c *unheard) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.refused(err)
}

// refused marks an error as a refusal. A time-out, or that we closed the connection
// ourselves, is none.
func (c *unheard) refused(err error) error {
	var timeout net.Error
	if err == nil || c.heard.Load() || errors.Is(err, net.ErrClosed) || errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return cannotTell("it closes the connection right after the TLS handshake, as who does not accept a certificate", c.dialer.certs.Explain(err))
}

// cannotTell makes an error of [ErrCannotTell]; cause may be nil.
func cannotTell(words string, cause error) error { return &doubt{words, cause} }

type doubt struct {
	words string
	cause error
}

func (e *doubt) Error() string {
	if e.cause == nil {
		return e.words
	}
	return e.words + ": " + e.cause.Error()
}

func (e *doubt) Unwrap() error        { return e.cause }
func (e *doubt) Is(target error) bool { return target == ErrCannotTell }

// plainToTLS is how Go's server answers plain HTTP at a TLS port.
const plainToTLS = "Client sent an HTTP request to an HTTPS server."

// ofAnswer says what is wrong with an answer's head, which is the other agent's, or
// whoever's it is.
func ofAnswer(resp *http.Response) error {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case resp.StatusCode == http.StatusBadRequest:
		said, err := io.ReadAll(io.LimitReader(resp.Body, 256))
		if err == nil && bytes.Contains(said, []byte(plainToTLS)) {
			return cannotTell("it speaks TLS only; etcd.peer_ca_file, etcd.peer_cert_file and etcd.peer_key_file are not set here", nil)
		}
		return fmt.Errorf("it answers %s", resp.Status)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return fmt.Errorf("it answers %s, which is not followed: does another program listen there?", resp.Status)
	case resp.StatusCode == http.StatusServiceUnavailable:
		return fmt.Errorf("it answers %s: its agent has not made a pass yet", resp.Status)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("it answers %s: does another program listen there?", resp.Status)
	case strings.TrimSpace(kind) != "application/json":
		return fmt.Errorf("it answers with %q instead of application/json: does another program listen there?", resp.Header.Get("Content-Type"))
	case resp.ContentLength > MaxSize:
		return fmt.Errorf("the status is longer than %d bytes", MaxSize)
	}
	return nil
}
