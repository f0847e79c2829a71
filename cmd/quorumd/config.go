package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration in effect, and where each value comes from",
		Long: `Show the configuration in effect: the file, with the QUORUMD_ variables of this
shell over it, over the defaults. The table tells where each value comes from.

The service has an environment of its own: systemctl show -p Environment quorumd.`,
		Example: `  quorumd config
  quorumd config --output yaml > quorumd.yaml
  QUORUMD_LOG_LEVEL=debug quorumd config`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "yaml", "json")
	cmd.RunE = func(*cobra.Command, []string) error { return a.showConfig(output.value) }
	cmd.AddCommand(a.configCheckCommand(), a.fromLocksmithCommand())
	return cmd
}

func (a *app) showConfig(format string) error {
	c, from, err := a.load()
	if err != nil {
		return err
	}
	switch format {
	case "json":
		return a.ui.json(c.Tree())
	case "yaml":
		out, err := c.YAML()
		if err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
		_, err = a.ui.out.Write(out)
		return err
	}
	var rows [][]string
	for _, s := range c.Settings() {
		rows = append(rows, []string{s.Key, s.Value, from[s.Key].String()})
	}
	return table(a.ui.out, []string{"KEY", "VALUE", "FROM"}, rows)
}

func (a *app) configCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file, without using it",
		Long: `Check a configuration file and list everything that is wrong in it, each with file,
line and key. No QUORUMD_ variable is taken into account, and nothing is looked up
on this machine, so it also works where the file is written.`,
		Example: "  quorumd config check quorumd.yaml",
		Args:    cobra.ExactArgs(1),
		// Here, and only here, an argument is a file.
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if _, _, err := loadFrom(args[0], nil); err != nil {
			return err
		}
		a.ui.say("%s is good.", args[0])
		return nil
	}
	return cmd
}
