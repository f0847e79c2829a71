//go:build linux

package hosts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/ports"
)

// Fleet is one auto scaling group and its hosts. Of the Observer it has the means
// to look: Settle, Leader, Members, Endpoints. Its methods may be called
// concurrently.
type Fleet struct {
	*fleet.Observer

	cfg    Config
	mine   bool // cfg.Dir is
	net    *ports.Net
	ports  portSet
	awsURL string

	ca      *authorities
	front   *http.Server // before AWS, with Config.Answered
	serving sync.WaitGroup
	cut     atomic.Bool // links are

	mu        sync.Mutex
	hosts     map[string]*Host // by instance id, those of the past included
	made      int
	abrupt    bool   // machines end without a shutdown from now on
	etcd      string // the program on hosts that are launched from now on
	followers map[int]func(Line)
	followed  int
}

// New makes a fleet without instances. The caller closes it.
func New(cfg Config) (*Fleet, error) {
	cfg.setDefaults()
	f := &Fleet{hosts: map[string]*Host{}, followers: map[int]func(Line){}}
	var err error
	f.mine, err = cfg.prepare()
	f.cfg, f.etcd = cfg, cfg.Binaries.Etcd
	if err == nil {
		err = f.start()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *Fleet) start() (err error) {
	if f.net, f.ports, err = pickNet(); err != nil {
		return err
	}
	if f.ca, err = newAuthorities(); err != nil {
		return err
	}
	cloud, err := fakeaws.New(fakeaws.Config{
		Driver: driver{f},
		Timing: f.cfg.Timing,
		// The lowest free address first: a replacement gets the address of one that is
		// gone, which must not make it the same member.
		IPs: fakeaws.NewIPPool(f.net.Addr(firstHost), f.net.Addr(lastHost), true),
		ListenMetadata: func(ctx context.Context, inst fakeaws.Instance) (net.Listener, error) {
			var lc net.ListenConfig
			return lc.Listen(ctx, "tcp", netip.AddrPortFrom(inst.PrivateIP, 0).String())
		},
	})
	if err != nil {
		return err
	}
	f.Observer = &fleet.Observer{
		Cloud: cloud, Group: Group, Client: f.client, Machine: f.machineIsWell,
		ClientURL: func(inst fakeaws.Instance) string {
			return hostURL(f.cfg.Security.clientScheme(), inst.PrivateIP, f.ports.client)
		},
	}
	f.Watch()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(f.net.Addr(awsHost), 0).String())
	if err != nil {
		return err
	}
	if f.cfg.Answered == nil {
		f.awsURL, err = cloud.Serve(ln)
		return err
	}
	f.front = &http.Server{Handler: f.tellAWS(cloud.Handler()), ReadHeaderTimeout: 10 * time.Second}
	f.awsURL = "http://" + ln.Addr().String()
	f.serving.Go(func() { _ = f.front.Serve(ln) }) // its end is Close's doing
	return nil
}

// Client of an etcd without TLS; the caller closes it. That of a fleet is its Observer's.
func Client(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		DialTimeout: 2 * time.Second,
		Logger:      zap.NewNop(), // members come and go all the time here
	})
}

// Close ends every process and removes what New made. It may be called more than
// once.
func (f *Fleet) Close() error {
	f.mu.Lock()
	f.abrupt = true
	f.mu.Unlock()
	var err error
	if f.Observer != nil {
		f.Over()
		err = f.Cloud.Close()
	}
	f.mu.Lock()
	all := slices.Collect(maps.Values(f.hosts))
	f.mu.Unlock()
	for _, h := range all {
		h.end() // also one that is about to boot
	}
	if f.front != nil {
		err = errors.Join(err, f.front.Close())
	}
	f.serving.Wait()
	if f.net != nil {
		err = errors.Join(err, f.net.Return())
		f.net = nil
	}
	if f.mine {
		err = errors.Join(err, os.RemoveAll(f.cfg.Dir))
	}
	return err
}

