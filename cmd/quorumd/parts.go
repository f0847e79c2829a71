package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/etcd"
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

func (d *disk) Data() (policy.Data, error) {
	data, err := datadir.Inspect(d.dir)
	if err == nil {
		data.NoRoom = datadir.NoRoom(d.dir)
	}
	return data, err
}

func (d *disk) Save(r policy.Record) error { return d.store.Save(r) }

func (d *disk) Archive(why string) (string, error) { return datadir.Archive(d.dir, why, time.Now()) }

// peerReader reads what other agents publish.
type peerReader struct {
	client *http.Client
	cfg    config.Config
}

// agentURL is where the agent of a host serves others.
func agentURL(cfg config.Config, host string) string {
	return cfg.Etcd.PeerScheme() + "://" + net.JoinHostPort(host, strconv.Itoa(cfg.Listen.PeerPort()))
}

// Peer reads the status of the agent on a host.
func (r *peerReader) Peer(ctx context.Context, host string) (policy.Peer, error) {
	s, err := peer.Fetch(ctx, r.client, agentURL(r.cfg, host))
	if err != nil {
		return policy.Peer{}, err
	}
	return s.Peer(), nil
}

// pulseReader looks at this node's own member.
type pulseReader struct {
	client *etcd.Client
	ports  etcd.Ports
}

// Pulse looks at it now.
func (r pulseReader) Pulse(ctx context.Context) policy.Pulse { return r.client.Pulse(ctx, r.ports) }

// snapshots saves this node's member.
type snapshots struct {
	client *etcd.Client
	url    string
	to     etcd.Snapshots
}

// Snapshot saves it now.
func (s snapshots) Snapshot(ctx context.Context) (string, error) {
	return s.client.Snapshot(ctx, s.url, s.to, time.Now())
}

// keepSnapshots is how many stay in state_dir.
const keepSnapshots = 3

// etcdPorts are where this node's member listens.
func etcdPorts(c config.Etcd, self policy.Self, address string) etcd.Ports {
	return etcd.Ports{Client: self.ClientURL, Peer: self.PeerURL,
		Metrics: "http://" + net.JoinHostPort(address, strconv.Itoa(c.MetricsPort))}
}

// certificates are the two sets of files of a configuration; nil: not used.
type certificates struct{ client, peer *certs.Set }

func newCertificates(c config.Etcd, log *slog.Logger) (out certificates, err error) {
	if c.CAFile != "" {
		if out.client, err = certs.New(certs.Files{CA: c.CAFile, Cert: c.CertFile, Key: c.KeyFile}, log); err != nil {
			return out, err
		}
	}
	if c.PeerCAFile != "" {
		out.peer, err = certs.New(certs.Files{CA: c.PeerCAFile, Cert: c.PeerCertFile, Key: c.PeerKeyFile}, log)
	}
	return out, err
}

// Certificates looks at all files now.
func (c certificates) Certificates() []policy.Certificate {
	var out []policy.Certificate
	seen := map[string]bool{}
	for _, set := range []*certs.Set{c.client, c.peer} {
		if set == nil {
			continue
		}
		for _, f := range set.Certificates() {
			if !seen[f.File] {
				seen[f.File] = true
				out = append(out, policy.Certificate{File: f.File, NotAfter: f.NotAfter, Problem: f.Problem})
			}
		}
	}
	return out
}
