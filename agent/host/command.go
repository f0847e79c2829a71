package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	maxLines = 200 // of a program's output that are logged
	maxLine  = 1000

	// outputGrace is how long output is read after the program has ended, from
	// children that it left behind.
	outputGrace = time.Second
)

// cleanPath is the search path of every program run here.
const cleanPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin"

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// exit is how a program ended.
type exit struct {
	code   int // -1: by a signal
	signal syscall.Signal
}

func (e exit) String() string {
	if e.code < 0 {
		return "killed by " + e.signal.String()
	}
	return fmt.Sprintf("exit code %d", e.code)
}

// errTimeLimit: a program was killed because its time was over.
var errTimeLimit = errors.New("killed at its time limit")

// run runs a program within limit and gives its exit. Its process group does not
// outlive it. line is called with what it writes.
func run(ctx context.Context, limit time.Duration, argv, env []string, line func(string)) (exit, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeLimit)
	defer cancel()
	out := &lines{to: line}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append([]string{cleanPath, "LANG=C.UTF-8", "HOME=/root"}, env...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = outputGrace
	killGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = killGroup
	if err := cmd.Start(); err != nil {
		return exit{}, err
	}
	err := cmd.Wait()
	_ = killGroup() // what is left of it; mostly nothing is
	out.flush()
	if cause := context.Cause(ctx); cause != nil {
		return exit{}, cause
	}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) && !errors.Is(err, exec.ErrWaitDelay) {
		return exit{}, err
	}
	e := exit{code: cmd.ProcessState.ExitCode()}
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		e.signal = st.Signal()
	}
	return e, nil
}

// lines cuts a program's output into lines, at most maxLines of maxLine bytes.
type lines struct {
	to   func(string)
	rest []byte
	n    int
}

// Write implements io.Writer. exec.Cmd calls it from one goroutine.
func (l *lines) Write(p []byte) (int, error) {
	for b := p; len(b) > 0; {
		i := bytes.IndexByte(b, '\n')
		part := b
		if i >= 0 {
			part, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if room := maxLine - len(l.rest); room > 0 {
			l.rest = append(l.rest, part[:min(room, len(part))]...)
		}
		if i >= 0 {
			l.flush()
		}
	}
	return len(p), nil
}

func (l *lines) flush() {
	s := strings.ToValidUTF8(strings.TrimRight(string(l.rest), "\r"), "?")
	l.rest = l.rest[:0]
	if s == "" {
		return
	}
	l.n++
	switch {
	case l.n < maxLines:
		l.to(s)
	case l.n == maxLines:
		l.to("(more output is not shown)")
	}
}
