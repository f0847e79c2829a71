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
	"sync/atomic"
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
	etcd     string // its program

	// power is held while the machine boots or goes off. Going off waits for all that
	// its agent has written, and whoever follows that asks for the machine: so it is not
	// mu that is held.
	power  sync.Mutex
	gone   bool // its instance has ended: it boots no more
	logs   []*os.File
	before []interface{ close() } // proxies before its etcd
	cut    func()                 // tells that the machine goes off; nil while it is
	dies   atomic.Bool            // it does not come back from its next reboot

	mu      sync.Mutex
	machine *fakesystemd.Host // nil while it is off
}

// ClientURL is where its etcd serves clients.
func (h *Host) ClientURL() string {
	return hostURL(h.fleet.cfg.Security.clientScheme(), h.Addr, h.fleet.ports.client)
}

// StatusURL is where its agent tells other agents of itself.
func (h *Host) StatusURL() string {
	return hostURL(h.fleet.cfg.Security.peerScheme(), h.Addr, h.fleet.ports.agentPeer) + "/v1/status"
}

// FleetLockURL is the base URL for FleetLock clients of the host.
func (h *Host) FleetLockURL() string { return httpURL(h.Addr, h.fleet.ports.fleetLock) + "/" }

// RebootRequiredFile is there while the host wants a reboot; a boot finds it gone.
func (h *Host) RebootRequiredFile() string {
	return filepath.Join(h.systemdDirs().Runtime, "reboot-required")
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

func (h *Host) setMachine(m *fakesystemd.Host) (before *fakesystemd.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, h.machine = h.machine, m
	return before
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
	fmt.Fprintf(&b, "listen:\n  peer: %q\n  metrics: %q\n  fleetlock: %q\n  control: %s\n",
		netip.AddrPortFrom(h.Addr, uint16(p.agentPeer)), netip.AddrPortFrom(h.Addr, uint16(p.agentMetrics)),
		netip.AddrPortFrom(h.Addr, uint16(p.fleetLock)), h.ControlSocket())
	// Of the machine that the tests run on, nothing is anybody's wish for a reboot.
	fmt.Fprintf(&b, "reboot:\n  required_file: %s\n  scripts_dir: %s\n", h.RebootRequiredFile(), filepath.Join(h.Dir, "scripts"))
	fmt.Fprintf(&b, "systemd:\n  system_dir: %s\n  runtime_dir: %s\n  boot_id_file: %s\n  machine_id_file: %s\n",
		dirs.System, dirs.Runtime, filepath.Join(h.Dir, "boot_id"), filepath.Join(h.Dir, "machine-id"))
	return b.String()
}

func (h *Host) systemdDirs() units.Dirs {
	return units.Dirs{System: filepath.Join(h.Dir, "system"), Runtime: filepath.Join(h.Dir, "run")}
}

// guard is the drop-in that we ship beside the units, for this host's directories.
func (h *Host) guard() (units.DropIn, error) {
	text, err := units.Guard(h.StateDir(), h.DataDir())
	if err != nil {
		return units.DropIn{}, err
	}
	return units.DropIn{Unit: EtcdUnit, Name: "10-quorumd-guard.conf",
		Content: bytes.ReplaceAll(text, []byte("/opt/bin/quorumd"), []byte(h.fleet.cfg.Binaries.Quorumd))}, nil
}

// Dies makes the next reboot of the machine its last: it stays off.
func (h *Host) Dies() { h.dies.Store(true) }

// rebootWhenAsked is what follows when somebody has logind reboot the machine: its
// units are stopped, it goes off, and boots again.
func (h *Host) rebootWhenAsked(on context.Context, m *fakesystemd.Host) {
	select {
	case <-on.Done():
		return
	case <-m.RebootAsked():
	}
	ctx, cancel := context.WithTimeout(on, time.Minute)
	defer cancel()
	var both sync.WaitGroup
	for _, unit := range []string{AgentUnit, EtcdUnit} {
		both.Go(func() { _ = m.StopUnit(ctx, unit) }) // or it is cut
	}
	both.Wait()
	h.power.Lock()
	if h.Machine() != m {
		h.power.Unlock()
		return // somebody else was faster
	}
	h.offLocked()
	h.power.Unlock()
	if inst, _ := h.fleet.Cloud.Instance(h.ID); !h.dies.Load() && inst.State == fakeaws.Running {
		if err := h.boot(); err != nil && !errors.Is(err, errGone) {
			h.fleet.cfg.Log.Error("boot after a reboot", "host", h.ID, "error", err)
		}
	}
}

var errGone = errors.New("the instance has ended")

// boot starts the machine and its enabled units, as often as asked: its disks
// are what they were.
func (h *Host) boot() (err error) {
	h.power.Lock()
	defer h.power.Unlock()
	switch {
	case h.gone:
		return errGone
	case h.Machine() != nil:
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
	if err := h.frontLocked(); err != nil {
		return err
	}
	m, err := fakesystemd.New(fakesystemd.HostConfig{Dir: h.Dir, Units: spec, Log: h.fleet.cfg.Log.With("host", h.ID)})
	if err != nil {
		return err
	}
	h.setMachine(m)
	on, cut := context.WithCancel(context.Background()) // until its power goes
	h.cut = cut
	h.fleet.serving.Go(func() { h.rebootWhenAsked(on, m) })
	for _, unit := range []string{EtcdUnit, AgentUnit} { // both are enabled
		if err := m.StartUnit(unit); err != nil {
			return err
		}
	}
	return nil
}

// frontLocked puts in place what stands before etcd, and what the unit must know for it.
func (h *Host) frontLocked() error {
	cfg := h.fleet.cfg
	if cfg.Answered == nil && cfg.Links == (Links{}) && len(cfg.EtcdEnv) == 0 {
		return nil
	}
	if _, err := h.systemdDirs().WriteDropIn(h.operatorsDropIn()); err != nil {
		return err
	}
	if cfg.Answered != nil {
		p, err := h.fleet.newProxy(h)
		if err != nil {
			return err
		}
		h.before = append(h.before, p)
	}
	if cfg.Links != (Links{}) {
		l, err := h.fleet.newLink(h)
		if err != nil {
			return err
		}
		h.before = append(h.before, l)
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
			Name: EtcdUnit, ExecStart: []string{h.etcd}, Stdout: out[h.Logs.Etcd],
			NotifyReady: true, Restart: true, RestartDelay: cfg.EtcdRestart,
			Env: []string{ // for the guard
				"QUORUMD_SYSTEMD_BOOT_ID_FILE=" + filepath.Join(h.Dir, "boot_id"), "QUORUMD_SYSTEMD_MACHINE_ID_FILE=" + filepath.Join(h.Dir, "machine-id"),
			},
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
	h.power.Lock()
	defer h.power.Unlock()
	h.offLocked()
}

// Cycle pulls the plug of a machine and boots it again, unless its instance ends. One
// that EC2 still calls pending boots: its agent may act before EC2 has noticed that
// it runs.
func (h *Host) Cycle() error {
	h.powerOff()
	switch inst, _ := h.fleet.Cloud.Instance(h.ID); inst.State {
	case fakeaws.Pending, fakeaws.Running:
		return h.boot()
	}
	return errGone
}

// end is the last power-off: whoever was about to boot the machine must not, for its
// disks go, and its address may be another's next.
func (h *Host) end() {
	h.power.Lock()
	defer h.power.Unlock()
	h.gone = true
	h.offLocked()
}

func (h *Host) offLocked() {
	if h.cut != nil {
		h.cut()
		h.cut = nil
	}
	if m := h.setMachine(nil); m != nil {
		m.PowerOff()
	}
	for _, p := range h.before {
		p.close()
	}
	h.before = nil
	for _, f := range h.logs {
		f.Close()
	}
	h.logs = nil
}
