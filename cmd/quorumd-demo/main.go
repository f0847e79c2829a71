// Command quorumd-demo shows quorumd at work without an AWS account.
//
// Exit codes: 0 all went well; 1 it did not (an acknowledged write was lost, the
// cluster did not settle, something could not be built); 2 wrong usage; 130
// interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // a reader that went away is an error of the write: there is cleaning up to do
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := newRoot().ExecuteContext(ctx)
	stop()
	os.Exit(exitCode(err))
}

// usageError is a wrong command line.
type usageError struct{ error }

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled): // nothing else ends the context
		return 130
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "quorumd-demo: %v (see quorumd-demo --help)\n", err)
		return 2
	}
	fmt.Fprintln(os.Stderr, "quorumd-demo:", err)
	return 1
}

func newRoot() *cobra.Command {
	run := newRun()
	root := &cobra.Command{
		Use:           "quorumd-demo",
		Short:         "See quorumd at work without an AWS account",
		Long:          "See quorumd at work without an AWS account.\n\nWithout a command it does what 'quorumd-demo run' does.",
		Example:       run.Example,
		Args:          noArgs,
		RunE:          run.RunE,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.Flags().AddFlagSet(run.Flags())
	root.AddCommand(run, newAWS())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return root
}

func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}
