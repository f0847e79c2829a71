package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/agent/record"
	"github.com/quorumd/quorumd/units"
)

// The drop-ins that quorumd writes for etcd's unit. systemd sorts by name over
// both directories, so the one of the first start wins over the lasting one.
const (
	lastingDropIn = "90-quorumd.conf"
	firstDropIn   = "95-quorumd-first-start.conf"
)

// etcdUnit is etcd's unit on this node: what it starts with, whether it may
// start, and its state.
type etcdUnit struct {
	conn    *units.Conn
	dirs    units.Dirs
	cfg     config.Etcd
	self    policy.Self
	address string // this instance's private address
	store   record.Store
	machine func() (here record.Machine, boot string, err error) // where etcd is allowed to start
}

// Watch reports the unit's state and every change until ctx ends.
func (u *etcdUnit) Watch(ctx context.Context, report func(policy.Unit, error)) error {
	return u.conn.Watch(ctx, u.cfg.Unit, func(s units.UnitState, err error) { report(unitState(s), err) })
}

// State reads the unit's state now.
func (u *etcdUnit) State(ctx context.Context) (policy.Unit, error) {
	s, err := u.conn.State(ctx, u.cfg.Unit)
	return unitState(s), err
}

func unitState(s units.UnitState) policy.Unit {
	return policy.Unit{Load: s.LoadState, Active: s.ActiveState, Sub: s.SubState, MainPID: s.MainPID, Job: s.JobID != 0}
}

// Start writes what etcd starts with, allows it to start from now on, and queues
// the start; it never waits until etcd is ready, which without quorum it never is.
func (u *etcdUnit) Start(ctx context.Context, how policy.StartEtcd) error {
	if err := u.write(lastingDropIn, false, u.environment(how)); err != nil {
		return err
	}
	if how.New {
		// initial-cluster-state=new must not outlive this start: on a wiped disk it
		// would found a second cluster.
		if err := u.write(firstDropIn, true, []units.EnvVar{{Name: "ETCD_INITIAL_CLUSTER_STATE", Value: "new"}}); err != nil {
			return err
		}
	} else if _, err := u.dirs.RemoveDropIn(u.dropIn(firstDropIn, true)); err != nil {
		return fmt.Errorf("remove drop-in: %w", err)
	}
	// Always, also where the files did not change: an agent that ended between
	// writing and reloading left systemd with what it had loaded before, and an etcd
	// started without its list founds a cluster of its own.
	if err := u.conn.Reload(ctx); err != nil {
		return err
	}
	here, boot, err := u.machine()
	if err != nil {
		return err
	}
	if err := u.store.AllowEtcd(here, boot); err != nil {
		return err
	}
	if err := u.conn.ResetFailed(ctx, u.cfg.Unit); err != nil {
		return err
	}
	// A unit that waits for its automatic restart starts at once by this, too.
	if err := u.conn.Restart(ctx, u.cfg.Unit); err != nil {
		return err
	}
	if how.New {
		return u.forgetFirst(ctx)
	}
	return nil
}

// forgetFirst waits until etcd's process is up, which has read its environment
// then, and takes initial-cluster-state=new away again.
func (u *etcdUnit) forgetFirst(ctx context.Context) error {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	up, skipped := false, false
	err := u.conn.Watch(watch, u.cfg.Unit, func(s units.UnitState, err error) {
		switch {
		case err != nil:
		case s.MainPID != 0:
			up = true
			cancel()
		case s.Stopped() && s.JobID == 0 && s.Result == "exec-condition":
			skipped = true
			cancel()
		}
	})
	if skipped {
		err := fmt.Errorf("start etcd: its unit was skipped, because the guard says no; why: journalctl -u %s", u.cfg.Unit)
		return errors.Join(err, u.Tidy(ctx))
	}
	if !up {
		return fmt.Errorf("wait for etcd's process: %w", err)
	}
	return u.Tidy(ctx)
}

