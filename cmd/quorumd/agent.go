package main

import "github.com/spf13/cobra"

func (a *app) agentCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this node (the daemon)",
		Long: `Run the agent of this node until it is told to stop. Stopping it is no leave: the
node stays in etcd, and the next agent goes on where this one was.

Two agents never share a state_dir; the second one says so and ends.`,
		Example: "  quorumd agent --config /etc/quorumd/quorumd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := a.load()
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), cfg, thisBuild(), a.ui.err)
		},
	}
}
