package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/quorumd/quorumd/agent"
	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/durable"
	"github.com/quorumd/quorumd/agent/etcd"
	"github.com/quorumd/quorumd/agent/fleetlock"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/agent/record"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/units"
)

// runAgent runs the agent until ctx ends; stderr is where it logs without a journal.
func runAgent(ctx context.Context, cfg config.Config, b build, stderr io.Writer) error {
	n := &node{cfg: cfg, build: b, log: newLog(stderr, cfg.Log.Format, cfg.Log.Level),
		registry: prometheus.NewRegistry(), store: record.Store{Dir: cfg.StateDir}}
	err := n.run(ctx)
	if err != nil && ctx.Err() == nil {
		n.log.Error("agent stopped", "error", err)
		return err
	}
	n.log.Info("agent stopped")
	return nil
}

// node is one agent process: what it is made of and how it ends.
type node struct {
	cfg      config.Config
	build    build
	log      *slog.Logger
	registry *prometheus.Registry
	store    record.Store
	notify   units.Notifier
	aws      *prometheus.CounterVec

	certs certificates

	// Both are nil until it is known who this node is.
	loop atomic.Pointer[agent.Agent]
	etcd atomic.Pointer[etcd.Client]
	os   string
}

func (n *node) run(ctx context.Context) error {
	lock, err := n.store.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	rec, err := n.store.Load()
	if err != nil {
		return err
	}
	if l := rec.Leaving; l != nil && l.Since.After(time.Now()) {
		l.Since = time.Now() // the clock was set back: a notice is not of tomorrow
	}
	if n.certs, err = newCertificates(n.cfg.Etcd, n.log); err != nil {
		return err
	}
	n.os = osRelease("/etc/os-release")
	n.register()
	n.log.Info("agent starts", "version", n.build.Version, "state_dir", n.cfg.StateDir, "etcd_unit", n.cfg.Etcd.Unit)

	g, ctx := errgroup.WithContext(ctx)
	if err := n.listen(ctx, g); err != nil {
		return err
	}
	g.Go(func() error { return n.work(ctx, rec) })
	g.Go(func() error {
		<-ctx.Done()
		return n.notify.Stopping()
	})
	return g.Wait()
}

// work finds out who this node is, and runs the loop.
func (n *node) work(ctx context.Context, rec policy.Record) error {
	// Who we are comes from instance metadata, and may be late on a machine that
	// just booted: systemd is told that we live, and what we wait for.
	metadata, err := lifecycle.NewMetadata(ctx, lifecycle.MetadataConfig{Observe: n.observeAWS})
	if err != nil {
		return err
	}
	defer metadata.Close()
	id, err := await(ctx, n, "instance metadata", metadata.Identity)
	if err != nil {
		return err
	}
	fleet, err := lifecycle.NewFleet(ctx, lifecycle.FleetConfig{Instance: id.InstanceID, Region: id.Region,
		LaunchHook: n.cfg.Lifecycle.LaunchHook, TerminateHook: n.cfg.Lifecycle.TerminateHook, Observe: n.observeAWS})
	if err != nil {
		return err
	}
	defer fleet.Close()
	cluster, err := n.clusterName(ctx, fleet, id.InstanceID)
	if err != nil {
		return err
	}
	self, err := n.self(id)
	if err != nil {
		return err
	}
	n.log = n.log.With("instance", string(self.Instance), "cluster", cluster)
	client, err := n.etcdClient(cluster, self)
	if err != nil {
		return err
	}
	defer client.Close()
	n.etcd.Store(client)
	conn, err := units.Dial(ctx, units.Options{Log: n.log})
	if err != nil {
		return err
	}
	defer conn.Close()
	return n.decide(ctx, self, rec, parts{metadata: metadata, fleet: fleet, client: client, conn: conn, address: id.PrivateIP.String(), cluster: cluster})
}

// parts are the adapters of one run.
type parts struct {
	metadata *lifecycle.Metadata
	fleet    *lifecycle.Fleet
	client   *etcd.Client
	conn     *units.Conn
	address  string
	cluster  string
}