// Tidy takes initial-cluster-state=new away: after the first start, and when an
// agent begins, in case that one ended before it could.
func (u *etcdUnit) Tidy(ctx context.Context) error {
	if _, err := u.dirs.RemoveDropIn(u.dropIn(firstDropIn, true)); err != nil {
		return fmt.Errorf("remove drop-in: %w", err)
	}
	return u.conn.Reload(ctx)
}

// Stop forbids etcd to start, and waits until it is stopped.
func (u *etcdUnit) Stop(ctx context.Context) error {
	if err := u.store.ForbidEtcd(); err != nil {
		return err
	}
	return u.conn.Stop(ctx, u.cfg.Unit)
}

func (u *etcdUnit) dropIn(name string, runtime bool) units.DropIn {
	return units.DropIn{Unit: u.cfg.Unit, Name: name, Runtime: runtime}
}

func (u *etcdUnit) write(name string, runtime bool, vars []units.EnvVar) error {
	content, err := units.RenderEnvironment(vars)
	if err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	d := u.dropIn(name, runtime)
	d.Content = content
	if _, err := u.dirs.WriteDropIn(d); err != nil {
		return fmt.Errorf("write drop-in: %w", err)
	}
	return nil
}

// environment is what etcd starts with, always as a member of an existing
// cluster; the first start of a first cluster is a drop-in of its own.
func (u *etcdUnit) environment(how policy.StartEtcd) []units.EnvVar {
	c := u.cfg
	client := []string{c.ClientURL(u.address)}
	if ip := net.ParseIP(u.address); ip == nil || !ip.IsLoopback() {
		client = append(client, c.ClientURL("127.0.0.1"))
	}
	initial := make([]string, len(how.Initial))
	for i, m := range how.Initial {
		initial[i] = m.Name + "=" + m.PeerURL
	}
	vars := []units.EnvVar{
		{Name: "ETCD_NAME", Value: string(u.self.Instance)},
		{Name: "ETCD_DATA_DIR", Value: filepath.Clean(c.DataDir)},
		{Name: "ETCD_INITIAL_ADVERTISE_PEER_URLS", Value: u.self.PeerURL},
		{Name: "ETCD_ADVERTISE_CLIENT_URLS", Value: u.self.ClientURL},
		{Name: "ETCD_LISTEN_PEER_URLS", Value: c.PeerURL(u.address)},
		{Name: "ETCD_LISTEN_CLIENT_URLS", Value: strings.Join(client, ",")},
		// A member without quorum serves no client port after a restart; this port
		// still tells whether it knows a leader.
		{Name: "ETCD_LISTEN_METRICS_URLS", Value: "http://" + net.JoinHostPort(u.address, strconv.Itoa(c.MetricsPort))},
		{Name: "ETCD_INITIAL_CLUSTER", Value: strings.Join(initial, ",")},
		{Name: "ETCD_INITIAL_CLUSTER_STATE", Value: "existing"},
		{Name: "ETCD_STRICT_RECONFIG_CHECK", Value: "true"},
	}
	if how.Token != "" {
		vars = append(vars, units.EnvVar{Name: "ETCD_INITIAL_CLUSTER_TOKEN", Value: how.Token})
	}
	return append(vars, certificateVars(c)...)
}

// certificateVars are etcd's own certificate files, as far as the configuration
// names them: what it leaves out is what etcd's unit says.
func certificateVars(c config.Etcd) (vars []units.EnvVar) {
	set := func(name, value string) { vars = append(vars, units.EnvVar{Name: name, Value: value}) }
	if cert, key := c.ServerPair(); cert != "" {
		set("ETCD_CERT_FILE", cert)
		set("ETCD_KEY_FILE", key)
	}
	if c.CertFile != "" {
		set("ETCD_TRUSTED_CA_FILE", c.CAFile)
		set("ETCD_CLIENT_CERT_AUTH", "true")
	}
	if c.PeerCAFile != "" {
		set("ETCD_PEER_CERT_FILE", c.PeerCertFile)
		set("ETCD_PEER_KEY_FILE", c.PeerKeyFile)
		set("ETCD_PEER_TRUSTED_CA_FILE", c.PeerCAFile)
		set("ETCD_PEER_CLIENT_CERT_AUTH", "true")
	}
	return vars
}
