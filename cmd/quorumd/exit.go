package main

import (
	"errors"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/peer"
)

// Exit codes. The root command's help documents them; scripts depend on them.
const (
	exitOK          = 0 // done
	exitFailed      = 1 // it did not work
	exitUsage       = 2 // wrong usage or configuration; nothing was touched
	exitUnreachable = 3 // the agent cannot be reached
	exitRefused     = 4 // the agent refused, and said why
)

// usageError is a mistake of whoever called.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// exitCode is the one place that turns an error into a code.
func exitCode(err error) int {
	var usage usageError
	var cfg config.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), errors.As(err, &cfg):
		return exitUsage
	case errors.Is(err, peer.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, control.ErrRefused):
		return exitRefused
	}
	return exitFailed
}
