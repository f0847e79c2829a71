package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultMarker is the file that update tools leave behind on most systems.
const DefaultMarker = "/run/reboot-required"

// Marker is a file whose presence asks for a reboot.
type Marker struct {
	// Path of the file.
	Path string
	// Reread is how often it is looked for although nothing said that it came or
	// went. Default 30 s.
	Reread time.Duration
}

// Present looks for the file now.
func (m Marker) Present() (bool, error) {
	_, err := os.Stat(m.Path)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("look for %s: %w", m.Path, err)
}

// Watch reports whether the file is there: now, whenever it comes or goes, and every
// Reread. It watches the directory, because a file that is not there cannot be; while
// the directory is missing, too, only Reread remains. It ends with ctx, and returns
// ctx's error.
func (m Marker) Watch(ctx context.Context, report func(present bool, err error)) error {
	if m.Reread <= 0 {
		m.Reread = 30 * time.Second
	}
	for ctx.Err() == nil {
		events, stop, err := watchDir(filepath.Dir(m.Path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			report(false, fmt.Errorf("watch for %s: %w", m.Path, err))
			events = nil
		} else {
			report(m.Present())
		}
		m.follow(ctx, events, report)
		stop()
	}
	return ctx.Err()
}

// follow reports until ctx ends or the directory has to be watched anew.
func (m Marker) follow(ctx context.Context, events <-chan struct{}, report func(bool, error)) {
	timer := time.NewTimer(m.Reread)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				return // the directory is gone; what takes its place is another
			}
		case <-timer.C:
			if events == nil {
				return
			}
			timer.Reset(m.Reread)
		}
		report(m.Present())
	}
}

// watchDir tells of everything that happens to the names in a directory. Events that
// are not taken in time are merged. The channel is closed when the directory is gone;
// without one (err) it is nil. stop ends it and waits.
func watchDir(dir string) (events <-chan struct{}, stop func(), err error) {
	stop = func() {}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, stop, fmt.Errorf("inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify") // non-blocking: Close ends a Read
	const names = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
	if _, err := unix.InotifyAddWatch(fd, dir, names|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_ONLYDIR); err != nil {
		return nil, stop, errors.Join(fmt.Errorf("inotify %s: %w", dir, err), f.Close())
	}
	ch, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(ch)
		buf := make([]byte, 64<<10)
		for {
			n, err := f.Read(buf)
			if err != nil {
				return
			}
			select {
			case ch <- struct{}{}:
			default:
			}
			if over(buf[:n]) {
				return
			}
		}
	}()
	return ch, func() {
		_ = f.Close() // only read from
		<-ended
	}, nil
}

// over reports whether the events include the end of the watch itself.
func over(buf []byte) bool {
	for len(buf) >= unix.SizeofInotifyEvent {
		mask := nativeUint32(buf[4:])
		if mask&(unix.IN_IGNORED|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0 {
			return true
		}
		size := unix.SizeofInotifyEvent + int(nativeUint32(buf[12:]))
		if size > len(buf) {
			return true // not what the kernel sends
		}
		buf = buf[size:]
	}
	return false
}
