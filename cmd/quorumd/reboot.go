package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/policy"
)

func (a *app) rebootCommand() *cobra.Command {
	var why, socket string
	var cancel bool
	cmd := &cobra.Command{
		Use:   "reboot --reason WHY",
		Short: "Have this machine rebooted in its turn",
		Long: `Order a reboot of this machine. The agent writes the order to disk and answers; it
reboots the machine once it is this node's turn: nobody else holds the lock, the
cluster can do without this node, the scripts of pre-reboot.d have run. It waits
neither for a window (reboot.windows) nor for people who are logged in.

'quorumd status' says what it waits for. The order outlives the agent, and ends with
the reboot, whoever reboots the machine. Ordered twice, there is one reboot.`,
		Example: `  quorumd reboot --reason "kernel parameters, ticket 4711"
  quorumd status
  quorumd reboot --cancel`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&why, "reason", "", "why, for those who look at status, lock and journal (required)")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "take the order back, while the reboot has not begun")
	controlFlag(cmd, &socket)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		req := control.Request{Kind: string(policy.OrderReboot), Why: why}
		switch {
		case cancel && why != "":
			return usageError{errors.New("--cancel takes no --reason, allowed: one of them")}
		case cancel:
			req.Kind = string(policy.CancelReboot)
		case why == "":
			return errNoReason
		}
		path, err := a.controlPath(socket)
		if err != nil {
			return err
		}
		answer, err := control.NewClient(path).Submit(cmd.Context(), req)
		if err != nil {
			return unreachable(path, err)
		}
		_, err = fmt.Fprintln(a.ui.out, clean(answer))
		return err
	}
	return cmd
}

var errNoReason = usageError{errors.New("--reason is missing, allowed: some words for those who wonder why")}

// controlFlag adds --control.
func controlFlag(cmd *cobra.Command, socket *string) {
	cmd.Flags().StringVar(socket, "control", "", "control socket (default: the configuration's listen.control)")
}
