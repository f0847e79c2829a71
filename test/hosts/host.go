//go:build linux

package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/units"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

// The units of every host.
const (
	EtcdUnit  = "etcd-member.service"
	AgentUnit = "quorumd.service"
)

// Host is one instance's machine.
type Host struct {
	ID   string // the instance id
	Name string // "h1", "h2", ... in order of launch
	Addr netip.Addr
	Dir  string // its disks
	Logs struct{ Agent, Etcd string }

	fleet    *Fleet
	metadata string // URL

	mu      sync.Mutex
	machine *fakesystemd.Host // nil while it is off
	logs    []*os.File
	proxy   *proxy // before its etcd, with Config.Answered
}

// ClientURL is where its etcd serves clients.
func (h *Host) ClientURL() string {
	return hostURL(h.fleet.cfg.Security.clientScheme(), h.Addr, h.fleet.ports.client)
}

// StatusURL is where its agent tells other agents of itself.
func (h *Host) StatusURL() string {
	return hostURL(h.fleet.cfg.Security.peerScheme(), h.Addr, h.fleet.ports.agentPeer) + "/v1/status"
}

// MetricsURL is where its agent serves Prometheus.
func (h *Host) MetricsURL() string { return httpURL(h.Addr, h.fleet.ports.agentMetrics) + "/metrics" }

// ControlSocket is the operators' socket of its agent.
func (h *Host) ControlSocket() string { return filepath.Join(h.Dir, "control") }

// ConfigFile is its agent's configuration.
func (h *Host) ConfigFile() string { return filepath.Join(h.Dir, "quorumd.yaml") }

// StateDir is its agent's.
func (h *Host) StateDir() string { return filepath.Join(h.Dir, "state") }

// DataDir is its etcd's.
func (h *Host) DataDir() string { return filepath.Join(h.Dir, "etcd") }

// Machine is the systemd stand-in that runs the host, nil while it is off.
func (h *Host) Machine() *fakesystemd.Host {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.machine
}

// Get reads a URL of this host's agent.
func (h *Host) Get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := h.fleet.agentClient().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return body, err
}

