package etcd

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/policy"
)

// Config is what a Client needs to know.
type Config struct {
	// Cluster is part of every key: /quorumd/<Cluster>/.
	Cluster string
	// Group is the lock's group that this node belongs to; empty: policy.MembersGroup.
	Group string
	// Self is this node. Its ClientURL is the endpoint asked last.
	Self policy.Self
	// TLS, for https endpoints; nil: the system's certificate authorities.
	TLS *certs.Set
	// PeerTLS, for https peer URLs: etcd's own certificate among its peers.
	PeerTLS *certs.Set
	// Username and PasswordFile are for clusters with etcd's auth switched on.
	Username, PasswordFile string
	// DialContext makes connections; nil: plain TCP, never through a proxy.
	DialContext func(ctx context.Context, addr string) (net.Conn, error)
	// DialOptions are added to every connection's: to count calls, say.
	DialOptions []grpc.DialOption
	// Log gets what no caller is told (a queue place that was lost); nil: nothing.
	Log *slog.Logger
}

// timing holds every duration of the package, so that tests can shorten them.
type timing struct {
	call    time.Duration // bound of one call through one endpoint
	probe   time.Duration // bound of one probe
	stagger time.Duration // a read asks the next endpoint after this long
	idle    time.Duration // a connection that nobody names or uses is kept this long
	ttl     time.Duration // of the lease under the places in the queues
	renew   time.Duration // between renewals of that lease
	look    time.Duration // a waiter looks at the lock this often, whatever its watch says
	share   time.Duration // who was woken looks at the lock this soon; then the waiter need not
	retry   time.Duration // between attempts to get into the queue
	leave   time.Duration // for leaving the queue, after the caller's context ended
}

func defaultTiming() timing {
	return timing{
		call:    2 * time.Second,
		probe:   time.Second,
		stagger: 300 * time.Millisecond,
		idle:    time.Minute,
		ttl:     60 * time.Second, // an etcd election and a restart of the agent fit in
		renew:   20 * time.Second,
		look:    5 * time.Minute,
		share:   500 * time.Millisecond,
		retry:   time.Second,
		leave:   5 * time.Second,
	}
}

// Client talks to one etcd cluster. Its methods may be used concurrently.
type Client struct {
	cfg      Config
	timing   timing
	password *password // nil without a user name
	lease    lease

	// What is known of the lock; see standing.go.
	known    sync.Mutex
	seen     *lockView     // by the last look
	news     chan struct{} // closed by the next
	standing standings

	mu     sync.Mutex
	closed bool
	wanted []string // as given to SetEndpoints, normalized
	pool   map[string]*endpoint
	last   string // the endpoint that answered last
	leads  string // the one whose member led when it was probed last, empty: not known
}

// New makes a client. It does not connect yet.
func New(cfg Config) (*Client, error) {
	if cfg.Cluster == "" || strings.Contains(cfg.Cluster, "/") {
		return nil, errors.New("cluster name is empty or contains a slash")
	}
	if cfg.Group == "" {
		cfg.Group = policy.MembersGroup
	}
	if strings.Contains(cfg.Group, "/") {
		return nil, errors.New("the lock's group contains a slash")
	}
	if cfg.Self.Instance == "" || strings.Contains(string(cfg.Self.Instance), "/") {
		return nil, errors.New("instance id is empty or contains a slash")
	}
	if (cfg.Username == "") != (cfg.PasswordFile == "") {
		return nil, errors.New("user name and password file go together")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	timing := defaultTiming()
	if cfg.Group != policy.MembersGroup {
		// Thousands may wait here, and every renewal is work for etcd's leader.
		timing.ttl, timing.renew = 2*timing.ttl, 2*timing.renew
	}
	c := &Client{cfg: cfg, timing: timing, pool: map[string]*endpoint{}, news: make(chan struct{})}
	if cfg.Username != "" {
		c.password = &password{file: certs.NewSecret(cfg.PasswordFile)}
	}
	return c, nil
}

// Close closes every connection. Calls under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	pool := c.pool
	c.pool, c.closed = map[string]*endpoint{}, true
	c.mu.Unlock()
	for _, e := range pool {
		e.close()
	}
	return nil
}

// SetEndpoints says where members may be found: client URLs, in any order. It
// is meant to be called often; connections are kept while their URL stays.
func (c *Client) SetEndpoints(urls []string) {
	wanted := make([]string, 0, len(urls))
	for _, u := range urls {
		if u = normalize(u); u != "" && !slices.Contains(wanted, u) {
			wanted = append(wanted, u)
		}
	}
	c.mu.Lock()
	c.wanted = wanted
	dropped := c.sweepLocked(time.Now())
	c.mu.Unlock()
	for _, e := range dropped {
		e.close()
	}
}

// sweepLocked takes the connections out of the pool that nobody named or used
// for a while. A member that is asked about is thereby never redialled only
// because one pass did not name it.
func (c *Client) sweepLocked(now time.Time) []*endpoint {
	for _, u := range c.wanted {
		if e := c.pool[u]; e != nil {
			e.used = now
		}
	}
	var dropped []*endpoint
	for u, e := range c.pool {
		if e.busy == 0 && now.Sub(e.used) > c.timing.idle {
			dropped = append(dropped, e)
			delete(c.pool, u)
		}
	}
	return dropped
}

// acquire gives the endpoint of a URL; release it after use.
func (c *Client) acquire(url string) (*endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	e := c.pool[url]
	if e == nil {
		var err error
		if e, err = c.dial(url); err != nil {
			return nil, err
		}
		c.pool[url] = e
	}
	e.busy++
	return e, nil
}

func (c *Client) release(e *endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.busy--
	e.used = time.Now()
}

// order gives the URLs to ask, best first.
func (c *Client) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := normalize(c.cfg.Self.ClientURL)
	rank := func(u string) int {
		e := c.pool[u]
		switch {
		case u == own:
			return 4
		case e != nil && e.failed:
			return 3
		case u == c.leads: // a follower would only hand it on, and answer later
			return 0
		case u == c.last:
			return 1
		}
		return 2
	}
	urls := slices.Clone(c.wanted)
	slices.SortStableFunc(urls, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return urls
}

// noted remembers whether an endpoint answered.
func (c *Client) noted(e *endpoint, err error) {
	if errors.Is(err, context.Canceled) {
		return // says something of the caller only
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.failed = err != nil && Classify(err) != Refused
	if err == nil {
		c.last = e.url
	}
}

func normalize(url string) string { return strings.TrimRight(strings.TrimSpace(url), "/") }
