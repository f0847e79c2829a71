//go:build linux

package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/test/fleet"
)

// Boot switches the host on and returns at once.
func (h *Host) Boot() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.on {
		return fmt.Errorf("%s is on already", h.name)
	}
	if err := h.LinkUp(); err != nil { // PowerOff pulled it
		return err
	}
	h.state = hostState{on: true, boots: h.state.boots}
	h.ended = make(chan struct{})
	go h.supervise(h.ended)
	return nil
}

// Start switches the host on and waits until systemd says that it is up. A
// unit that starts at boot and waits for other hosts (etcd without quorum)
// holds that back: then use Boot and WaitBooted.
func (h *Host) Start(ctx context.Context) error {
	if err := h.Boot(); err != nil {
		return err
	}
	return h.WaitReady(ctx)
}

// WaitReady waits until systemd has completed the boot (running or degraded).
func (h *Host) WaitReady(ctx context.Context) error {
	_, err := h.wait(ctx, "boot to complete", func(s hostState) bool { return s.ready })
	return err
}

// WaitBooted waits until systemd takes commands, though not every unit that
// starts at boot may have started.
func (h *Host) WaitBooted(ctx context.Context) error {
	if _, err := h.wait(ctx, "boot to begin", func(s hostState) bool { return s.leader != 0 }); err != nil {
		return err
	}
	return fleet.Until(ctx, 20*time.Millisecond, h.name+": systemd to take commands", func(ctx context.Context) error {
		out, _ := h.Exec(ctx, "systemctl", "is-system-running") // exit 1 for all but "running"
		switch state := string(bytes.TrimSpace(out)); state {
		case "starting", "running", "degraded", "maintenance", "stopping":
			return nil
		default:
			return fmt.Errorf("system state %q", state)
		}
	})
}

// WaitReboot waits for a boot other than the one with this boot id to begin,
// and returns its id. The host must stay on meanwhile.
func (h *Host) WaitReboot(ctx context.Context, bootID string) (string, error) {
	s, err := h.wait(ctx, "reboot", func(s hostState) bool { return s.bootID != "" && s.bootID != bootID })
	return s.bootID, err
}

// WaitDown waits until the host is off: powered off from inside, or by PowerOff.
func (h *Host) WaitDown(ctx context.Context) error {
	_, err := h.wait(ctx, "power-off", func(s hostState) bool { return !s.on })
	return err
}

// Running tells whether a boot is in progress or complete.
func (h *Host) Running() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.leader != 0
}

// BootID of the current boot, "" between two boots and while off.
func (h *Host) BootID() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state.bootID
}

// Shutdown powers the host off in order, as its power button does: units are
// stopped, their ExecStop runs. It waits for the end of it.
func (h *Host) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	leader := h.state.leader
	h.mu.Unlock()
	if leader == 0 {
		return fmt.Errorf("shut down %s: %w", h.name, ErrDown)
	}
	const sigrtmin = 34                   // as glibc counts, and systemd with it
	const sigPowerOff = sigrtmin + 4      // systemd(1): starts poweroff.target
	_ = syscall.Kill(leader, sigPowerOff) // gone already is as good
	return h.WaitDown(ctx)
}

// PowerOff takes the power away, now: no unit is told, and no peer either, as
// the cable is pulled first (a kernel that kills a process closes its
// connections politely; a machine without power does not). It returns when the
// host's processes are gone; of a host that is off it asks nothing.
func (h *Host) PowerOff() {
	h.mu.Lock()
	on, ended := h.state.on, h.ended
	h.state.off = true
	h.mu.Unlock()
	if !on {
		return
	}
	_ = h.ThawDisk() // whoever waits for it could not be killed
	_ = h.LinkDown() // best effort: fails only when the namespace is gone
	// nspawn sees its leader die, tidies up after itself and ends. A process in an
	// uninterruptible wait may keep it. Before there is a leader, nspawn is all.
	h.kill(func(s hostState) int { return cmp.Or(s.leader, s.nspawn) })
	if !closedWithin(ended, 3*time.Second) {
		h.kill(func(s hostState) int { return s.nspawn })
		closedWithin(ended, 3*time.Second)
	}
}

