package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// login holds the token of one connection. etcd's client would fetch one when
// it is made, and block; here it is fetched when a call is refused without it,
// so that a cluster whose auth is off needs no password, and a member without
// quorum can still be asked what needs none.
type login struct {
	user     string
	password *password
	// elsewhere gets a fresh token from another member.
	elsewhere func(context.Context) (string, error)

	mu    sync.Mutex
	token string
}

// wanted reports whether an error asks for a (new) token.
func (l *login) wanted(err error) bool {
	if errors.Is(err, rpctypes.ErrPermissionDenied) {
		// Streams and some calls say so to nobody; with a token it is final.
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.token == ""
	}
	return errors.Is(err, rpctypes.ErrUserEmpty) || errors.Is(err, rpctypes.ErrInvalidAuthToken) ||
		errors.Is(err, rpctypes.ErrAuthOldRevision)
}

// renew logs in. A learner takes no passwords, but it knows the tokens that others
// gave out since it follows them.
func (l *login) renew(ctx context.Context, cl *clientv3.Client) error {
	err := l.renewHere(ctx, cl)
	if err == nil || !notForLearner(err) {
		return err
	}
	token, err := l.elsewhere(ctx)
	if err != nil {
		return &CannotTellError{Err: fmt.Errorf("log in as %s for a learner, through another member: %w", l.user, err)}
	}
	l.set(token)
	return nil
}

// renewHere logs in at this member. Passwords are checked through raft: without
// quorum this fails, and then nobody can tell whether the member serves.
func (l *login) renewHere(ctx context.Context, cl *clientv3.Client) error {
	pw, err := l.password.read()
	if err != nil {
		return &CannotTellError{Err: err}
	}
	l.set("") // etcd refuses any call that carries a bad token, this one too
	resp, err := cl.Authenticate(ctx, l.user, pw)
	if errors.Is(err, rpctypes.ErrAuthNotEnabled) {
		return nil
	}
	if err != nil {
		return &CannotTellError{Err: fmt.Errorf("log in as %s: %w", l.user, err)}
	}
	l.set(resp.Token)
	return nil
}

// tokenFromOthers logs in at a member, of all that are known but one, and gives the
// token.
func (c *Client) tokenFromOthers(ctx context.Context, not string) (string, error) {
	var errs []error
	for _, url := range c.order() {
		if url == not {
			continue
		}
		e, err := c.acquire(url)
		if err != nil {
			return "", err
		}
		// One that hangs must leave time for the next.
		bctx, cancel := context.WithTimeout(ctx, c.timing.probe/2)
		err = e.login.renewHere(bctx, e.cl)
		cancel()
		c.release(e)
		if err == nil {
			return e.login.current(), nil
		}
		errs = append(errs, &endpointError{url, err})
	}
	if errs == nil {
		return "", errNoEndpoints
	}
	return "", joined(errs)
}

func (l *login) current() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token
}

func (l *login) set(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token = token
}

// GetRequestMetadata implements gRPC's credentials.PerRPCCredentials.
func (l *login) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if token := l.current(); token != "" {
		return map[string]string{rpctypes.TokenFieldNameGRPC: token}, nil
	}
	return nil, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. etcd's auth
// without TLS is the operator's choice.
func (l *login) RequireTransportSecurity() bool { return false }
