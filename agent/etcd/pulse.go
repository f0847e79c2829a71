package etcd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/quorumd/quorumd/agent/policy"
)

// Ports are the URLs of one member's ports, of which Metrics is plain HTTP.
type Ports struct{ Client, Peer, Metrics string }

// maxMetrics bounds what is read of a member's metrics: they are some 200 KiB.
const maxMetrics = 8 << 20

// Pulse looks at one member's ports, each by itself and all at once, without asking
// anything that a quorum must answer: a member that was started while there is none
// serves no clients, but its peers' port and its metrics still answer. How long a
// port has behaved so, and whether the process answered before, is not told here.
func (c *Client) Pulse(ctx context.Context, ports Ports) policy.Pulse {
	ctx, cancel := context.WithTimeout(ctx, c.timing.probe)
	defer cancel()
	var byStatus, byMetrics, byPeer policy.Pulse
	var asked sync.WaitGroup
	asked.Go(func() { c.pulseOfClient(ctx, ports.Client, &byStatus) })
	asked.Go(func() {
		byMetrics.Metrics.Answer = c.get(ctx, ports.Metrics+"/metrics", func(r io.Reader) error { return readMetrics(&byMetrics, r) })
	})
	asked.Go(func() { byPeer.PeerPort.Answer = c.get(ctx, ports.Peer+"/version", readVersion(&byPeer)) })
	asked.Wait()
	out := byStatus
	out.Metrics, out.PeerPort, out.Leads = byMetrics.Metrics, byPeer.PeerPort, byMetrics.Leads
	if out.Version == "" {
		out.Version = byPeer.Version
	}
	// Metrics need no password, which without a leader cannot be checked. Where one of the
	// two still knows a leader there is one.
	if byMetrics.Leader != policy.LeaderUnknown {
		if out.Leader != policy.LeaderSome {
			out.Leader = byMetrics.Leader
		}
		if out.Client.Answer != policy.PortAnswers {
			out.Learner, out.Committed, out.Applied = byMetrics.Learner, byMetrics.Committed, byMetrics.Applied
		}
	}
	return out
}

func (c *Client) pulseOfClient(ctx context.Context, rawURL string, out *policy.Pulse) {
	e, err := c.acquire(normalize(rawURL))
	if err == nil {
		defer c.release(e)
		err = e.do(ctx, c.timing.probe, func(ctx context.Context, e *endpoint) error {
			st, err := e.maint.Status(ctx, e.url)
			if err != nil {
				return err
			}
			h := health(st)
			*out = policy.Pulse{LeaderID: h.Leader, Term: h.Term, Committed: h.Committed, Applied: h.Applied,
				Learner: h.Learner, NoSpace: h.NoSpace, Corrupt: h.Corrupt, Version: h.Version, Leader: policy.LeaderSome}
			if h.Leader == 0 {
				out.Leader = policy.LeaderNone
			}
			return nil
		})
	}
	switch Classify(err) {
	case NoAnswer:
		out.Client.Answer = policy.PortSilent
	case CannotTell:
		out.Client.Answer = policy.PortCannotTell
	default:
		out.Client.Answer = policy.PortAnswers
	}
}

// get asks one URL and tells what that came to.
func (c *Client) get(ctx context.Context, rawURL string, read func(io.Reader) error) policy.PortAnswer {
	u, err := url.Parse(rawURL)
	if err != nil {
		return policy.PortCannotTell
	}
	// Connections are not kept: whether a new one is accepted is the question.
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10}
	if c.cfg.PeerTLS != nil {
		transport.TLSClientConfig = c.cfg.PeerTLS.Client(u.Hostname())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return policy.PortCannotTell
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answerOf(u.Scheme, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := read(io.LimitReader(resp.Body, maxMetrics)); err != nil && ctx.Err() != nil {
			return policy.PortSilent // it began to answer and hangs
		}
	}
	return policy.PortAnswers
}

// answerOf tells silence from what TLS may be the cause of.
func answerOf(scheme string, err error) policy.PortAnswer {
	var timeout net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &timeout) && timeout.Timeout():
		return policy.PortSilent
	case errors.As(err, &op) && op.Op == "dial", scheme != "https":
		return policy.PortSilent
	}
	return policy.PortCannotTell
}

func readVersion(out *policy.Pulse) func(io.Reader) error {
	return func(r io.Reader) error {
		var is struct {
			Server string `json:"etcdserver"`
		}
		if err := json.NewDecoder(r).Decode(&is); err != nil {
			return fmt.Errorf("read version: %w", err)
		}
		out.Version = is.Server
		return nil
	}
}

// readMetrics takes from a member's metrics what tells of its raft. Prometheus's text
// format has one sample a line, "name value" where there are no labels.
func readMetrics(into *policy.Pulse, r io.Reader) error {
	out := *into
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || !(n >= 0 && n < 1<<63) { // NaN, too
			continue
		}
		switch name {
		case "etcd_server_has_leader":
			out.Leader = policy.LeaderSome
			if n == 0 {
				out.Leader = policy.LeaderNone
			}
		case "etcd_server_is_leader":
			out.Leads = n != 0
		case "etcd_server_is_learner":
			out.Learner = n != 0
		case "etcd_server_proposals_committed_total":
			out.Committed = uint64(n)
		case "etcd_server_proposals_applied_total":
			out.Applied = uint64(n)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read metrics: %w", err) // and half of them count for nothing
	}
	*into = out
	return nil
}
