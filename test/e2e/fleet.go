//go:build e2e && linux

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/lab"
)

// Config of a fleet. The zero value is a group of three.
type Config struct {
	Size    int // desired capacity at the start; default 3
	Max     int // default 7
	Replace fakeaws.Replace
	Etcd    string        // minor version, a directory of test/etcd; default "3.6"
	Agent   string        // lines for /etc/quorumd/quorumd.yaml
	Hook    time.Duration // heartbeat timeout of both hooks; default 1 min
	// Provision puts more onto a new host's disk than every host gets; Booted is
	// called when it has booted, before it is given its user-data.
	Provision func(*lab.Host) error
	Booted    func(context.Context, *lab.Host) error
	// TLS is how clients of etcd connect; nil: plainly.
	TLS *tls.Config
}

func (c *Config) setDefaults() {
	if c.Size == 0 {
		c.Size = 3
	}
	if c.Max == 0 {
		c.Max = 7
	}
	if c.Etcd == "" {
		c.Etcd = "3.6"
	}
	if c.Hook == 0 {
		c.Hook = time.Minute
	}
}

const (
	group  = "etcd"         // name of every fleet's auto scaling group
	awsURL = "10.77.0.2:80" // where its AWS listens, for all hosts
)

// Fleet is a lab, a cloud whose instances are the lab's hosts, and the means to
// look at both. All of it ends with the test.
type Fleet struct {
	*fleet.Observer
	Lab    *lab.Lab
	Writer *fleet.Writer

	t   *testing.T
	cfg Config
	bin binaries

	mu     sync.Mutex
	hosts  map[string]*lab.Host // by instance id, those of the past included
	abrupt bool                 // machines end without a shutdown from now on
}

// New makes a fleet and its group, and so begins to launch its first instances.
func New(t *testing.T, cfg Config) *Fleet {
	t.Helper()
	cfg.setDefaults()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute) // builds what was never built before
	defer cancel()
	f := &Fleet{t: t, cfg: cfg, hosts: map[string]*lab.Host{}}
	var err error
	if f.bin, err = build(ctx, cfg.Etcd); err != nil {
		t.Fatal(err)
	}
	if f.Lab, err = lab.New(ctx, lab.Options{Logf: t.Logf}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Lab.Close(); err != nil {
			t.Error(err)
		}
	})
	f.startCloud()
	t.Cleanup(f.dump) // first of all, while the hosts are on
	f.startWriter()
	t.Cleanup(func() {
		f.Writer.Stop()
		t.Logf("writer: %d writes acknowledged, longest time without one %.2fs", f.Writer.Acked(), f.Writer.LongestStall().Seconds())
	})
	if err := f.Cloud.AddGroup(fakeaws.GroupConfig{
		Name: group, Max: cfg.Max, Desired: cfg.Size, Replace: cfg.Replace,
		Hooks: []fakeaws.Hook{
			{Name: "quorumd-launch", Transition: fakeaws.Launching, HeartbeatTimeout: cfg.Hook},
			{Name: "quorumd-terminate", Transition: fakeaws.Terminating, HeartbeatTimeout: cfg.Hook},
		},
	}); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *Fleet) startWriter() {
	f.Writer = fleet.StartWriter(fleet.WriterConfig{Endpoints: f.Endpoints, Client: f.client})
}

