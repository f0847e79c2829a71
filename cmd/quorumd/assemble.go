package main

import (
	"context"
	"net"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/quorumd/quorumd/agent"
	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/etcd"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/agent/record"
	"github.com/quorumd/quorumd/units"
)

// common are the parts that a member and a worker have alike.
func (n *node) common(self policy.Self, p parts) agent.Parts {
	aws := awsCalls{group: p.fleet.Group, instances: p.fleet.Instances, heartbeat: p.fleet.Heartbeat,
		complete: p.fleet.Complete, writeTag: p.fleet.WriteTag, deleteTag: p.fleet.DeleteTag}
	all := agent.Parts{
		Metadata: p.metadata, Group: aws, Hooks: aws, Tags: aws,
		Finder: p.client, Members: p.client, Lock: p.client,
		Peers:   &peerReader{client: peer.NewClient(n.certs.peer), cfg: n.cfg},
		Certs:   n.certs,
		Machine: machine{p.conn},
		Wants:   n.wants(p),
		Scripts: scripts{cfg: n.cfg.Reboot, log: n.log,
			env: []string{"QUORUMD_INSTANCE=" + string(self.Instance), "QUORUMD_CLUSTER=" + p.cluster}},
		Notify: n.notify,
	}
	if u := n.cfg.Reboot.Units; len(u) > 0 {
		all.Services = services{p.conn, u}
	}
	return all
}

// asMember adds what a node with a member has: etcd's unit and its data.
func (n *node) asMember(ctx context.Context, all *agent.Parts, self policy.Self, p parts) error {
	unit := &etcdUnit{conn: p.conn, dirs: units.Dirs{System: n.cfg.Systemd.SystemDir, Runtime: n.cfg.Systemd.RuntimeDir},
		cfg: n.cfg.Etcd, self: self, address: p.address, store: n.store,
		machine: func() (record.Machine, string, error) { return thisMachine(n.cfg.Systemd) }}
	if err := unit.Tidy(ctx); err != nil {
		return err
	}
	all.States, all.Unit = unit, unit
	all.Disk = &disk{store: n.store, dir: n.cfg.Etcd.DataDir}
	all.Version = &etcdVersion{unit: n.cfg.Etcd.Unit, command: n.cfg.Etcd.VersionCommand, services: p.conn}
	all.Snapshot = snapshots{client: p.client, url: self.ClientURL, to: etcd.Snapshots{Dir: filepath.Join(n.cfg.StateDir, "snapshots"), Keep: keepSnapshots}}
	all.Pulse = pulseReader{client: p.client, ports: etcdPorts(n.cfg.Etcd, self, p.address)}
	return nil
}

// asWorker adds what a node without etcd has in its place, and looks for the members
// where the configuration does not name them.
func (n *node) asWorker(ctx context.Context, g *errgroup.Group, all *agent.Parts, p parts) {
	all.States, all.Unit, all.Version = noEtcd{}, noEtcd{}, noEtcd{}
	all.Disk = workerDisk{&disk{store: n.store}}
	if len(n.cfg.Etcd.Endpoints) > 0 {
		return
	}
	s := newSeeker(p.client, n.finder(n.cfg.Etcd, p), n.log)
	all.Finder = s
	g.Go(func() error { return s.run(ctx) })
}

// finder is the way to find the members that is configured.
func (n *node) finder(e config.Etcd, p parts) find {
	if e.DiscoverySRV != "" {
		return bySRV(e, net.DefaultResolver.LookupSRV)
	}
	return byTag(e, p.fleet)
}
