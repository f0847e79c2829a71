package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Sentinel is a command that tells whether a reboot is wanted.
type Sentinel struct {
	// Command is the program and its arguments; it is not given to a shell.
	Command []string
	// Limit is how long it may take. Default 30 s.
	Limit time.Duration
	// Log gets what it writes, at debug.
	Log *slog.Logger
}

// The exit codes with which shells say that they could not run a command.
const (
	notExecutable = 126
	notFound      = 127
)

// Wanted runs the command: exit code 0 means that a reboot is wanted, every other
// that none is. A command that could not be run, was killed or took too long has said
// nothing: that is an error.
func (s Sentinel) Wanted(ctx context.Context) (bool, error) {
	if len(s.Command) == 0 {
		return false, errors.New("there is no sentinel command")
	}
	if s.Limit <= 0 {
		s.Limit = 30 * time.Second
	}
	e, err := run(ctx, s.Limit, s.Command, nil, func(line string) {
		if s.Log != nil {
			s.Log.Debug("sentinel command says", "line", line)
		}
	})
	switch {
	case err != nil:
		return false, fmt.Errorf("run sentinel command %s: %w", s.Command[0], err)
	case e.code < 0, e.code == notExecutable, e.code == notFound:
		return false, fmt.Errorf("run sentinel command %s: %s", s.Command[0], e)
	}
	return e.code == 0, nil
}
