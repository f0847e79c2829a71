package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// ErrInUse means that another process serves the socket.
var ErrInUse = errors.New("another process listens on it")

// Listen makes the control socket: mode 0600, in a directory that is made with
// mode 0700 if need be. A socket that nobody listens on (a crashed agent's) is
// replaced; one that somebody does is [ErrInUse]; anything else in its place is
// left alone and an error.
//
// It is bound under another name and renamed once its mode is right, so there is
// no instant at which somebody else could open it. Two agents that start at the
// same time are kept apart by the lock of state_dir.
func Listen(path string) (net.Listener, error) {
	l, err := listen(path)
	if err != nil {
		return nil, fmt.Errorf("listen on control socket %s: %w", path, err)
	}
	return l, nil
}

func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := free(path); err != nil {
		return nil, err
	}
	fresh := path + ".new"
	if err := free(fresh); err != nil {
		return nil, err
	}
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // by its old name it would miss; see socket.Close
	s := &socket{UnixListener: l, path: path}
	if err := s.publish(fresh); err != nil {
		return nil, errors.Join(err, os.Remove(fresh), l.Close())
	}
	return s, nil
}

// free makes sure that nobody's socket or file is at path. A dead socket may be.
func free(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		return errors.Join(ErrInUse, c.Close())
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil
	}
	// Full backlog, no permission: somebody may well be there.
	return fmt.Errorf("look whether somebody listens: %w", err)
}

// socket takes its file away on Close, if it is still its own.
type socket struct {
	*net.UnixListener
	path string
	info fs.FileInfo
	once sync.Once
	err  error
}

func (s *socket) publish(from string) error {
	if err := os.Chmod(from, 0o600); err != nil {
		return err
	}
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	s.info = info
	return os.Rename(from, s.path)
}

// Close ends listening and removes the file.
func (s *socket) Close() error {
	s.once.Do(func() {
		// Inode numbers are used again, so the time counts too.
		if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.info) && info.ModTime().Equal(s.info.ModTime()) {
			s.err = os.Remove(s.path)
		}
		s.err = errors.Join(s.err, s.UnixListener.Close())
	})
	return s.err
}