func (f *Fleet) startCloud() {
	f.t.Helper()
	cloud, err := fakeaws.New(fakeaws.Config{
		Driver: driver{f},
		// The lowest free address first: a replacement gets the address of the one it
		// replaces, which must not make it the same member.
		IPs: fakeaws.NewIPPool(netip.MustParseAddr("10.77.0.11"), netip.MustParseAddr("10.77.0.250"), true),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Observer = &fleet.Observer{Cloud: cloud, Group: group, ClientURL: f.clientURL, Client: f.client, Machine: f.machineIsWell}
	f.t.Cleanup(func() {
		f.mu.Lock()
		f.abrupt = true // nobody is interested in orderly ends any more
		f.mu.Unlock()
		f.Over()
		if err := f.Cloud.Close(); err != nil {
			f.t.Error(err)
		}
	})
	aws, err := f.Lab.AddNet("aws", netip.MustParseAddr("10.77.0.2"))
	if err != nil {
		f.t.Fatal(err)
	}
	ln, err := f.Lab.Listen(aws, awsURL)
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.Cloud.Serve(ln); err != nil {
		f.t.Fatal(err)
	}
	f.Watch()
}

// driver makes hosts of the cloud's instances.
type driver struct{ f *Fleet }

func (d driver) Start(ctx context.Context, inst fakeaws.Instance) error {
	f := d.f
	h, err := f.Lab.AddHost(lab.HostSpec{
		Name: fmt.Sprintf("h%d", inst.PrivateIP.As4()[3]), Hostname: inst.ID, Addr: inst.PrivateIP,
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.hosts[inst.ID] = h
	f.mu.Unlock()
	ln, err := f.Lab.Listen(h, lab.IMDSAddr+":80")
	if err != nil {
		return err
	}
	if _, err := f.Cloud.ServeMetadata(inst.ID, ln); err != nil {
		return err
	}
	return f.install(ctx, h)
}

// install boots a host from a new disk.
func (f *Fleet) install(ctx context.Context, h *lab.Host) error {
	if err := f.image(h); err != nil {
		return err
	}
	if err := h.Boot(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := h.WaitBooted(ctx); err != nil {
		return err
	}
	if f.cfg.Booted != nil {
		if err := f.cfg.Booted(ctx, h); err != nil {
			return err
		}
	}
	data, err := f.userData()
	if err != nil {
		return err
	}
	return h.Apply(ctx, data)
}

// Stop ends a machine as EC2 does: the power button first, then the power.
func (d driver) Stop(ctx context.Context, id string) error {
	d.f.mu.Lock()
	h, abrupt := d.f.hosts[id], d.f.abrupt
	d.f.mu.Unlock()
	if h == nil {
		return nil // its start failed early
	}
	if !abrupt && h.Running() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := h.Shutdown(ctx); err != nil {
			d.f.t.Logf("%s: power taken after: %v", id, err)
		}
	}
	return h.Retire()
}

// PowerOff stops a machine that comes again, as EC2's StopInstances does.
func (d driver) PowerOff(ctx context.Context, id string) error {
	h := d.f.hostNow(id)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := h.Shutdown(ctx); err != nil {
		d.f.t.Logf("%s: power taken after: %v", id, err)
		h.PowerOff()
	}
	return nil
}

// PowerOn boots it again, with the disk that it has.
func (d driver) PowerOn(ctx context.Context, inst fakeaws.Instance) error {
	h := d.f.hostNow(inst.ID)
	if err := h.Boot(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return h.WaitBooted(ctx)
}

// Host of an instance, also of one that is gone.
func (f *Fleet) Host(id string) *lab.Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hosts[id]
	if h == nil {
		f.t.Fatalf("no host for instance %s", id)
	}
	return h
}

// hostNow is the host of an instance, nil before there is one.
func (f *Fleet) hostNow(id string) *lab.Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hosts[id]
}

// runs reports whether a unit of an instance's host has processes.
func (f *Fleet) runs(id, unit string) bool {
	h := f.hostNow(id)
	return h != nil && h.Kill(unit, 0) > 0
}

func (f *Fleet) clientURL(inst fakeaws.Instance) string {
	scheme := "http"
	if f.cfg.TLS != nil {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s:2379", scheme, inst.PrivateIP)
}

// client of etcd, from the bridge of the lab. The caller closes it.
func (f *Fleet) client(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		TLS:                  f.cfg.TLS,
		DialOptions:          []grpc.DialOption{grpc.WithContextDialer(f.Lab.DialGRPC)},
		DialKeepAliveTime:    2 * time.Second, // a machine without power does not say so
		DialKeepAliveTimeout: 2 * time.Second,
		Logger:               zap.NewNop(), // failing calls are this test's daily bread
	})
}

// Within bounds what the test waits for from here on.
func (f *Fleet) Within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(f.t.Context(), d, fmt.Errorf("not within %s", d))
	f.t.Cleanup(cancel)
	return ctx
}
