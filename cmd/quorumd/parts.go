package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/quorumd/quorumd/agent/etcd/datadir"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/agent/record"
)

// awsCalls gives the loop AWS as method values. A *lifecycle.Fleet must not become
// an interface value: the linker then keeps every operation of the SDK's clients
// that it holds, and the binary is twice as large.
type awsCalls struct {
	group     func(context.Context) (policy.Group, error)
	instances func(context.Context, []policy.InstanceID) (map[policy.InstanceID]policy.Instance, error)
	heartbeat func(context.Context, string) error
	complete  func(context.Context, string, policy.HookResult) error
	writeTag  func(context.Context, string) error
	deleteTag func(context.Context, string) error
}

func (a awsCalls) Group(ctx context.Context) (policy.Group, error) { return a.group(ctx) }

func (a awsCalls) Instances(ctx context.Context, ids []policy.InstanceID) (map[policy.InstanceID]policy.Instance, error) {
	return a.instances(ctx, ids)
}

func (a awsCalls) Heartbeat(ctx context.Context, hook string) error { return a.heartbeat(ctx, hook) }

func (a awsCalls) Complete(ctx context.Context, hook string, r policy.HookResult) error {
	return a.complete(ctx, hook, r)
}

func (a awsCalls) WriteTag(ctx context.Context, v string) error { return a.writeTag(ctx, v) }

func (a awsCalls) DeleteTag(ctx context.Context, v string) error { return a.deleteTag(ctx, v) }

// disk is this node's record and etcd's data directory.
type disk struct {
	store record.Store
	dir   string
}

func (d *disk) Data() (policy.Data, error) { return datadir.Inspect(d.dir) }

func (d *disk) Save(r policy.Record) error { return d.store.Save(r) }

func (d *disk) Archive(why string) (string, error) { return datadir.Archive(d.dir, why, time.Now()) }

// peerReader reads what other agents publish. Connections are kept: the same few
// agents are asked again and again.
type peerReader struct {
	client *http.Client
	port   int
}

// agentURL is where the agent of a host serves others.
func agentURL(host string, port int) string {
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

func newPeerReader(port int) *peerReader {
	return &peerReader{port: port, client: &http.Client{Transport: &http.Transport{
		Proxy:                 nil, // an address of ours is never behind a proxy
		DialContext:           (&net.Dialer{Timeout: time.Second}).DialContext,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       time.Minute,
		ResponseHeaderTimeout: 2 * time.Second,
	}}}
}

// Peer reads the status of the agent on a host.
func (r *peerReader) Peer(ctx context.Context, host string) (policy.Peer, error) {
	s, err := peer.Fetch(ctx, r.client, agentURL(host, r.port))
	if err != nil {
		return policy.Peer{}, err
	}
	return s.Peer(), nil
}