// decide runs the loop.
func (n *node) decide(ctx context.Context, self policy.Self, rec policy.Record, p parts) error {
	watchdog, err := n.notify.WatchdogInterval()
	if err != nil {
		n.log.Warn("no watchdog", "error", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	all := n.common(self, p)
	if n.cfg.Worker() {
		n.asWorker(ctx, g, &all, p)
	} else if err := n.asMember(ctx, &all, self, p); err != nil {
		return err
	}
	loop := agent.New(agent.Options{
		Self: self, Policy: n.cfg.Policy(), Poll: n.cfg.Lifecycle.Poll, Endpoints: n.cfg.Etcd.Endpoints,
		ClientURL: n.cfg.Etcd.ClientURL, Watchdog: watchdog, Record: rec, Log: n.log, Metrics: n.registry,
	}, all)
	n.loop.Store(loop)
	g.Go(func() error { return loop.Run(ctx) })
	return g.Wait()
}

// listen serves what the loop publishes, from before it runs: whoever asks early is
// told that there is no pass yet, which is more than nothing.
func (n *node) listen(ctx context.Context, g *errgroup.Group) error {
	services := []service{
		{"other agents", tcp(n.cfg.Listen.Peer), peer.NewServer(n.status, n.certs.peer)},
		{forMetrics, tcp(n.cfg.Listen.Metrics), n.metricsServer()},
		{"control", func() (net.Listener, error) { return control.Listen(n.cfg.Listen.Control) }, control.NewServer(control.Agent{Status: n.status, Submit: n.submit, Locks: n.locks})},
	}
	if addr := n.cfg.Listen.FleetLock; addr != "" {
		services = append(services, service{forFleetLock, tcp(addr), fleetlock.NewServer(fleetLock{&n.loop})})
	}
	for _, s := range services {
		ln, err := s.listen()
		if err != nil && (s.what == forMetrics || s.what == forFleetLock) {
			// A node that cannot be scraped, or that grants nobody a reboot, must still be
			// able to leave.
			n.log.Error("cannot serve "+s.what, "error", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("listen for %s: %w", s.what, err)
		}
		s.server.ErrorLog = slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)
		g.Go(func() error { return serveUntil(ctx, s.what, ln, s.server) })
	}
	return nil
}

// submit hands an operator's request to the loop.
func (n *node) submit(ctx context.Context, r policy.Request) (policy.AnswerRequest, error) {
	loop := n.loop.Load()
	if loop == nil {
		return policy.AnswerRequest{}, errTooEarly
	}
	return loop.Submit(ctx, r)
}

// locks reads the locks of all groups.
func (n *node) locks(ctx context.Context) ([]policy.Lock, error) {
	client := n.etcd.Load()
	if client == nil {
		return nil, errTooEarly
	}
	return client.Locks(ctx)
}

var errTooEarly = errors.New("this agent does not know yet who it is: it waits for instance metadata or for the group's name (journalctl -u quorumd)")

// service is one of the agent's servers.
type service struct {
	what   string
	listen func() (net.Listener, error)
	server *http.Server
}

// What an agent can do without.
const (
	forMetrics   = "metrics"
	forFleetLock = "FleetLock clients"
)

func tcp(addr string) func() (net.Listener, error) {
	return func() (net.Listener, error) { return net.Listen("tcp", addr) }
}

// serveUntil serves until ctx ends, then lets open requests end for a moment.
func serveUntil(ctx context.Context, what string, ln net.Listener, srv *http.Server) error {
	stop := context.AfterFunc(ctx, func() {
		// ctx is over: a fresh bound for what is being answered.
		end, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			srv.Close()
		}
	})
	defer stop()
	if err := peer.Serve(srv, ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", what, err)
	}
	return nil
}

func (n *node) metricsServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /", peer.Handler(n.status)) // /healthz and /v1/status
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
}

// status is the newest pass in the form that others read; nil before the first.
func (n *node) status() *peer.Status {
	loop := n.loop.Load()
	if loop == nil {
		return nil
	}
	p := loop.Published()
	if p == nil {
		return nil
	}
	s := peer.FromPass(p.View, p.Decision, peer.About{Sequence: p.Seq, OS: n.os, Quorumd: n.build.Version,
		AgentURL: func(host string) string { return agentURL(n.cfg, host) }})
	return &s
}

