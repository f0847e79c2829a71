package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

const (
	// leaveLook is how often the agent is asked while it leaves.
	leaveLook = 500 * time.Millisecond
	// leaveAsk bounds one question.
	leaveAsk = 2 * time.Second
	// leaveSilence is how long an agent may be silent: time for systemd to start one
	// anew that crashed (RestartSec=2).
	leaveSilence = 6 * time.Second
)

func (a *app) waitLeaveCommand() *cobra.Command {
	var socket string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait-leave",
		Short: "Wait until this node has left etcd, if it was told to go",
		Long: `Wait until the agent of this node has finished leaving. On a node that was not told
to go it returns at once. It asks for nothing: the agent leaves by itself.

quorumd-shutdown.service runs it when the machine stops, so that a leave that is
under way is not cut short.

Exit code 0: nothing to wait for, or no longer; 1: the time is over, and the last
reason is said; 3: the agent does not answer.`,
		Example: `  quorumd wait-leave --timeout 90s`,
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&socket, "control", "", "control socket (default: the configuration's listen.control)")
	cmd.Flags().DurationVar(&timeout, "timeout", 90*time.Second, "how long to wait at most")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if timeout <= 0 {
			return usageError{fmt.Errorf("--timeout %s is no time to wait, allowed: more than 0s", timeout)}
		}
		path, err := a.controlPath(socket)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		return a.waitLeave(ctx, func(ctx context.Context) (peer.Status, error) { return localStatus(ctx, path) })
	}
	return cmd
}

// waitLeave asks until the node is not leaving, or no longer, or ctx ends. Each new
// reason is said once.
func (a *app) waitLeave(ctx context.Context, ask source) error {
	heard, said := time.Now(), ""
	for {
		s, err := askOnce(ctx, ask)
		switch {
		case err == nil:
			heard = time.Now()
			reason, waits := leavingBy(s)
			if !waits {
				a.ui.say("Nothing to wait for: %s.", clean(reason))
				return nil
			}
			if reason != said {
				a.ui.say("Leaving: %s.", clean(reason))
				said = reason
			}
		case ctx.Err() != nil:
			return leaveTimeout(ctx, said)
		case time.Since(heard) >= leaveSilence:
			return err
		}
		select {
		case <-ctx.Done():
			return leaveTimeout(ctx, said)
		case <-time.After(leaveLook):
		}
	}
}

func askOnce(ctx context.Context, ask source) (peer.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, leaveAsk)
	defer cancel()
	return ask(ctx)
}

// leaveTimeout says what was not finished. Only the time-out is a failure of the
// leave; an interruption is whoever interrupted's own.
func leaveTimeout(ctx context.Context, reason string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("wait for the leave: %w", ctx.Err())
	}
	if reason == "" {
		return errors.New("the time is over, and the agent never told whether this node leaves")
	}
	return fmt.Errorf("the time is over, and this node has not left: %s", reason)
}

// leavingBy gives the reason of the concern leave, and whether it is one to wait
// for: the node was told to go, by its marker or because the marker is just being
// written, and something of it is still to be done that a stop would cut short. The
// hook that is not seen open is not waited for: the machine stops anyway.
func leavingBy(s peer.Status) (reason string, waits bool) {
	reason = "no reason told"
	for _, v := range s.Decision.Concerns {
		if v.Concern == string(policy.ConcernLeave) {
			reason = v.Reason
		}
	}
	switch policy.Reason(reason) {
	case policy.MarkLeaving:
		return reason, true
	case policy.Left, policy.AwaitHook, policy.GroupEnds, policy.NothingToLeave, policy.NotLeaving, policy.LeaveDoubted, policy.LeaveRevoked:
		return reason, false
	}
	mark := s.Record.Leaving != nil && s.Record.Instance == s.Instance
	return reason, mark
}
