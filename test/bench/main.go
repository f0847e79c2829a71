//go:build linux

// Command bench measures what quorumd promises about speed and cost, on this
// machine and in one run: ratios are between things measured side by side.
//
//	go run ./test/bench                      # everything, about half an hour
//	go run ./test/bench --parts leave,stall  # some of it
//	go run ./test/bench --json > bench.json
//
// Parts:
//
//	leave    a node leaves at a scale-in, from the notice in instance metadata to
//	         the completed hook
//	stall    the longest time a client waits for a write while the leader's node
//	         leaves, and while the leader is just killed
//	rest     memory, CPU time and AWS calls of agents that have nothing to do; size
//	         of the binary
//	replace  all nodes replaced one after the other, beside the same done with bare
//	         etcd processes by a script
//	lock     what a hand-over of the lock costs with ever more waiters, beside a lock
//	         on one key that all swap; FleetLock's pair beside a bare put and delete
//
//	stuck    an etcd without a leader: from the end of the configured waiting time to a
//	         leader, beside the same done by hand on all nodes at once
//	poll     what it costs at rest that agents read each other: bytes and CPU time
//
// The table goes to standard output, progress to standard error. Exit codes: 0 all
// promises kept; 1 one of them not, or something could not be measured; 2 wrong
// usage; 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/test/hosts"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := newRoot().ExecuteContext(ctx)
	stop()
	os.Exit(exitCode(err))
}

type usageError struct{ error }

func exitCode(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return 130
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "bench: %v (see --help)\n", err)
		return 2
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

// options of a run.
type options struct {
	parts   []string
	samples int
	rest    time.Duration
	sizes   []int
	waiters []int
	etcd    string
	quorumd string
	logs    string
	json    bool
}

// parts in the order in which they are measured.
var parts = []struct {
	name    string
	measure func(context.Context, *bench) error
}{
	{"rest", measureRest},
	{"leave", measureLeave},
	{"stall", measureStall},
	{"replace", measureReplace},
	{"lock", measureLock},
	{"stuck", measureStuck},
	{"poll", measurePoll},
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func newRoot() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what quorumd promises about speed and cost",
		Example: `  go run ./test/bench
  go run ./test/bench --parts leave,stall --samples 20
  go run ./test/bench --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		},
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.parts, "parts", partNames(), "what to measure")
	f.IntVar(&o.samples, "samples", 8, "of leave and of stall, twice those of stuck")
	f.DurationVar(&o.rest, "rest", time.Minute, "how long to watch agents at rest")
	f.IntSliceVar(&o.sizes, "sizes", []int{3, 5}, "of the clusters that are replaced or stuck")
	f.IntSliceVar(&o.waiters, "waiters", []int{100, 1000, 5000}, "for the lock")
	f.StringVar(&o.etcd, "etcd", "3.6", "minor version of etcd, a directory of test/etcd")
	f.StringVar(&o.quorumd, "quorumd", "", "the agent's binary, stripped (default: built from this checkout)")
	f.StringVar(&o.logs, "logs", "", "directory for the logs of all nodes (default: none are kept)")
	f.BoolVar(&o.json, "json", false, "print JSON instead of a table")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	return cmd
}

// bench is one run.
type bench struct {
	options
	bin      hosts.Binaries
	fleets   int // launched so far
	progress io.Writer
	results  []result
}

func run(ctx context.Context, o options, out, progress io.Writer) error {
	for _, p := range o.parts {
		if !slices.Contains(partNames(), p) {
			return usageError{fmt.Errorf("unknown part %q, there are %s", p, strings.Join(partNames(), ", "))}
		}
	}
	if o.samples < 1 {
		return usageError{errors.New("--samples must be at least 1")}
	}
	bin, err := hosts.Build(ctx, o.etcd, o.quorumd, progress)
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	b := &bench{options: o, bin: bin, progress: progress}
	for _, p := range parts {
		if !slices.Contains(o.parts, p.name) {
			continue
		}
		if err = p.measure(ctx, b); err != nil {
			err = fmt.Errorf("measure %s: %w", p.name, err)
			break
		}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	printed := printTable(out, b.results)
	if o.json {
		printed = printJSON(out, b.results)
	}
	return errors.Join(err, printed, missed(b.results))
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// launch makes a fleet that has settled. The caller closes it.
func (b *bench) launch(ctx context.Context, size int) (*hosts.Fleet, error) {
	return b.launchAs(ctx, size, func(*hosts.Config) {})
}

// launchAs makes one that differs from the others.
func (b *bench) launchAs(ctx context.Context, size int, change func(*hosts.Config)) (*hosts.Fleet, error) {
	b.fleets++
	logs := b.logs
	if logs != "" { // instance ids repeat from fleet to fleet
		logs = filepath.Join(logs, strconv.Itoa(b.fleets))
	}
	cfg := hosts.Config{Binaries: b.bin, Logs: logs}
	change(&cfg)
	f, err := hosts.New(cfg)
	if err != nil {
		return nil, err
	}
	err = f.Launch(size)
	if err == nil {
		err = settle(ctx, f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func settle(ctx context.Context, f *hosts.Fleet) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not within 2 minutes"))
	defer cancel()
	_, err := f.Settle(ctx)
	return err
}

// quiet is how long a cluster is left alone before something is measured on it.
// etcd refuses changes of membership for 5 s after a connection between two
// members was made; a group in production rests for hours.
const quiet = 6 * time.Second

// leaveAlone waits d, or until ctx ends.
func leaveAlone(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
