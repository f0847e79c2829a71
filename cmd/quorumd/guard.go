package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/etcd/datadir"
	"github.com/quorumd/quorumd/agent/record"
	"github.com/quorumd/quorumd/units"
)

func (a *app) guardCommand() *cobra.Command {
	var stateDir, dataDir string
	defaults := config.Default()
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "Tell whether etcd may start on this machine without the agent",
		Long: `Tell whether etcd may start on this machine without the agent: an agent allowed it
on this very machine, and what is in etcd's data directory is this node's member.

etcd's unit asks it before every start (10-quorumd-guard.conf). It needs no agent, no
configuration file and no network, and changes nothing. A node where it says no is
for the agent to decide about.

Exit code 0: it may; 1: it may not, or that cannot be told, and why.`,
		Example: "  quorumd guard --state-dir /var/lib/quorumd --data-dir /var/lib/etcd",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringVar(&stateDir, "state-dir", defaults.StateDir, "the agent's state_dir")
	cmd.Flags().StringVar(&dataDir, "data-dir", defaults.Etcd.DataDir, "etcd's data directory")
	cmd.RunE = func(*cobra.Command, []string) error {
		// Not the file: a mistake in it must not keep etcd from starting.
		cfg, _, err := config.Parse("environment", nil, a.environ)
		if err != nil {
			return err
		}
		here, boot, err := thisMachine(cfg.Systemd)
		if err != nil {
			return fmt.Errorf("etcd may not start: %w", err)
		}
		data, err := datadir.Inspect(dataDir)
		if err != nil {
			return fmt.Errorf("etcd may not start: %w", err)
		}
		if err := (record.Store{Dir: stateDir}).MayStart(here, boot, data); err != nil {
			return fmt.Errorf("etcd may not start without the agent's decision: %w", err)
		}
		return nil
	}
	return cmd
}

// thisMachine is what tells this machine from one that its disk was copied to, and
// this boot.
func thisMachine(c config.Systemd) (here record.Machine, boot string, err error) {
	if boot, err = units.BootID(c.BootIDFile); err != nil {
		return here, "", err
	}
	if here.ID, err = units.MachineID(c.MachineIDFile); err != nil {
		return here, "", err
	}
	here.Product, here.AssetTag, err = units.Hardware(c.DMIDir)
	return here, boot, err
}
