package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/spf13/cobra"
)

type awsOptions struct {
	listen           string
	region           string
	seed             uint64
	group            string
	min, max         int
	desired          int
	launchHook       string
	terminateHook    string
	heartbeatTimeout time.Duration
	defaultResult    string
	replace          string
	boot             time.Duration
	tags             map[string]string
	quiet            bool
}

func newAWS() *cobra.Command {
	var o awsOptions
	cmd := &cobra.Command{
		Use:   "aws",
		Short: "Run an emulated auto scaling group on loopback",
		Long: `Run an emulated auto scaling group on loopback, until interrupted.

It speaks the real protocols of EC2 Auto Scaling, EC2 and instance metadata, and
runs lifecycle hooks for real: instances wait until an action is completed or runs
out. There are no machines: an instance is a record and a metadata service.

It prints what to export for the AWS SDKs and the aws command line, then what
happens. To act as one of the instances, export its metadata endpoint and no keys.

Admin API, for what AWS has no action for (faults, losing a machine, a timeline):

  ` + strings.ReplaceAll(strings.TrimSpace(fakeaws.AdminUsage), "\n", "\n  "),
		Example: `  # three instances that wait for their launch to be completed
  quorumd-demo aws --listen 127.0.0.1:4566 --group etcd --desired 3

  # in another shell, with what it printed exported
  aws autoscaling describe-auto-scaling-groups
  aws autoscaling complete-lifecycle-action --auto-scaling-group-name etcd \
    --lifecycle-hook-name quorumd-launch --instance-id i-... --lifecycle-action-result CONTINUE
  aws autoscaling terminate-instance-in-auto-scaling-group --instance-id i-... \
    --no-should-decrement-desired-capacity

  # throttle the next three calls; lose a machine; look back
  curl -d '{"kind":"throttling","times":3}' $AWS_ENDPOINT_URL/_fake/faults
  curl -d '{"via":"ec2"}' $AWS_ENDPOINT_URL/_fake/instances/i-.../terminate
  curl $AWS_ENDPOINT_URL/_fake/timeline`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAWS(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "address of the APIs; metadata gets ports of its own on the same host")
	f.StringVar(&o.region, "region", "eu-central-1", "AWS region")
	f.Uint64Var(&o.seed, "seed", 1, "instance ids follow from it")
	f.StringVar(&o.group, "group", "etcd", "name of the auto scaling group")
	f.IntVar(&o.desired, "desired", 3, "desired capacity")
	f.IntVar(&o.min, "min", 0, "minimum size")
	f.IntVar(&o.max, "max", 9, "maximum size")
	f.StringVar(&o.launchHook, "launch-hook", "quorumd-launch", "name of the launching hook, empty for none")
	f.StringVar(&o.terminateHook, "terminate-hook", "quorumd-terminate", "name of the terminating hook, empty for none")
	f.DurationVar(&o.heartbeatTimeout, "heartbeat-timeout", 10*time.Minute, "of both hooks")
	f.StringVar(&o.defaultResult, "default-result", fakeaws.Abandon, "of both hooks when they run out: ABANDON or CONTINUE")
	f.StringVar(&o.replace, "replace", fakeaws.ReplaceAtOnce.String(), "when to replace an instance told to go: at-once or after-termination")
	f.DurationVar(&o.boot, "boot", 2*time.Second, "how long an instance is pending")
	f.StringToStringVar(&o.tags, "tag", nil, "tag of the group and its instances, key=value; may be repeated")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "do not print what happens")
	return cmd
}

// runAWS serves until ctx ends.
func runAWS(ctx context.Context, o awsOptions, out io.Writer) error {
	out = &lockedWriter{w: out}
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return fmt.Errorf("parse --listen: %w", err)
	}
	group, err := o.groupConfig()
	if err != nil {
		return err
	}
	cloud, err := fakeaws.New(fakeaws.Config{
		Region: o.region,
		Seed:   o.seed,
		Timing: fakeaws.Timing{Boot: o.boot, ShutDown: time.Second, HealthCheck: 5 * time.Second},
		ListenMetadata: func(ctx context.Context, inst fakeaws.Instance) (net.Listener, error) {
			var lc net.ListenConfig
			ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
			if err == nil {
				fmt.Fprintf(out, "# %s: AWS_EC2_METADATA_SERVICE_ENDPOINT=http://%s\n", inst.ID, ln.Addr())
			}
			return ln, err
		},
	})
	if err != nil {
		return err
	}
	defer cloud.Close() // closing listeners: nothing to report
	ln, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	url, err := cloud.Serve(ln)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `export AWS_ENDPOINT_URL=%s
export AWS_REGION=%s
export AWS_DEFAULT_REGION=%[2]s
export AWS_ACCESS_KEY_ID=AKIAOPERATOR
export AWS_SECRET_ACCESS_KEY=fake
# admin API: curl %[1]s/_fake/
`, url, o.region)
	if !o.quiet {
		cloud.Subscribe(func(e fakeaws.Event) { fmt.Fprintln(out, "#", e) })
	}
	if err := cloud.AddGroup(group); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (o awsOptions) groupConfig() (fakeaws.GroupConfig, error) {
	replace, err := fakeaws.ParseReplace(o.replace)
	if err != nil {
		return fakeaws.GroupConfig{}, fmt.Errorf("parse --replace: %w", err)
	}
	g := fakeaws.GroupConfig{Name: o.group, Min: o.min, Max: o.max, Desired: o.desired, Replace: replace}
	hook := func(name string, t fakeaws.Transition) {
		if name != "" {
			g.Hooks = append(g.Hooks, fakeaws.Hook{Name: name, Transition: t,
				HeartbeatTimeout: o.heartbeatTimeout, DefaultResult: o.defaultResult})
		}
	}
	hook(o.launchHook, fakeaws.Launching)
	hook(o.terminateHook, fakeaws.Terminating)
	for k, v := range o.tags {
		g.Tags = append(g.Tags, fakeaws.Tag{Key: k, Value: v, PropagateAtLaunch: true})
	}
	return g, nil
}

// lockedWriter keeps the lines of several goroutines whole.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
