package fakesystemd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/units"
)

// ErrPoweredOff is returned for everything asked of a Host after PowerOff.
var ErrPoweredOff = errors.New("host is powered off")

// Unit declares one service of a Host.
type Unit struct {
	Name       string   // "etcd-member.service"
	ExecStart  []string // program (absolute path) and arguments
	Env        []string // "K=V"; drop-ins override these
	WorkingDir string   // default: the Host's directory

	// Stdout takes standard output and error; nil discards them. An *os.File is
	// handed to the process as it is. One writer may serve several units only
	// if it is safe for concurrent use.
	Stdout io.Writer

	// NotifyReady makes the unit Type=notify: it is active once the process
	// has sent READY=1. Otherwise it is active as soon as it runs.
	NotifyReady bool

	Restart      bool          // Restart=always
	RestartDelay time.Duration // RestartSec=, the pause before a restart; default 100 ms
	StopTimeout  time.Duration // TimeoutStopSec=, between SIGTERM and SIGKILL; default 10 s
}

// HostConfig describes a Host.
type HostConfig struct {
	// Dir holds everything of the machine. It is created if need be, and may
	// be that of an earlier Host: then this is the same machine booted again,
	// with its lasting drop-ins and machine id, but without its runtime ones.
	// It must be short, a socket address has 107 bytes.
	Dir   string
	Units []Unit
	Log   *slog.Logger // default: discard
}

// Host is one machine. Its methods may be called concurrently.
type Host struct {
	dir   string
	log   *slog.Logger
	bus   *bus
	units map[string]*unit // fixed after New
	other others

	jobs    atomic.Uint32 // last job id
	sockets atomic.Uint32 // last notification socket
	off     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup // unit goroutines
}

// New boots a machine: it reads the drop-ins and serves the bus, but starts no
// unit.
func New(cfg HostConfig) (*Host, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("boot host: %w", err)
	}
	h := &Host{dir: dir, log: cfg.Log, units: map[string]*unit{}, other: others{reboot: make(chan struct{})}}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if err := h.prepareDir(); err != nil {
		return nil, fmt.Errorf("boot host: %w", err)
	}
	for _, spec := range cfg.Units {
		if err := h.declare(spec); err != nil {
			return nil, fmt.Errorf("boot host: %w", err)
		}
	}
	if err := h.Reload(); err != nil {
		return nil, fmt.Errorf("boot host: %w", err)
	}
	h.off, h.cancel = context.WithCancel(context.Background())
	h.bus = newBus(h)
	if err := h.bus.start(); err != nil {
		h.cancel()
		return nil, fmt.Errorf("boot host: %w", err)
	}
	for _, u := range h.units {
		h.running.Go(func() { u.run(h.off) })
	}
	return h, nil
}

// prepareDir makes what a booting machine finds: an empty /run, a new boot id,
// the machine id it always had.
func (h *Host) prepareDir() error {
	dirs := h.Dirs()
	if err := os.RemoveAll(dirs.Runtime); err != nil {
		return err
	}
	for _, d := range []string{h.dir, dirs.System, dirs.Runtime} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	id := randomHex()
	boot := id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:] + "\n"
	if err := os.WriteFile(h.BootIDFile(), []byte(boot), 0o600); err != nil {
		return err
	}
	if _, err := os.Stat(h.MachineIDFile()); err == nil {
		return nil
	}
	return os.WriteFile(h.MachineIDFile(), []byte(randomHex()+"\n"), 0o600)
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (h *Host) declare(spec Unit) error {
	switch {
	case !strings.HasSuffix(spec.Name, ".service"):
		return fmt.Errorf("unit %q is not a service", spec.Name)
	case len(spec.ExecStart) == 0 || !filepath.IsAbs(spec.ExecStart[0]):
		return fmt.Errorf("unit %s has no program with an absolute path", spec.Name)
	case h.units[spec.Name] != nil:
		return fmt.Errorf("unit %s is declared twice", spec.Name)
	}
	if spec.RestartDelay <= 0 {
		spec.RestartDelay = 100 * time.Millisecond
	}
	if spec.StopTimeout <= 0 {
		spec.StopTimeout = 10 * time.Second
	}
	if spec.WorkingDir == "" {
		spec.WorkingDir = h.dir
	}
	h.units[spec.Name] = newUnit(h, spec)
	return nil
}

// Address returns the D-Bus address of the machine's bus.
func (h *Host) Address() string { return "unix:path=" + h.socketPath() }

func (h *Host) socketPath() string { return filepath.Join(h.dir, "bus") }

