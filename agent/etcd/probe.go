package etcd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/agent/policy"
)

// Probe tells the state of the member behind a client URL, asking nobody else.
// An error means that it cannot be told; a member that answers but cannot serve
// a linearizable read gives Serves == false. A learner never serves: etcd
// refuses such reads there.
//
// The alarms come with the status. Asking for them by etcd's alarm call would
// write to the log of every member each time (it goes through raft).
func (c *Client) Probe(ctx context.Context, clientURL string) (policy.Health, error) {
	var h policy.Health
	url := normalize(clientURL)
	e, err := c.acquire(url)
	if err != nil {
		return h, fmt.Errorf("probe: %w", err)
	}
	defer c.release(e)
	ctx, cancel := context.WithTimeout(ctx, c.timing.probe)
	defer cancel()
	err = e.do(ctx, c.timing.probe, func(ctx context.Context, e *endpoint) error {
		st, err := e.maint.Status(ctx, url)
		if err == nil {
			h = health(st)
		}
		return err
	})
	if err == nil && !h.Learner {
		rerr := e.do(ctx, c.timing.probe, func(ctx context.Context, e *endpoint) error {
			_, err := e.cl.Get(ctx, c.keys().slots(), clientv3.WithCountOnly())
			return err
		})
		h.Serves = rerr == nil
		if Classify(rerr) == CannotTell {
			err = rerr
		}
	}
	if ctx.Err() != context.Canceled { // else it says something of the caller only
		c.probed(e, err, h.Serves && h.Leader == h.Member)
	}
	if err != nil {
		return policy.Health{}, fmt.Errorf("probe: %w", err)
	}
	return h, nil
}

// probed remembers that an endpoint is away, or no longer so, and which one leads. Unlike
// a call's success another probe's does not make the endpoint the preferred one.
func (c *Client) probed(e *endpoint, err error, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.failed = err != nil
	switch {
	case err == nil && leads:
		c.leads = e.url
	case c.leads == e.url:
		c.leads = ""
	}
}

func health(st *clientv3.StatusResponse) policy.Health {
	h := policy.Health{
		Cluster:   policy.ClusterID(st.Header.ClusterId),
		Member:    policy.MemberID(st.Header.MemberId),
		Leader:    policy.MemberID(st.Leader),
		Learner:   st.IsLearner,
		Term:      st.RaftTerm,
		Committed: st.RaftIndex,
		Applied:   st.RaftAppliedIndex,
		Version:   st.Version,
	}
	for _, e := range st.Errors {
		switch alarm, ok := alarmOf(e, st.Header.MemberId); {
		case !ok:
		case alarm == "CORRUPT":
			h.Corrupt = true
		case alarm == "NOSPACE":
			h.NoSpace = true
		}
	}
	return h
}

// alarmOf reads an alarm of one member from a line of Status: protobuf's text
// form, "memberID:10276657743932975437 alarm:NOSPACE ", whose spaces vary.
func alarmOf(line string, member uint64) (string, bool) {
	var id, alarm string
	for _, f := range strings.Fields(strings.ReplaceAll(line, ": ", ":")) {
		if v, ok := strings.CutPrefix(f, "memberID:"); ok {
			id = v
		}
		if v, ok := strings.CutPrefix(f, "alarm:"); ok {
			alarm = v
		}
	}
	n, err := strconv.ParseUint(id, 10, 64)
	return alarm, err == nil && n == member && alarm != ""
}
