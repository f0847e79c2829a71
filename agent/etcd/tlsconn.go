package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// refusal notices a server that closes the connection right after the TLS
// handshake, which is how a client certificate is refused: in TLS 1.3 the
// client's handshake is over before the server has looked at the certificate.
// The alert that says so is often lost, because our first write finds the
// connection closed before our first read finds the alert. Without this, a
// wrong certificate would look like a dead member.
type refusal struct {
	credentials.TransportCredentials
	// seen: the connection whose fate was known last ended so.
	seen *atomic.Bool
}

func newRefusal(cfg *tls.Config) *refusal {
	return &refusal{credentials.NewTLS(cfg), new(atomic.Bool)}
}

// ClientHandshake implements credentials.TransportCredentials.
func (r *refusal) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := r.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		r.seen.Store(false) // the error speaks for itself
		return conn, info, err
	}
	return &firstByte{Conn: conn, seen: r.seen}, info, nil
}

// Clone implements credentials.TransportCredentials.
func (r *refusal) Clone() credentials.TransportCredentials {
	return &refusal{r.TransportCredentials.Clone(), r.seen}
}

// dialer makes a connection that cannot be made clear what was seen before.
func (r *refusal) dialer(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := dial(ctx, addr)
		if err != nil {
			r.seen.Store(false)
		}
		return conn, err
	}
}

// firstByte is a connection after its TLS handshake. Whether the peer accepted
// it is known with the first byte that comes.
type firstByte struct {
	net.Conn
	seen *atomic.Bool
	got  atomic.Bool
}

func (c *firstByte) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case n > 0:
		if !c.got.Swap(true) {
			c.seen.Store(false)
		}
	case err != nil:
		c.ended(err)
	}
	return n, err
}

func (c *firstByte) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.ended(err)
	}
	return n, err
}

// ended: the connection broke. Silence until a deadline, or until we closed it
// ourselves, is no refusal.
func (c *firstByte) ended(err error) {
	var timeout net.Error
	if c.got.Load() || errors.Is(err, net.ErrClosed) || errors.As(err, &timeout) && timeout.Timeout() {
		return
	}
	c.seen.Store(true)
}
