package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

type runOptions struct {
	etcd    string
	quorumd string
	replace string
	logs    string
	keep    bool
	plain   bool
	timeout time.Duration
}

func newRun() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run a group of etcd nodes on this machine and let things happen to it",
		Long: `Run an auto scaling group of etcd nodes on this machine and let things happen to it.

Each node is a pair of real processes, etcd and quorumd, with an address of its own
in 127.0.0.0/8; the group, EC2 and instance metadata are emulated over their real
protocols. No root, no network, no AWS account. Missing binaries are built first.

What happens, while a writer puts keys all the time:

  three nodes find each other and form a cluster
  the group terminates the leader's node, and a replacement joins
  the group grows to five, and shrinks to three again
  an agent is killed with SIGKILL in the middle of taking its node out
  every write that etcd acknowledged is read back

Exit codes: 0 all went well, 1 it did not, 2 wrong usage, 130 interrupted.`,
		Example: `  quorumd-demo                                  # the whole story, about a minute
  quorumd-demo --keep                           # and then look around
  quorumd-demo run --replace after-termination  # a group that replaces only what is gone:
                                                # a node waits a minute for what does not come
  quorumd-demo run --plain | tee demo.txt       # one line for each event`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.etcd, "etcd", "3.6", "minor version of etcd, a directory of test/etcd")
	f.StringVar(&o.quorumd, "quorumd", "", "the agent's binary (default: built from this checkout)")
	f.StringVar(&o.replace, "replace", fakeaws.ReplaceAtOnce.String(), "when the group replaces a node it told to go: at-once or after-termination")
	f.StringVar(&o.logs, "logs", "", "directory for the logs of all nodes (default .cache/demo in the checkout)")
	f.BoolVar(&o.keep, "keep", false, "leave everything running at the end, until interrupted, and tell how to look around")
	f.BoolVar(&o.plain, "plain", false, "plain lines also on a terminal")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "give up after this long")
	return cmd
}

// demo is one run: the fleet, who writes to it, and who watches.
type demo struct {
	fleet  *hosts.Fleet
	writer *fleet.Writer
	screen *screen
	steps  []step
	lost   int // acknowledged writes that could not be read back; -1: not looked for
}

func runDemo(ctx context.Context, o runOptions, out, progress io.Writer) error {
	replace, err := fakeaws.ParseReplace(o.replace)
	if err != nil {
		return usageError{fmt.Errorf("parse --replace: %w", err)}
	}
	bin, err := hosts.Build(ctx, o.etcd, o.quorumd, progress)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	if o.logs == "" {
		if o.logs, err = defaultLogs(); err != nil {
			return err
		}
	}
	f, err := hosts.New(hosts.Config{Binaries: bin, Logs: o.logs, Replace: replace})
	if err != nil {
		return err
	}
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	d := &demo{fleet: f, screen: newScreen(out, o.plain, gone), lost: -1}
	d.writer = fleet.StartWriter(fleet.WriterConfig{Endpoints: f.Endpoints, Client: hosts.Client})
	watching := d.watch()
	err = d.play(ctx, o)
	d.writer.Stop()
	watching()
	d.screen.end()
	return errors.Join(err, f.Close())
}

// keepRuns is how many runs' logs stay where nobody said where to put them.
const keepRuns = 5

// defaultLogs names a new directory in the checkout for this run's logs, and
// removes those of runs long ago.
func defaultLogs() (string, error) {
	repo, err := hosts.Repo()
	if err != nil {
		return "", err
	}
	all := filepath.Join(repo, ".cache/demo")
	runs, err := os.ReadDir(all) // sorted by name, which is by time
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, old := range runs[:max(0, len(runs)-keepRuns+1)] {
		if err := os.RemoveAll(filepath.Join(all, old.Name())); err != nil {
			return "", err
		}
	}
	return filepath.Join(all, time.Now().Format("20060102-150405")), nil
}

// play tells the story and its outcome.
func (d *demo) play(ctx context.Context, o runOptions) error {
	within, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("not within %s", o.timeout))
	defer cancel()
	err := d.story(within)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		d.screen.say("!", "failed: %v", err)
		err = fmt.Errorf("%w\nlogs of all nodes: %s", err, o.logs)
	} else {
		err = d.readBack(within)
	}
	d.screen.end()
	d.report(d.screen.out)
	if o.keep {
		d.lookAround(d.screen.out)
		<-ctx.Done()
	}
	return err
}

// readBack is the end of the writing and the proof that nothing of it was lost.
func (d *demo) readBack(ctx context.Context) error {
	d.writer.Stop()
	client, err := hosts.Client(d.fleet.Endpoints()...)
	if err != nil {
		return err
	}
	defer client.Close()
	err = d.writer.Check(ctx, client)
	var lost *fleet.LostError
	if errors.As(err, &lost) {
		d.lost = len(lost.Writes)
	}
	if err != nil {
		return err
	}
	d.lost = 0
	d.screen.say("", "all %d acknowledged writes read back", d.writer.Acked())
	return nil
}
