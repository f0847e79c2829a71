// Command quorumd-demo shows quorumd at work without an AWS account.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "quorumd-demo:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "quorumd-demo",
		Short:         "See quorumd at work without an AWS account",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newAWS())
	return root
}