func (h *Host) kill(pid func(hostState) int) {
	h.mu.Lock()
	defer h.mu.Unlock() // the supervisor forgets a pid, under this lock, before it reaps it
	if p := pid(h.state); p > 1 {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
}

func closedWithin(c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// set changes the state and wakes all who wait.
func (h *Host) set(change func(*hostState)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.state)
	close(h.moved)
	h.moved = make(chan struct{})
}

// wait returns when the state is as wanted, when ctx ends, or when the host
// went down and so cannot get there.
func (h *Host) wait(ctx context.Context, what string, want func(hostState) bool) (hostState, error) {
	for {
		h.mu.Lock()
		s, moved := h.state, h.moved
		h.mu.Unlock()
		switch {
		case want(s):
			return s, nil
		case !s.on:
			return s, fmt.Errorf("wait for %s of %s: %w (exit %d): %s", what, h.name, ErrDown, s.exit, h.consoleTail())
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return s, fmt.Errorf("wait for %s of %s: %w: %s", what, h.name, context.Cause(ctx), h.consoleTail())
		}
	}
}

func (h *Host) consoleTail() string {
	data, err := os.ReadFile(filepath.Join(h.dir, "console.log"))
	if err != nil {
		return err.Error()
	}
	if len(data) > 1000 {
		data = data[len(data)-1000:]
	}
	return string(data)
}

// exitReboot is nspawn's exit code for "the host rebooted itself, start it again".
const exitReboot = 133

// supervise keeps the host on: it starts nspawn, and again after each reboot.
func (h *Host) supervise(ended chan<- struct{}) {
	defer close(ended)
	for {
		begin := time.Now()
		exit, err := h.bootOnce(begin)
		h.mu.Lock()
		off := h.state.off
		h.mu.Unlock()
		if exit == exitReboot && !off {
			h.lab.logf("%s reboots", h.name)
			h.set(func(s *hostState) { *s = hostState{on: true, boots: s.boots, off: s.off, exit: exit} })
			continue
		}
		h.lab.logf("%s is off (nspawn: %v)", h.name, err)
		h.set(func(s *hostState) { *s = hostState{boots: s.boots, exit: exit} })
		return
	}
}

// spawn joins cgroups of the host's own (systemd in it manages them), mounts
// the layers in a mount namespace that ends with it, and becomes nspawn. Each
// boot has a cgroup of its own: version 2 takes no process into one with children.
const spawn = `set -e
group=$1 dir=$2 base=$3; shift 3
for c in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
	[ -e $c/cgroup.procs ] || continue
	mkdir -p $c/$group
	echo $$ >$c/$group/cgroup.procs
done
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
exec "$@"
`

func (h *Host) command(boot int, notify string) *exec.Cmd {
	argv := []string{"--mount", "--propagation=private", "sh", "-c", spawn, "sh",
		fmt.Sprintf("%s/%s-%d", h.lab.id, filepath.Base(h.dir), boot), h.dir, h.lab.base,
		"systemd-nspawn", "--quiet", "--directory=" + filepath.Join(h.dir, "root"),
		"--machine=" + h.namespace(), "--hostname=" + h.Spec.Hostname,
		"--network-namespace-path=" + h.path(),
		"--register=no", "--keep-unit", "--notify-ready=yes",
		"--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"}
	argv = append(append(argv, h.binds...), "--boot")
	cmd := exec.Command("unshare", argv...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify, "LANG=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's Ctrl-C is for the harness
	return cmd
}

// bootOnce runs one boot to its end and returns nspawn's exit code.
func (h *Host) bootOnce(begin time.Time) (int, error) {
	h.mu.Lock()
	h.state.boots++
	boot := h.state.boots
	h.mu.Unlock()

	console, err := os.OpenFile(filepath.Join(h.dir, "console.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return -1, err
	}
	defer console.Close()
	path := filepath.Join(stateDir(h.lab.id), h.name+".notify")
	_ = os.Remove(path) // of the boot before
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return -1, err
	}
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		h.listen(notify, begin)
	}()
	defer func() {
		notify.Close()
		<-listened
	}()

	cmd := h.command(boot, path)
	cmd.Stdout, cmd.Stderr = console, console
	h.mu.Lock() // so that PowerOff sees no nspawn, or its pid
	if h.state.off {
		h.mu.Unlock()
		return -1, errors.New("power was taken before the boot")
	}
	err = cmd.Start()
	if err == nil {
		h.state.nspawn = cmd.Process.Pid
	}
	h.mu.Unlock()
	if err != nil {
		return -1, err
	}
	err = h.reap(cmd)
	return cmd.ProcessState.ExitCode(), err
}

// reap waits for nspawn. Its pid stays taken until Wait, so it is forgotten
// after the end and before Wait: nobody kills a stranger who got the number.
func (h *Host) reap(cmd *exec.Cmd) error {
	waitExited(cmd.Process.Pid)
	h.set(func(s *hostState) { s.nspawn, s.leader, s.ready, s.bootID = 0, 0, false, "" })
	return cmd.Wait()
}

// listen takes in what nspawn and the systemd in it say about the boot.
func (h *Host) listen(notify *net.UnixConn, begin time.Time) {
	buf := make([]byte, 4096)
	for {
		n, err := notify.Read(buf)
		if err != nil {
			return // closed: the boot is over
		}
		for line := range strings.Lines(string(buf[:n])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "X_NSPAWN_LEADER_PID":
				h.begun(value)
			case "READY":
				h.lab.logf("%s is up, %.2fs after power-on or reboot", h.name, time.Since(begin).Seconds())
				h.set(func(s *hostState) { s.ready = s.leader != 0 })
			}
		}
	}
}

func (h *Host) begun(leader string) {
	pid, err := strconv.Atoi(leader)
	if err != nil {
		return
	}
	id, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/sys/kernel/random/boot_id", pid))
	if err != nil {
		return // it died just now
	}
	h.set(func(s *hostState) {
		if s.nspawn != 0 {
			s.leader, s.bootID = pid, strings.TrimSpace(string(id))
		}
	})
}
