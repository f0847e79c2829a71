package agent

import (
	"context"
	"net/url"
	"slices"
	"sort"
	"sync"

	"github.com/quorumd/quorumd/agent/policy"
)

// observePeers reads every other agent whose address is known.
func (a *Agent) observePeers(ctx context.Context) {
	v := a.board.snapshot()
	v.Now = a.now()
	hosts := peerHosts(v)
	a.board.mu.Lock()
	for id := range a.board.view.Peers {
		if _, ok := hosts[id]; !ok {
			delete(a.board.view.Peers, id)
		}
	}
	a.board.mu.Unlock()
	var wg sync.WaitGroup
	for id, host := range hosts {
		wg.Go(func() { a.readPeer(ctx, id, host) })
	}
	wg.Wait()
}

func (a *Agent) readPeer(ctx context.Context, id policy.InstanceID, host string) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	began := a.now()
	p, err := a.parts.Peers.Peer(ctx, host)
	a.metrics.peerPoll.Observe(a.now().Sub(began).Seconds())
	if err == nil && p.Instance != id {
		err = &wrongPeerError{want: id, got: p.Instance, host: host}
	}
	putIn(a.board, "agent of "+string(id), func(v *policy.View) map[policy.InstanceID]policy.Fact[policy.Peer] { return v.Peers }, id, p, began, err)
}

type wrongPeerError struct {
	want, got policy.InstanceID
	host      string
}

func (e *wrongPeerError) Error() string {
	return "the agent at " + e.host + " is " + string(e.got) + "'s, not " + string(e.want) + "'s"
}

// peerHosts finds the address of every other agent: from EC2, from the member
// list, and from the promise on disk, in this order.
func peerHosts(v policy.View) map[policy.InstanceID]string {
	hosts := map[policy.InstanceID]string{}
	add := func(id policy.InstanceID, host string) {
		if _, ok := hosts[id]; !ok && id != "" && id != v.Self.Instance && host != "" {
			hosts[id] = host
		}
	}
	// Where the cluster is known and nobody watches the group any more, its list is
	// history: instances in it that are no members have long gone or never joined.
	if !v.Members.Known() || v.Now.Sub(v.Group.At) <= groupHistory {
		for id, i := range v.Instances.Value {
			if i.State != policy.InstanceTerminated && i.State != policy.InstanceNotFound {
				add(id, i.Address)
			}
		}
	}
	for _, m := range v.Members.Value.Members {
		if len(m.PeerURLs) > 0 {
			add(v.Members.Value.Instance(m), hostOf(m.PeerURLs[0]))
		}
	}
	if !v.Members.Ever() && v.Record.Instance == v.Self.Instance {
		// etcd and AWS may both be away.
		for _, m := range v.Record.Voters {
			if i, ok := v.Instances.Value[m.Instance]; !ok || i.State != policy.InstanceTerminated {
				add(m.Instance, hostOf(m.PeerURL))
			}
		}
	}
	if v.Record.Promise != nil && !v.Members.Ever() {
		for _, m := range v.Record.Promise.Members {
			if i, ok := v.Instances.Value[m.Instance]; !ok || i.State != policy.InstanceTerminated {
				add(m.Instance, hostOf(m.PeerURL))
			}
		}
	}
	return hosts
}

func hostOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// endpoints are the client URLs at which members may be found: configured, from
// the member list, from disk, and of every instance of the group whose address is
// known. This node's own comes last.
func (a *Agent) endpoints() []string {
	if len(a.opts.Endpoints) > 0 {
		return a.opts.Endpoints
	}
	v := a.board.snapshot()
	v.Now = a.now()
	var out []string
	add := func(u string) {
		if u != "" && u != v.Self.ClientURL && !slices.Contains(out, u) {
			out = append(out, u)
		}
	}
	for _, m := range v.Members.Value.Members {
		for _, u := range m.ClientURLs {
			add(u)
		}
	}
	for _, u := range v.Record.Endpoints {
		add(u)
	}
	var found []string
	for _, host := range peerHosts(v) {
		found = append(found, a.opts.ClientURL(host))
	}
	sort.Strings(found)
	for _, u := range found {
		add(u)
	}
	if v.Self.ClientURL != "" {
		out = append(out, v.Self.ClientURL)
	}
	return out
}
