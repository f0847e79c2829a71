package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	cloudconfig "github.com/quorumd/quorumd/cloud-config"
)

// maxConfig is the size beyond which a file cannot be part of user-data.
const maxConfig = cloudconfig.MaxUserData

func (a *app) cloudConfigCommand() *cobra.Command {
	var o cloudconfig.Options
	format := &choice{allowed: names(cloudconfig.Formats())}
	userData := &choice{allowed: names(cloudconfig.UserDataFormats())}
	cmd := &cobra.Command{
		Use:   "cloud-config --format FORMAT",
		Short: "Write user-data, an IAM policy or a CloudFormation template for a group",
		Long: `Write what the machines of a group are launched with. Nothing of this machine goes
into it: the same flags give the same text everywhere.

Formats:
  ignition        user-data for Flatcar Container Linux
  butane          the same to edit first; translate it with 'butane --strict'
  cloud-config    the same as classic user-data of coreos-cloudinit
  fcos            user-data for Fedora CoreOS, with etcd as a podman quadlet
  fcos-butane     the same to edit first
  cloud-init      user-data for any other systemd Linux with cloud-init
  iam             the least policy for the role of the instances (JSON)
  cloudformation  a whole group: hooks, launch template with user-data, role,
                  security group, update policy (YAML)

A machine gets the agent, its unit, /etc/quorumd/quorumd.yaml (the file that
--config names, else all defaults), and a drop-in that keeps etcd from starting
before the agent allows it. On Flatcar what else would reboot is masked; on Fedora
CoreOS Zincati asks the agent before it reboots. With role: worker in the
configuration nothing of etcd is in it.

What is downloaded needs its SHA-256. A file:// URL is read on the machine itself,
and not by Ignition.`,
		Example: `  quorumd cloud-config --format ignition --config quorumd.yaml \
    --binary-url https://example.com/quorumd --binary-sha256 "$(sha256sum <quorumd | cut -d' ' -f1)"
  quorumd cloud-config --format cloud-init --binary-present --etcd-present
  quorumd cloud-config --format iam --group etcd --region eu-central-1
  quorumd cloud-config --format cloudformation --user-data fcos --binary-present >etcd.yaml`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.VarP(format, "format", "f", "what to write (required)")
	flags.StringVar(&o.Binary.URL, "binary-url", "", "where machines download the agent (https, http, file)")
	flags.StringVar(&o.Binary.SHA256, "binary-sha256", "", "its SHA-256, required unless the URL is file://")
	flags.BoolVar(&o.Binary.Present, "binary-present", false, "the image has /opt/bin/quorumd: download nothing")
	flags.StringVar(&o.Etcd.URL, "etcd-url", "", "cloud-init: where machines download etcd, its binary or release archive (.tar.gz)")
	flags.StringVar(&o.Etcd.SHA256, "etcd-sha256", "", "cloud-init: its SHA-256, required unless the URL is file://")
	flags.BoolVar(&o.Etcd.Present, "etcd-present", false, "cloud-init: the image has /opt/bin/etcd: download nothing")
	flags.StringVar(&o.EtcdVersion, "etcd-version", "", "Flatcar, Fedora CoreOS: version of etcd's image (default "+cloudconfig.DefaultEtcdVersion+")")
	flags.Var(userData, "user-data", "cloudformation: format of the user-data (default ignition)")
	flags.StringVar(&o.Group, "group", "", "iam: name of the auto scaling group (required)")
	flags.StringVar(&o.Region, "region", "", "iam: its region (default: any)")
	flags.StringVar(&o.Account, "account", "", "iam: its AWS account (default: any)")
	for name, c := range map[string]*choice{"format": format, "user-data": userData} {
		// It fails only for a flag that does not exist.
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp))
	}
	cmd.RunE = func(*cobra.Command, []string) error {
		if format.value == "" {
			return usageError{errors.New("--format is missing, allowed: " + strings.Join(format.allowed, ", "))}
		}
		o.UserData = cloudconfig.Format(userData.value)
		return a.cloudConfig(cloudconfig.Format(format.value), o)
	}
	return cmd
}

// cloudConfig renders with the file that --config names. QUORUMD_CONFIG and the
// default path are this machine's, and not looked at.
func (a *app) cloudConfig(f cloudconfig.Format, o cloudconfig.Options) error {
	if a.configPath != "" {
		data, err := os.ReadFile(a.configPath)
		switch {
		case err != nil:
			return usageError{fmt.Errorf("read configuration: %w", err)}
		case len(data) > maxConfig:
			return usageError{fmt.Errorf("%s has %d bytes, allowed in user-data: less than %d", a.configPath, len(data), maxConfig)}
		}
		o.Config, o.ConfigName = append([]byte{}, data...), a.configPath
	}
	out, err := cloudconfig.Render(f, o)
	if mistake := (cloudconfig.Error{}); errors.As(err, &mistake) {
		return usageError{err}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f, err)
	}
	if _, err := a.ui.out.Write(out); err != nil {
		return err
	}
	if f == cloudconfig.IAM {
		a.ui.say("The Describe actions are for \"*\": AWS knows no resource for them. The hooks' actions\n" +
			"are scoped to the group; AWS cannot scope them to the instance that calls.")
	}
	return nil
}

func names(fs []cloudconfig.Format) []string {
	out := make([]string, len(fs))
	for i, f := range fs {
		out[i] = string(f)
	}
	return out
}
