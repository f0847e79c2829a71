//go:build linux

package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// HostSpec names a host. Only Name and Addr are required.
type HostSpec struct {
	Name      string     // unique in the lab, at most 12 letters; the namespace is <lab>-<name>
	Addr      netip.Addr // in Subnet
	Hostname  string     // what the host calls itself; default Name
	MachineID string     // 32 hex digits; default random. Lasts as long as the layers: over reboots
}

// Host is one machine: its layers (the disk) last until the lab closes, while
// it may boot, reboot and lose its power many times. What happens to it is
// seen through BootID, Ready, Running and the waits for them.
type Host struct {
	*Net
	Spec HostSpec

	dir   string   // upper, work, root, console.log
	binds []string // nspawn arguments

	mu    sync.Mutex
	state hostState
	moved chan struct{} // closed and replaced at every change of state
	ended chan struct{} // closed when the supervisor of the current power-on has ended
}

// hostState is the host as its supervisor sees it.
type hostState struct {
	on     bool   // a supervisor runs: powered, perhaps between two boots
	off    bool   // power is being taken: no further boot
	leader int    // pid of the host's systemd in the machine's pid namespace, 0: none
	nspawn int    // pid of its nspawn, 0: none
	bootID string // of the current boot, "" until it began
	ready  bool   // systemd said that the boot is complete (running or degraded)
	boots  int    // boots so far, reboots included
	exit   int    // nspawn's last exit code
}

// ErrDown tells that a host is off, or went off while it was waited for.
var ErrDown = errors.New("host is down")

// AddHost makes a host, without power. Provision it (WriteFile, Bind, Enable),
// then Start it.
func (l *Lab) AddHost(spec HostSpec) (*Host, error) {
	if spec.Hostname == "" {
		spec.Hostname = spec.Name
	}
	if spec.MachineID == "" {
		id := make([]byte, 16)
		rand.Read(id)
		spec.MachineID = hex.EncodeToString(id)
	}
	n, err := l.AddNet(spec.Name, spec.Addr)
	if err != nil {
		return nil, err
	}
	if err := ipAll([]string{"-n", n.namespace(), "addr", "add", IMDSAddr + "/32", "dev", "lo"}); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.made++
	dir := filepath.Join(l.dir, fmt.Sprintf("%s.%d", spec.Name, l.made)) // names come back, see Retire; disks do not
	l.mu.Unlock()
	h := &Host{Net: n, Spec: spec, dir: dir, moved: make(chan struct{})}
	if err := h.format(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, h)
	return h, nil
}