// provision makes the disks of a new machine: what user-data would put there.
func (h *Host) provision() error {
	for _, dir := range []string{h.Dir, h.StateDir(), h.DataDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	security, err := h.secure()
	if err != nil {
		return err
	}
	return os.WriteFile(h.ConfigFile(), []byte(h.config(security)), 0o600)
}

// config of the agent: on a machine of its own, all but the first line and security
// would be the defaults.
func (h *Host) config(security string) string {
	p := h.fleet.ports
	dirs := h.systemdDirs()
	var b strings.Builder
	fmt.Fprintf(&b, "log: {level: debug, format: json}\n")
	fmt.Fprintf(&b, "state_dir: %s\n", h.StateDir())
	fmt.Fprintf(&b, "etcd:\n  data_dir: %s\n  client_port: %d\n  peer_port: %d\n  metrics_port: %d\n",
		h.DataDir(), p.client, p.peer, p.metrics)
	b.WriteString(security)
	fmt.Fprintf(&b, "listen:\n  peer: %q\n  metrics: %q\n  control: %s\n",
		netip.AddrPortFrom(h.Addr, uint16(p.agentPeer)), netip.AddrPortFrom(h.Addr, uint16(p.agentMetrics)), h.ControlSocket())
	fmt.Fprintf(&b, "systemd:\n  system_dir: %s\n  runtime_dir: %s\n  boot_id_file: %s\n  machine_id_file: %s\n",
		dirs.System, dirs.Runtime, filepath.Join(h.Dir, "boot_id"), filepath.Join(h.Dir, "machine-id"))
	return b.String()
}

func (h *Host) systemdDirs() units.Dirs {
	return units.Dirs{System: filepath.Join(h.Dir, "system"), Runtime: filepath.Join(h.Dir, "run")}
}

// guard is the drop-in that we ship beside the units, for this host's state_dir.
func (h *Host) guard() (units.DropIn, error) {
	text, err := units.File("10-quorumd-guard.conf")
	if err != nil {
		return units.DropIn{}, err
	}
	return units.DropIn{Unit: EtcdUnit, Name: "10-quorumd-guard.conf",
		Content: bytes.ReplaceAll(text, []byte("/var/lib/quorumd/"), []byte(h.StateDir()+"/"))}, nil
}

// boot starts the machine and its enabled units, as often as asked: its disks
// are what they were.
func (h *Host) boot() (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.machine != nil {
		return errors.New("the machine is on")
	}
	defer func() {
		if err != nil {
			h.offLocked()
		}
	}()
	spec, err := h.unitsLocked()
	if err != nil {
		return err
	}
	guard, err := h.guard()
	if err != nil {
		return err
	}
	if _, err := h.systemdDirs().WriteDropIn(guard); err != nil {
		return err
	}
	if h.fleet.cfg.Answered != nil {
		if _, err := h.systemdDirs().WriteDropIn(h.listenBehind()); err != nil {
			return err
		}
		if h.proxy, err = h.fleet.newProxy(h); err != nil {
			return err
		}
	}
	h.machine, err = fakesystemd.New(fakesystemd.HostConfig{Dir: h.Dir, Units: spec, Log: h.fleet.cfg.Log.With("host", h.ID)})
	if err != nil {
		return err
	}
	for _, unit := range []string{EtcdUnit, AgentUnit} { // both are enabled
		if err := h.machine.StartUnit(unit); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) unitsLocked() ([]fakesystemd.Unit, error) {
	cfg := h.fleet.cfg
	out := map[string]*os.File{}
	for _, path := range []string{h.Logs.Agent, h.Logs.Etcd} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return nil, err
		}
		out[path] = f
		h.logs = append(h.logs, f)
	}
	return []fakesystemd.Unit{
		{
			Name: EtcdUnit, ExecStart: []string{cfg.Binaries.Etcd}, Stdout: out[h.Logs.Etcd],
			NotifyReady: true, Restart: true, RestartDelay: cfg.EtcdRestart,
		},
		{
			Name: AgentUnit, ExecStart: []string{cfg.Binaries.Quorumd, "agent", "--config", h.ConfigFile()}, Stdout: &journal{host: h, file: out[h.Logs.Agent]},
			Env: append([]string{
				"GOGC=50", "GOMEMLIMIT=192MiB", // as in the shipped unit
				"AWS_ENDPOINT_URL=" + h.fleet.awsURL,
				"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + h.metadata,
			}, cfg.AgentEnv...),
			NotifyReady: true, Restart: true, RestartDelay: cfg.AgentRestart, StopTimeout: 30 * time.Second,
		},
	}, nil
}

// shutDown is the power button: units get their SIGTERM, the rest is cut.
func (h *Host) shutDown(ctx context.Context) {
	if m := h.Machine(); m != nil {
		var both sync.WaitGroup
		for _, unit := range []string{AgentUnit, EtcdUnit} {
			both.Go(func() { _ = m.StopUnit(ctx, unit) }) // or it is cut
		}
		both.Wait()
	}
	h.powerOff()
}

// powerOff pulls the plug. On a machine that is off it does nothing.
func (h *Host) powerOff() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offLocked()
}

// Cycle pulls the plug of a machine and boots it again, unless its instance ends.
func (h *Host) Cycle() error {
	h.powerOff()
	if inst, ok := h.fleet.Cloud.Instance(h.ID); !ok || inst.State != fakeaws.Running {
		return errors.New("its instance ends")
	}
	return h.boot()
}

func (h *Host) offLocked() {
	if h.machine != nil {
		h.machine.PowerOff()
	}
	h.machine = nil
	if h.proxy != nil {
		h.proxy.close()
		h.proxy = nil
	}
	for _, f := range h.logs {
		f.Close()
	}
	h.logs = nil
}
