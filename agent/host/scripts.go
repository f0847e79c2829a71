package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Scripts are the executable files of one directory, which run in the order of their
// names.
type Scripts struct {
	Dir string
	// Each bounds one of them, Whole all together. Defaults 5 and 15 minutes.
	Each, Whole time.Duration
	// Env is added to their environment, as K=V.
	Env []string
	// Log gets what they write. Required.
	Log *slog.Logger
}

// ScriptError is the failure of one script; those after it were not run.
type ScriptError struct {
	// Script is its path.
	Script string
	Err    error
}

func (e *ScriptError) Error() string { return e.Script + ": " + e.Err.Error() }
func (e *ScriptError) Unwrap() error { return e.Err }

// Run runs them all, one after another, and stops at the first that fails, with a
// [ScriptError]. No directory, or nothing executable in it, is nothing to do.
//
// A file or directory that somebody else than root and the agent's own user may write
// is a failure, not skipped: its author meant it to run, and it cannot be trusted.
func (s Scripts) Run(ctx context.Context) error {
	if s.Each <= 0 {
		s.Each = 5 * time.Minute
	}
	if s.Whole <= 0 {
		s.Whole = 15 * time.Minute
	}
	paths, err := s.list()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Whole, fmt.Errorf("the time limit of all scripts together (%s) is over", s.Whole))
	defer cancel()
	for _, path := range paths {
		if err := s.one(ctx, path); err != nil {
			return &ScriptError{path, err}
		}
	}
	return nil
}

// Any reports whether Run would run something, or fail before it does.
func (s Scripts) Any() bool {
	paths, err := s.list()
	return err != nil || len(paths) > 0
}

func (s Scripts) one(ctx context.Context, path string) error {
	began := time.Now()
	s.Log.Info("script starts", "script", path)
	e, err := run(ctx, s.Each, []string{path}, s.Env, func(line string) {
		s.Log.Info("script says", "script", path, "line", line)
	})
	switch {
	case errors.Is(err, errTimeLimit):
		return fmt.Errorf("%w of %s", err, s.Each)
	case err != nil:
		return err
	case e.code != 0:
		return errors.New(e.String())
	}
	s.Log.Info("script ended", "script", path, "seconds", time.Since(began).Seconds())
	return nil
}

// list gives the paths of what is to be run, and refuses what must not be.
func (s Scripts) list() ([]string, error) {
	entries, err := os.ReadDir(s.Dir) // sorted by name
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read scripts: %w", err)
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(s.Dir, e.Name())
		info, err := os.Stat(path) // of what a link points to
		switch {
		case strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), "~"):
			continue // an editor's
		case err != nil:
			return nil, &ScriptError{path, err}
		case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
			continue
		}
		if err := trusted(info); err != nil {
			return nil, &ScriptError{path, err}
		}
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		return nil, nil
	}
	info, err := os.Stat(s.Dir)
	if err == nil {
		err = trusted(info)
	}
	if err != nil {
		return nil, &ScriptError{s.Dir, err}
	}
	return paths, nil
}

// trusted makes sure that nobody but root and we can have written it.
func trusted(info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("its mode is %04o: others may write it (chmod go-w)", info.Mode().Perm())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, not to root (chown root)", st.Uid)
	}
	return nil
}