// Dirs returns where the machine reads drop-ins.
func (h *Host) Dirs() units.Dirs {
	return units.Dirs{System: filepath.Join(h.dir, "system"), Runtime: filepath.Join(h.dir, "run")}
}

// BootIDFile and MachineIDFile name this machine's own ids: those of the real
// machine are the same for all Hosts on it.
func (h *Host) BootIDFile() string    { return filepath.Join(h.dir, "boot_id") }
func (h *Host) MachineIDFile() string { return filepath.Join(h.dir, "machine-id") }

// Reload reads all drop-ins again. A setting that this package does not know is
// an error, and then all units keep what they had: a stand-in that ignored it
// would be no proof.
func (h *Host) Reload() error {
	ids := specifiers{}
	for c, file := range map[byte]string{'m': h.MachineIDFile(), 'b': h.BootIDFile()} {
		id, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reload: %w", err)
		}
		ids[c] = strings.ReplaceAll(strings.TrimSpace(string(id)), "-", "")
	}
	all := map[*unit]settings{}
	for name, u := range h.units {
		s, err := readDropIns(h.Dirs(), name, ids)
		if err != nil {
			return fmt.Errorf("reload: %w", err)
		}
		all[u] = s
	}
	for u, s := range all {
		u.configure(s)
	}
	return nil
}

// StartUnit queues a start job and returns.
func (h *Host) StartUnit(name string) error {
	_, err := h.queue(name, jobStart)
	return err
}

// RestartUnit queues a restart job and returns.
func (h *Host) RestartUnit(name string) error {
	_, err := h.queue(name, jobRestart)
	return err
}

// StopUnit stops a unit and waits until it has stopped or ctx ends.
func (h *Host) StopUnit(ctx context.Context, name string) error {
	if _, err := h.queue(name, jobStop); err != nil {
		return err
	}
	_, err := h.WaitUnit(ctx, name, func(s units.UnitState) bool { return s.Stopped() && s.JobID == 0 })
	return err
}

func (h *Host) queue(name string, kind jobKind) (uint32, error) {
	u := h.units[name]
	if u == nil {
		return 0, fmt.Errorf("%s %s: no such unit", kind, name)
	}
	id, err := u.ask(request{job: kind})
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	return id, nil
}

// KillUnit sends a signal to every process of a unit, unasked for: as far as the
// supervisor is concerned, whatever happens then happened by itself.
func (h *Host) KillUnit(name string, sig syscall.Signal) error {
	u := h.units[name]
	if u == nil {
		return fmt.Errorf("kill %s: no such unit", name)
	}
	if _, err := u.ask(request{signal: sig}); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	return nil
}

// UnitPID returns the main process of a unit, 0 if it has none.
func (h *Host) UnitPID(name string) int { return h.UnitState(name).MainPID }

// UnitState returns what the bus would say of a unit.
func (h *Host) UnitState(name string) units.UnitState {
	if u := h.units[name]; u != nil {
		st, _ := u.snapshot()
		return st
	}
	return notFound(name)
}

// WaitUnit waits until cond holds for a unit's state, and returns that state.
func (h *Host) WaitUnit(ctx context.Context, name string, cond func(units.UnitState) bool) (units.UnitState, error) {
	u := h.units[name]
	if u == nil {
		return notFound(name), fmt.Errorf("wait for %s: no such unit", name)
	}
	for {
		st, changed := u.snapshot()
		if cond(st) {
			return st, nil
		}
		select {
		case <-changed:
		case <-h.off.Done():
			return st, fmt.Errorf("wait for %s: %w", name, ErrPoweredOff)
		case <-ctx.Done():
			return st, fmt.Errorf("wait for %s, which is %s (%s): %w", name, st.ActiveState, st.SubState, ctx.Err())
		}
	}
}

func (h *Host) unitNames() []string {
	var names []string
	for name := range h.units {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// StopBus takes the bus away: it closes the socket and every connection, while
// the units run on. StartBus brings it back.
func (h *Host) StopBus() { h.bus.stop() }

// StartBus serves the bus again after StopBus.
func (h *Host) StartBus() error {
	if h.off.Err() != nil {
		return ErrPoweredOff
	}
	return h.bus.start()
}

// PowerOff pulls the plug: every process is killed at once, the bus is gone. It
// returns when the last process is reaped. The directory stays, for a New that
// boots the machine again.
func (h *Host) PowerOff() {
	h.cancel()
	h.bus.stop()
	h.running.Wait()
}

// Close is PowerOff under the name that defer expects.
func (h *Host) Close() { h.PowerOff() }
