package record

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/quorumd/quorumd/agent/durable"
)

// ErrLocked means that another agent uses the same state_dir.
var ErrLocked = errors.New("another agent uses this state_dir")

// Lock is the right to use a state_dir. The kernel takes it back when the process
// ends, however it ends, so there is never a stale one.
type Lock struct{ f *os.File }

// Lock makes the directory if need be and takes the right to use it, without
// waiting. When another process has it the error is [ErrLocked] and names its pid.
func (s Store) Lock() (*Lock, error) {
	if err := durable.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state_dir: %w", err)
	}
	f, err := os.OpenFile(s.path(lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of state_dir: %w", err)
	}
	l := &Lock{f}
	if err := l.take(); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return l, nil
}

func (l *Lock) take() error {
	for {
		err := syscall.Flock(int(l.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("%w: %s", ErrLocked, l.owner())
		case err != nil:
			return err
		}
		break
	}
	// The pid is for people; the lock is what counts. On a full disk it cannot be
	// written, and then an agent must still run: to say so, and to leave.
	if l.f.Truncate(0) == nil {
		_, _ = l.f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return nil
}

// owner names the process that has the lock, as far as it wrote itself down.
func (l *Lock) owner() string {
	data, err := io.ReadAll(io.LimitReader(l.f, 32))
	pid, aerr := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || aerr != nil {
		return "its pid is not known"
	}
	return fmt.Sprintf("pid %d", pid)
}

// Close gives the right back. The file stays: removing it could take away the
// lock of whoever opened it in between.
func (l *Lock) Close() error { return l.f.Close() }
