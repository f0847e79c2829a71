package fakesystemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one run of a unit.
type process struct {
	pid        int
	invocation string
	socket     *net.UnixConn // NOTIFY_SOCKET; nil without
	closing    chan struct{}
	readers    sync.WaitGroup
}

// note is one sd_notify message.
type note struct {
	from *process
	text string
}

// exit is how a main process ended: with a code, or by a signal.
type exit struct {
	code   int
	signal syscall.Signal
}

// outputGrace is how long output is still read after the main process ended, in
// case a child that it left behind holds the pipe open.
const outputGrace = 500 * time.Millisecond

// spawn starts the unit's program.
func (u *unit) spawn(dropInEnv []string) (*process, error) {
	p := &process{invocation: randomHex(), closing: make(chan struct{})}
	env := append(u.environment(dropInEnv), "INVOCATION_ID="+p.invocation)
	if u.spec.NotifyReady {
		path := filepath.Join(u.host.dir, "n"+strconv.Itoa(int(u.host.sockets.Add(1))))
		if err := p.listen(path); err != nil {
			return nil, err
		}
		env = append(env, "NOTIFY_SOCKET="+path)
	}
	cmd := exec.Command(u.spec.ExecStart[0], u.spec.ExecStart[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = env, u.spec.WorkingDir, outputGrace
	if u.spec.Stdout != nil {
		cmd.Stdout, cmd.Stderr = u.spec.Stdout, u.spec.Stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.close()
		return nil, fmt.Errorf("start process: %w", err)
	}
	p.pid = cmd.Process.Pid
	if p.socket != nil {
		p.readers.Go(func() { p.readNotes(u.notes) })
	}
	// The unit's goroutine takes this exit in every case, so the sender always
	// ends; readers is awaited only after that.
	p.readers.Go(func() { u.exits <- waitFor(cmd) })
	return p, nil
}

// environment of the unit's processes: systemd passes none of its own on.
// Duplicates: exec.Cmd keeps the last.
func (u *unit) environment(dropIns []string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8", "DBUS_SYSTEM_BUS_ADDRESS=" + u.host.Address()}
	return append(append(env, u.spec.Env...), dropIns...)
}

func waitFor(cmd *exec.Cmd) exit {
	// The error repeats the state, or says that a left-over child kept the
	// output open; neither matters here.
	_ = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return exit{signal: status.Signal()}
	}
	return exit{code: cmd.ProcessState.ExitCode()}
}

func (p *process) listen(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old notification socket: %w", err)
	}
	var err error
	p.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("listen for notifications: %w", err)
	}
	return nil
}

// readNotes passes on what the process says until the socket is closed.
func (p *process) readNotes(notes chan<- note) {
	buf := make([]byte, 4096)
	for {
		n, err := p.socket.Read(buf)
		if err != nil {
			return
		}
		select {
		case notes <- note{p, strings.TrimSpace(string(buf[:n]))}:
		case <-p.closing:
			return
		}
	}
}

// signal reaches the main process and all its children that kept its process
// group. A group that is gone needs none.
func (p *process) signal(sig syscall.Signal) {
	_ = syscall.Kill(-p.pid, sig)
}

// close ends what is left of the process group and the goroutines that served
// the process. The main process must have ended, or never begun.
func (p *process) close() {
	if p.pid != 0 {
		p.signal(syscall.SIGKILL)
	}
	close(p.closing)
	if p.socket != nil {
		name := p.socket.LocalAddr().String()
		p.socket.Close()
		_ = os.Remove(name) // a datagram socket's file stays after its close
	}
	p.readers.Wait()
}
