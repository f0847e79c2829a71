package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/config"
)

// app is what all commands share.
type app struct {
	ui      *ui
	environ []string
	// configPath is --config; empty: see config.Path.
	configPath string
	// parsed: the command line was understood. An error before is one of usage.
	parsed bool
}

// run runs one command line and gives its exit code.
func run(ctx context.Context, args, environ []string, u *ui) int {
	a := &app{ui: u, environ: environ}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(u.in)
	root.SetOut(u.out)
	root.SetErr(u.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.parsed {
		err = usageError{err}
	}
	code := exitCode(err)
	if err != nil {
		u.fail(err)
		if !a.parsed {
			u.say("Try '%s --help'.", cmd.CommandPath())
		}
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "quorumd",
		Short: "etcd that lives safely in an EC2 auto scaling group",
		Long: `quorumd runs beside etcd on every node of an EC2 auto scaling group: a node that
the group ends leaves etcd first, and one that the group makes joins etcd before
it counts as in service.

'quorumd agent' is the daemon, a systemd service. The other commands ask the
agent of this node, through the socket /run/quorumd/quorumd.sock (as root).

Exit codes:
  0  done
  1  it did not work
  2  wrong usage or configuration; nothing was touched
  3  the agent cannot be reached
  4  the agent refused, and said why`,
		Example: `  quorumd status              # this node, all members, why each waits
  quorumd status --watch
  quorumd lock status         # who holds the lock, who waits, why no node reboots
  quorumd reboot --reason ... # reboot this machine in its turn
  quorumd explain AwaitLock   # what a reason means, and what to do
  quorumd config              # every setting and where it comes from
  quorumd config check quorumd.yaml`,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.parsed = true
		},
	}
	root.PersistentFlags().StringVar(&a.configPath, "config", "",
		"configuration file (default $"+config.EnvConfig+", else "+config.DefaultPath+")")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.AddCommand(a.agentCommand(), a.statusCommand(), a.configCommand(), a.lockCommand(), a.rebootCommand(), a.bootstrapCommand(), a.forceElectionCommand(), a.cloudConfigCommand(), a.waitLeaveCommand(), a.guardCommand(), a.explainCommand(), a.versionCommand())
	return root
}

// load reads the configuration.
func (a *app) load() (config.Config, config.Provenance, error) {
	return loadFrom(a.configPath, a.environ)
}

// loadFrom takes a file that cannot be read for a configuration error, too.
func loadFrom(path string, environ []string) (config.Config, config.Provenance, error) {
	c, from, err := config.Load(path, environ)
	if err != nil {
		return c, from, usageError{err}
	}
	return c, from, nil
}

// controlPath is the control socket to use: the flag's, else the configuration's.
func (a *app) controlPath(flag string) (string, error) {
	if flag != "" {
		return flag, nil
	}
	c, _, err := a.load()
	return c.Listen.Control, err
}

// choice is a flag that accepts one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

// Set implements pflag.Value.
func (c *choice) Set(s string) error {
	for _, w := range c.allowed {
		if s == w {
			c.value = s
			return nil
		}
	}
	return usageError{errNoChoice(c.allowed)}
}

type errNoChoice []string

func (e errNoChoice) Error() string { return "allowed: " + strings.Join(e, ", ") }

// outputFlag adds --output with the formats of a command, the first the default.
func outputFlag(cmd *cobra.Command, formats ...string) *choice {
	c := &choice{value: formats[0], allowed: formats}
	cmd.Flags().VarP(c, "output", "o", "format of the output")
	// It fails only for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return c
}
