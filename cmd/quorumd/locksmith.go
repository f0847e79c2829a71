package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/config/locksmith"
)

// locksmithFiles are where locksmithd's settings are on Flatcar, in the order in
// which a later one wins.
var locksmithFiles = []string{
	"/run/systemd/system/locksmithd.service.d/*.conf",
	"/etc/systemd/system/locksmithd.service.d/*.conf",
	"/usr/share/flatcar/update.conf",
	"/etc/flatcar/update.conf",
}

func (a *app) fromLocksmithCommand() *cobra.Command {
	var o locksmith.Options
	role := &choice{allowed: []string{config.RoleMember, config.RoleWorker}}
	cmd := &cobra.Command{
		Use:   "from-locksmith [FILE...]",
		Short: "Turn locksmith's settings into a configuration file",
		Long: `Read what locksmithd was configured with, and write the same as quorumd.yaml.

FILE is update.conf, any other file of NAME=VALUE, or a drop-in of
locksmithd.service; later ones win. Without a FILE those of this machine are read:
  ` + strings.Join(locksmithFiles, "\n  ") + `

The new file goes to stdout. What has no counterpart, or means something else now,
is said on stderr. locksmithd itself must not run beside the agent:
systemctl mask --now locksmithd`,
		Example: `  quorumd config from-locksmith >quorumd.yaml && quorumd config check quorumd.yaml
  quorumd config from-locksmith update.conf 20-window.conf --time-zone Europe/Berlin
  quorumd config from-locksmith update.conf --role worker --cluster prod`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"conf"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	cmd.Flags().Var(role, "role", "what this machine is (default: worker if locksmith's endpoints are other machines)")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(role.allowed, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	cmd.Flags().StringVar(&o.Cluster, "cluster", "", "worker: the members' cluster, by default the name of their auto scaling group")
	cmd.Flags().StringVar(&o.TimeZone, "time-zone", "", "time zone of locksmith's window (default: this machine's)")
	cmd.RunE = func(_ *cobra.Command, files []string) error {
		if files == nil {
			files = existing(locksmithFiles)
		}
		if len(files) == 0 {
			return usageError{errors.New("this machine has no settings of locksmith; name a file")}
		}
		if o.TimeZone == "" {
			o.TimeZone = zoneOf("/etc/localtime")
		}
		o.Role = role.value
		return a.fromLocksmith(files, o)
	}
	return cmd
}

func (a *app) fromLocksmith(files []string, o locksmith.Options) error {
	var old locksmith.Settings
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err == nil {
			err = old.Read(f, string(data))
		}
		if err != nil {
			return usageError{fmt.Errorf("read locksmith's settings: %w", err)}
		}
	}
	out, notes, err := locksmith.Convert(old, o)
	if err != nil {
		return usageError{err}
	}
	for _, n := range notes {
		a.ui.say("%s", clean(n))
	}
	_, err = a.ui.out.Write(out)
	return err
}

// existing gives the files that there are.
func existing(patterns []string) []string {
	var out []string
	for _, p := range patterns {
		found, _ := filepath.Glob(p) // fails only for a bad pattern
		out = append(out, found...)
	}
	return out
}

// zoneOf is the name of the time zone that a machine's localtime links to; empty if
// that cannot be told.
func zoneOf(localtime string) string {
	to, err := os.Readlink(localtime)
	if err != nil {
		return ""
	}
	_, name, _ := strings.Cut(to, "/zoneinfo/")
	return name
}