// Launch creates the group, which begins to launch its first instances.
func (f *Fleet) Launch(desired int) error {
	return f.Cloud.AddGroup(fakeaws.GroupConfig{
		Name: Group, Max: f.cfg.Max, Desired: desired, Replace: f.cfg.Replace, Overrides: f.cfg.Overrides,
		Hooks: []fakeaws.Hook{
			{Name: LaunchHook, Transition: fakeaws.Launching, HeartbeatTimeout: f.cfg.Hook},
			{Name: TerminateHook, Transition: fakeaws.Terminating, HeartbeatTimeout: f.cfg.Hook},
		},
	})
}

// UseEtcd is a new version of the launch template: hosts that are launched from now on
// run this etcd. Those that there are keep theirs.
func (f *Fleet) UseEtcd(program string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.etcd = program
}

// AWS is the URL of the emulated APIs.
func (f *Fleet) AWS() string { return f.awsURL }

// Binaries are the programs that run.
func (f *Fleet) Binaries() Binaries { return f.cfg.Binaries }

// Dir holds the hosts' disks; LogDir the logs of all units.
func (f *Fleet) Dir() string    { return f.cfg.Dir }
func (f *Fleet) LogDir() string { return f.cfg.Logs }

// Scale changes the desired capacity.
func (f *Fleet) Scale(desired int) error { return f.Cloud.SetDesired(Group, desired) }

// Terminate tells an instance to go through the group, which replaces it.
func (f *Fleet) Terminate(id string) error { return f.Cloud.TerminateInGroup(id, false) }

// Shrink tells an instance to go for good: the desired capacity goes down by one.
func (f *Fleet) Shrink(id string) error { return f.Cloud.TerminateInGroup(id, true) }

// KillAgent sends SIGKILL to the agent of a host, which its systemd starts again.
func (f *Fleet) KillAgent(id string) error { return f.kill(id, AgentUnit) }

// KillEtcd sends SIGKILL to the etcd of a host, which its systemd starts again.
func (f *Fleet) KillEtcd(id string) error { return f.kill(id, EtcdUnit) }

func (f *Fleet) kill(id, unit string) error {
	m := f.machine(id)
	if m == nil {
		return fmt.Errorf("kill %s on %s: the machine is off", unit, id)
	}
	return m.KillUnit(unit, syscall.SIGKILL)
}

// PowerOff pulls the plug of a machine. The group does not know; see Lose.
func (f *Fleet) PowerOff(id string) error {
	h := f.Host(id)
	if h == nil {
		return fmt.Errorf("power off: no host %s", id)
	}
	h.powerOff()
	return nil
}

// PowerOn boots a machine that is off: its disks are what they were.
func (f *Fleet) PowerOn(id string) error {
	h := f.Host(id)
	if h == nil {
		return fmt.Errorf("power on: no host %s", id)
	}
	if err := h.boot(); err != nil {
		return fmt.Errorf("power on %s: %w", id, err)
	}
	return nil
}

// Lose is the loss of a machine: its power goes, and EC2 says that it terminates.
func (f *Fleet) Lose(id string) error {
	return errors.Join(f.PowerOff(id), f.Cloud.TerminateInstance(id))
}

// Host of an instance, nil if there never was one. It is off once it is gone.
func (f *Fleet) Host(id string) *Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hosts[id]
}

// Hosts that are on, in the order of their addresses.
func (f *Fleet) Hosts() []*Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	var on []*Host
	for _, h := range f.hosts {
		if h.Machine() != nil {
			on = append(on, h)
		}
	}
	slices.SortFunc(on, func(a, b *Host) int { return a.Addr.Compare(b.Addr) })
	return on
}

func (f *Fleet) newHost(inst fakeaws.Instance) *Host {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made++
	h := &Host{ID: inst.ID, Name: fmt.Sprintf("h%d", f.made), Addr: inst.PrivateIP, metadata: inst.MetadataURL, fleet: f, etcd: f.etcd}
	h.Dir = filepath.Join(f.cfg.Dir, h.Name)
	h.Logs.Agent = filepath.Join(f.cfg.Logs, inst.ID+".quorumd.log")
	h.Logs.Etcd = filepath.Join(f.cfg.Logs, inst.ID+".etcd.log")
	f.hosts[inst.ID] = h
	return h
}