// format makes a new disk.
func (h *Host) format() error {
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(h.dir, d), 0o755); err != nil {
			return err
		}
	}
	for path, text := range map[string]string{
		"/etc/hostname":   h.Spec.Hostname + "\n",
		"/etc/machine-id": h.Spec.MachineID + "\n",
		"/etc/hosts":      "127.0.0.1 localhost\n" + h.Spec.Addr.String() + " " + h.Spec.Hostname + "\n",
	} {
		if err := h.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Wipe replaces the disk of a host that is off by a new one: provision it again.
func (h *Host) Wipe() error {
	h.mu.Lock()
	on := h.state.on
	h.mu.Unlock()
	if on {
		return fmt.Errorf("wipe %s: it is on", h.name)
	}
	for _, d := range []string{"upper", "work"} {
		if err := os.RemoveAll(filepath.Join(h.dir, d)); err != nil {
			return err
		}
	}
	h.binds = nil
	return h.format()
}

// Retire takes the host off for good, and its name and address are free again.
// Its layers stay until the lab closes, so that its journal can still be read.
func (h *Host) Retire() error {
	h.PowerOff()
	l := h.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.nets[h.name] != h.Net {
		return nil // done, or Close does it
	}
	// The cable first: it goes with the namespace, too, but when is the kernel's affair.
	if err := ipAll([]string{"-n", l.hub.namespace(), "link", "del", h.port}, []string{"netns", "del", h.namespace()}); err != nil {
		return err
	}
	delete(l.nets, h.name)
	l.hosts = slices.DeleteFunc(l.hosts, func(other *Host) bool { return other == h })
	return nil
}

// Name within the lab.
func (h *Host) Name() string { return h.Spec.Name }

func (h *Host) upper() string { return filepath.Join(h.dir, "upper") }

// disk is the host's file tree for writing: the live one while it runs, else
// its own layer. os.Root refuses absolute symbolic links rather than follow
// them into the machine's own files: name /run, not /var/run; /usr/bin, not /bin.
func (h *Host) disk() (*os.Root, error) {
	h.mu.Lock()
	leader := h.state.leader
	h.mu.Unlock()
	if leader != 0 {
		return os.OpenRoot(fmt.Sprintf("/proc/%d/root", leader))
	}
	return os.OpenRoot(h.upper())
}

func inTree(path string) string { return strings.TrimPrefix(filepath.Clean(path), "/") }

// WriteFile writes a file of the host, before or after it booted.
func (h *Host) WriteFile(path string, data []byte, mode fs.FileMode) error {
	disk, err := h.disk()
	if err != nil {
		return err
	}
	defer disk.Close()
	name := inTree(path)
	if err := disk.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := disk.WriteFile(name, data, mode); err != nil {
		return err
	}
	return disk.Chmod(name, mode) // whatever the umask
}

// ReadFile reads a file of the host, also while it is off.
func (h *Host) ReadFile(path string) ([]byte, error) {
	disk, err := h.disk()
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	data, err := disk.ReadFile(inTree(path))
	if errors.Is(err, fs.ErrNotExist) && !h.Running() {
		return os.ReadFile(filepath.Join(h.lab.base, inTree(path)))
	}
	return data, err
}

// CopyFrom puts files and directories of another host, running or not, onto this
// host's disk as they are: an image made of it, a volume that was moved.
func (h *Host) CopyFrom(ctx context.Context, other *Host, paths ...string) error {
	from := other.upper()
	other.mu.Lock()
	if leader := other.state.leader; leader != 0 {
		from = fmt.Sprintf("/proc/%d/root", leader)
	}
	other.mu.Unlock()
	for _, path := range paths {
		to := filepath.Join(h.upper(), inTree(path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if _, err := run(ctx, "cp", "-a", "--no-target-directory", filepath.Join(from, inTree(path)), to); err != nil {
			return err
		}
	}
	return nil
}

// Bind shows a file or directory of the machine in the host, read-only and
// without a copy, from the next boot on: binaries.
func (h *Host) Bind(source, path string) {
	h.binds = append(h.binds, "--bind-ro="+source+":"+path)
}

// Enable makes the host start a unit at boot. The unit's file is in
// /etc/systemd/system. Before the first boot; later use Exec(systemctl enable).
func (h *Host) Enable(unit string) error {
	disk, err := h.disk()
	if err != nil {
		return err
	}
	defer disk.Close()
	wants := "etc/systemd/system/multi-user.target.wants"
	if err := disk.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	return disk.Symlink("../"+unit, filepath.Join(wants, unit))
}

// Exec runs a command inside the host, with root's rights and the host's view
// of everything, and returns its stdout; stderr is in the error. The whole
// command ends with ctx.
func (h *Host) Exec(ctx context.Context, argv ...string) ([]byte, error) {
	h.mu.Lock()
	leader := h.state.leader
	h.mu.Unlock()
	if leader == 0 {
		return nil, fmt.Errorf("%s on %s: %w", argv, h.name, ErrDown)
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", fmt.Sprint(leader), "-a", "--"}, argv...)...)
	cmd.Env = []string{"PATH=/opt/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/root", "SYSTEMD_COLORS=0"}
	// nsenter forks to get into the pid namespace: end the fork as well.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second // a process that a frozen disk holds does not end
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("%s on %s: %w: %s", argv, h.name, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// Journal returns what a unit logged over all boots ("": everything). It also
// reads the journal of a host that is off.
func (h *Host) Journal(ctx context.Context, unit string) ([]byte, error) {
	argv := []string{"journalctl", "--no-pager", "--quiet", "--output=short-iso-precise"}
	if unit != "" {
		argv = append(argv, "--unit="+unit)
	}
	if h.Running() {
		return h.Exec(ctx, argv...)
	}
	return run(ctx, append(argv, "--directory="+filepath.Join(h.upper(), "var/log/journal"))...)
}

// Kill sends a signal to all processes of a unit at once, and tells how many there
// were; 0 only counts. It takes a millisecond, where a command inside the host takes dozens.
func (h *Host) Kill(unit string, sig syscall.Signal) int {
	h.mu.Lock()
	group := fmt.Sprintf("%s/%s-%d", h.lab.id, filepath.Base(h.dir), h.state.boots)
	h.mu.Unlock()
	found := map[int]bool{}
	for _, root := range []string{"", "systemd", "unified"} {
		_ = filepath.WalkDir(filepath.Join("/sys/fs/cgroup", root, group), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == unit {
				for _, pid := range readPids(filepath.Join(path, "cgroup.procs")) {
					found[pid] = true
				}
			}
			return nil // what vanished has no processes
		})
	}
	for pid := range found {
		_ = syscall.Kill(pid, sig) // it may have ended by itself
	}
	return len(found)
}

// Freeze stops a unit's main process in the middle of whatever it does: it
// keeps its sockets and answers nothing. A host with a stalled process.
func (h *Host) Freeze(ctx context.Context, unit string) error { return h.signal(ctx, unit, "SIGSTOP") }

// Thaw lets it go on. Note that stopping a unit thaws it, too.
func (h *Host) Thaw(ctx context.Context, unit string) error { return h.signal(ctx, unit, "SIGCONT") }

func (h *Host) signal(ctx context.Context, unit, sig string) error {
	_, err := h.Exec(ctx, "systemctl", "kill", "--kill-whom=main", "--signal="+sig, unit)
	return err
}