// register adds what is the process's and not the loop's.
func (n *node) register() {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "quorumd_build_info", Help: "1, by version."}, []string{"version", "revision", "goversion"})
	info.WithLabelValues(n.build.Version, n.build.Revision, n.build.Go).Set(1)
	n.aws = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorumd_aws_requests_total", Help: "Calls of AWS's services, instance metadata included."},
		[]string{"service", "operation", "result"})
	n.registry.MustRegister(info, n.aws, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

func (n *node) observeAWS(service, operation, result string, _ time.Duration) {
	n.aws.WithLabelValues(service, operation, result).Inc()
}

// await asks until there is an answer, telling systemd and the log what it waits for.
func await[T any](ctx context.Context, n *node, what string, ask func(context.Context) (T, error)) (T, error) {
	said := ""
	for {
		v, err := ask(ctx)
		if err == nil {
			if said != "" {
				n.log.Info("answered", "source", what)
			}
			return v, nil
		}
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
		if s := kindOf(err); s != said {
			said = s
			n.log.Warn("waiting for "+what, "kind", s, "error", err)
		}
		// Type=notify: a start that waits is not a start that hangs.
		for _, err := range []error{n.notify.Ready(), n.notify.Status("waiting for " + what + ": " + said), n.notify.Watchdog()} {
			if err != nil {
				n.log.Warn("cannot notify the service manager", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return v, ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}

// kindOf tells errors apart for the log: AWS's texts hold a request id, so that no
// two are the same.
func kindOf(err error) string {
	var missing *lifecycle.MissingPermission
	switch {
	case errors.As(err, &missing):
		return "missing permission " + missing.Action
	case errors.Is(err, lifecycle.ErrNoGroup):
		return "this instance is in no auto scaling group"
	case errors.Is(err, lifecycle.ErrThrottled):
		return "throttled"
	case errors.Is(err, lifecycle.ErrMalformed):
		return "malformed answer"
	}
	return "no answer"
}

// nameFile keeps the cluster's name, so that a later start needs no AWS call for it,
// and whose it is: a disk that was copied may be in another group.
const nameFile = "cluster-name"

// clusterName is the configured one, else the group's, which is kept on disk.
func (n *node) clusterName(ctx context.Context, fleet *lifecycle.Fleet, id policy.InstanceID) (string, error) {
	if n.cfg.Cluster != "" {
		return n.cfg.Cluster, nil
	}
	path := filepath.Join(n.cfg.StateDir, nameFile)
	if b, err := os.ReadFile(path); err == nil {
		if owner, name, ok := strings.Cut(strings.TrimSpace(string(b)), " "); ok && owner == string(id) && name != "" {
			return name, nil
		}
	}
	what, ask := "the auto scaling group's name", fleet.GroupName
	if n.cfg.Worker() {
		what, ask = "the name of the members' auto scaling group", membersGroup(n.cfg.Etcd.MembersTag, fleet)
	}
	group, err := await(ctx, n, what, ask)
	if err != nil {
		return "", err
	}
	// A key of etcd: no slash may come from a name.
	name := url.PathEscape(group)
	if err := durable.WriteFile(path, []byte(string(id)+" "+name+"\n"), 0o600); err != nil {
		// A later start asks again; the record's own failures say what does not work.
		n.log.Warn("cannot write the cluster's name", "error", err)
	}
	return name, nil
}

func (n *node) self(id lifecycle.Identity) (policy.Self, error) {
	boot, err := units.BootID(n.cfg.Systemd.BootIDFile)
	if err != nil {
		return policy.Self{}, err
	}
	machine, err := units.MachineID(n.cfg.Systemd.MachineIDFile)
	if err != nil {
		return policy.Self{}, err
	}
	if n.cfg.Worker() {
		return policy.Self{Instance: id.InstanceID, Machine: machine, Boot: boot}, nil
	}
	host := id.PrivateIP.String()
	return policy.Self{Instance: id.InstanceID, Machine: machine, Boot: boot,
		PeerURL: n.cfg.Etcd.PeerURL(host), ClientURL: n.cfg.Etcd.ClientURL(host)}, nil
}

func (n *node) etcdClient(cluster string, self policy.Self) (*etcd.Client, error) {
	return etcd.New(etcd.Config{Cluster: cluster, Group: n.cfg.LockGroup(), Self: self, TLS: n.certs.client, PeerTLS: n.certs.peer,
		Username: n.cfg.Etcd.Username, PasswordFile: n.cfg.Etcd.PasswordFile, Log: n.log})
}

// osRelease is the operating system's name for people.
func osRelease(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}
