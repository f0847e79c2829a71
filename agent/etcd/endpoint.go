package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/quorumd/quorumd/agent/certs"
)

// endpoint is one client URL and the connection to it.
type endpoint struct {
	url   string
	cl    *clientv3.Client
	maint clientv3.Maintenance // Status of clientv3.Client would dial anew each time
	login *login               // nil without a user name

	refusal *refusal   // nil without TLS
	certs   *certs.Set // nil without TLS files

	// Guarded by Client.mu.
	busy   int
	used   time.Time
	failed bool // the last call got no answer
}

// dial prepares the connection to a URL; gRPC makes it on first use.
func (c *Client) dial(rawURL string) (*endpoint, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("endpoint %q is not an http or https url", rawURL)
	}
	dialer := c.cfg.DialContext
	if dialer == nil {
		dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	}
	e := &endpoint{url: rawURL, used: time.Now(), certs: c.cfg.TLS}
	var opts []grpc.DialOption
	if u.Scheme == "https" {
		conf := &tls.Config{MinVersion: tls.VersionTLS12} // the system's authorities
		if c.cfg.TLS != nil {
			conf = c.cfg.TLS.Client(u.Hostname())
		}
		e.refusal = newRefusal(conf)
		dialer = e.refusal.dialer(dialer)
		opts = append(opts, grpc.WithTransportCredentials(e.refusal))
	}
	opts = append(opts,
		grpc.WithContextDialer(dialer),
		grpc.WithNoProxy(),
		// A member that comes back must be noticed within a poll or so.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
			},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(failFast),
	)
	opts = append(opts, c.cfg.DialOptions...)
	if c.password != nil {
		e.login = &login{user: c.cfg.Username, password: c.password, elsewhere: func(ctx context.Context) (string, error) {
			return c.tokenFromOthers(ctx, rawURL)
		}}
		opts = append(opts, grpc.WithPerRPCCredentials(e.login))
	}
	cfg := clientv3.Config{
		Endpoints: []string{rawURL},
		Logger:    zap.NewNop(),
		// Pings only while a stream is open; not more often than every 5 s,
		// which etcd's default would punish. The timeout also bounds how long
		// unacknowledged data keeps a dead connection (TCP_USER_TIMEOUT).
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		MaxUnaryRetries:      1, // one attempt: retries are ours
		DialOptions:          opts,
	}
	if e.cl, err = clientv3.New(cfg); err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", rawURL, err)
	}
	e.maint = clientv3.NewMaintenanceFromMaintenanceClient(
		clientv3.RetryMaintenanceClient(e.cl, e.cl.ActiveConnection()), e.cl)
	return e, nil
}

// failFast makes a call fail while its connection cannot be made, with the
// reason why. etcd's client would wait for the connection instead, and tell
// only that time ran out.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

func (e *endpoint) close() { _ = e.cl.Close() } // its error is the cancelled context

// do calls f within a bound, and once more with a fresh token when etcd asks to
// log in. What f does must bear repetition.
func (e *endpoint) do(ctx context.Context, bound time.Duration, f func(context.Context, *endpoint) error) error {
	bctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	err := f(bctx, e)
	if e.login != nil && e.login.wanted(err) {
		if err = e.login.renew(bctx, e.cl); err == nil {
			err = f(bctx, e)
		}
	}
	switch {
	case err == nil:
		return nil
	case e.refusal != nil && e.refusal.seen.Load() && status.Code(err) == codes.Unavailable:
		return &endpointError{e.url, &CannotTellError{e.explain(fmt.Errorf("connection closed after the tls handshake: %w", err))}}
	case e.refusal != nil && Classify(err) == CannotTell && status.Code(err) == codes.Unavailable:
		return &endpointError{e.url, &CannotTellError{e.explain(err)}}
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return &endpointError{e.url, fmt.Errorf("no answer within %s: %w", bound, err)}
	}
	return fmt.Errorf("%s: %w", e.url, err)
}

// explain adds what is wrong with our own certificate files.
func (e *endpoint) explain(err error) error {
	if e.certs == nil {
		return err
	}
	return e.certs.Explain(err)
}
