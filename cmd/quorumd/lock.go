package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

// askAgainEvery is how often 'lock acquire --wait' asks; the agent keeps a place for
// much longer.
const askAgainEvery = 3 * time.Second

func (a *app) lockCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lock",
		Short: "Look at the disruption lock, take it, give it back",
		Long: `Whoever takes a node out of service holds the lock meanwhile: a node that leaves
etcd, one that reboots, an operator. Members of etcd have one lock with one slot, the
group "members"; each group of workers has its own, with as many slots as
'quorumd lock slots' says.

These commands ask the agent of this node. Asked twice they do the same thing once.`,
		Example: `  quorumd lock status
  quorumd lock acquire --reason "moving its volume" --wait 30m
  quorumd lock release`,
	}
	cmd.AddCommand(a.lockStatusCommand(), a.lockAcquireCommand(), a.lockReleaseCommand(), a.lockSlotsCommand())
	return cmd
}

func (a *app) lockAcquireCommand() *cobra.Command {
	var why, socket string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "acquire --reason WHY",
		Short: "Hold the lock for work on this node",
		Long: `Take a slot of the lock for work on this node, so that no other node of its group is
disrupted meanwhile. It is given only while the cluster can do without this node, and
held until 'quorumd lock release', through reboots and restarts, without a limit.

Refused (exit code 4), this node keeps its place in the queue for 15 minutes after it
last asked; with --wait the command goes on asking.`,
		Example: `  quorumd lock acquire --reason "moving its volume"
  quorumd lock acquire --reason "moving its volume" --wait 30m && move-volume; quorumd lock release`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&why, "reason", "", "why, for those who wait for it (required)")
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to go on asking")
	controlFlag(cmd, &socket)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if why == "" {
			return errNoReason
		}
		path, err := a.controlPath(socket)
		if err != nil {
			return err
		}
		answer, err := a.acquire(cmd.Context(), control.NewClient(path), why, wait)
		if err != nil {
			return unreachable(path, err)
		}
		_, err = fmt.Fprintln(a.ui.out, clean(answer))
		return err
	}
	return cmd
}

// acquire asks until it is granted, the time is over, or asking again is of no use.
func (a *app) acquire(ctx context.Context, c *control.Client, why string, wait time.Duration) (string, error) {
	over := time.Now().Add(wait)
	said := ""
	for {
		answer, err := c.Submit(ctx, control.Request{Kind: string(policy.LockAcquire), Why: why})
		var refused control.Refusal
		if err == nil || errors.Is(err, peer.ErrUnreachable) || time.Now().Add(askAgainEvery).After(over) {
			return answer, err
		}
		if errors.As(err, &refused) && (refused.Reason == policy.LeavingFirst || refused.Reason == policy.RequestRefused) {
			return "", err
		}
		if words := err.Error(); words != said {
			said = words
			a.ui.say("waiting: %s", clean(words))
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(askAgainEvery):
		}
	}
}

func (a *app) lockReleaseCommand() *cobra.Command {
	var yes bool
	var socket string
	cmd := &cobra.Command{
		Use:   "release [INSTANCE]",
		Short: "Give the lock back, also another node's hold of it",
		Long: `Give back the hold of this node, or of INSTANCE. What an operator took on this node
is given back at once. Anything else is shown first (who holds it, since when, why),
and asked about: the holder may be in the middle of a reboot, and the next node would
go down beside it.

A hold ends by itself when its node is back and healthy, and when EC2 says that its
instance is terminated. A node that holds nothing is no error.`,
		Example: `  quorumd lock release
  quorumd lock release i-0123456789abcdef0
  quorumd lock release i-0123456789abcdef0 --yes`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	controlFlag(cmd, &socket)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.completeHolders(cmd.Context(), socket), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := a.controlPath(socket)
		if err != nil {
			return err
		}
		id := ""
		if len(args) == 1 {
			id = args[0]
		}
		return a.release(cmd.Context(), path, id, yes)
	}
	return cmd
}

// release finds the hold, shows it where it is not one's own, and gives it back as it
// was shown.
func (a *app) release(ctx context.Context, path, id string, yes bool) error {
	s, err := localStatus(ctx, path)
	if err != nil && !errors.Is(err, peer.ErrHung) {
		return err
	}
	if id == "" {
		id = s.Instance
	}
	c := control.NewClient(path)
	locks, err := c.Locks(ctx)
	if err != nil {
		return err
	}
	group, h, found := holdOf(locks, id)
	if !found {
		_, err := fmt.Fprintf(a.ui.out, "%s holds nothing\n", clean(id))
		return err
	}
	if s.Lock != nil && group != s.Lock.Group {
		return control.Refusal{Words: fmt.Sprintf("%s holds the lock of group %s, and this node is in group %s: ask on a node of that group", id, group, s.Lock.Group)}
	}
	if id != s.Instance || h.Reason != string(policy.HoldOperator) {
		a.ui.say("%s", clean(describe(group, h)))
		a.ui.say("If it is still at it, another node may go down beside it.")
		if err := a.ui.confirm(yes); err != nil {
			return err
		}
	}
	answer, err := c.Submit(ctx, control.Request{Kind: string(policy.LockRelease), Instance: id, Revision: h.Revision})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.ui.out, clean(answer))
	return err
}

// holdOf finds an instance's hold in whatever group it is.
func holdOf(locks []peer.Lock, id string) (group string, h peer.Hold, found bool) {
	for _, l := range locks {
		for _, h := range l.Holders {
			if h.Instance == id {
				return l.Group, h, true
			}
		}
	}
	return "", peer.Hold{}, false
}

// describe says a hold in a sentence.
func describe(group string, h peer.Hold) string {
	words := fmt.Sprintf("%s holds the lock of group %s since %s (%s): %s, %s", h.Instance, group,
		h.Since.UTC().Format(time.RFC3339), ageOf(h.Since), h.Reason, h.Phase)
	if h.Client != "" {
		words += ", for client " + h.Client
	}
	if h.Why != "" {
		words += ", " + strconv.Quote(h.Why)
	}
	return words
}

// ageOf is how long ago somebody's clock showed t.
func ageOf(t time.Time) string {
	const day = 24 * time.Hour
	age := max(0, time.Since(t))
	if age >= 2*day {
		return fmt.Sprintf("%dd%dh", age/day, age%day/time.Hour)
	}
	return seconds(age.Seconds())
}

// completeHolders gives the instances that hold a lock, for the shell.
func (a *app) completeHolders(ctx context.Context, socket string) []string {
	path, err := a.controlPath(socket)
	if err != nil {
		return nil
	}
	locks, err := control.NewClient(path).Locks(ctx)
	if err != nil {
		return nil
	}
	var out []string
	for _, l := range locks {
		for _, h := range l.Holders {
			out = append(out, cobra.CompletionWithDesc(h.Instance, h.Reason+" since "+h.Since.UTC().Format(time.RFC3339)))
		}
	}
	return out
}

func (a *app) lockSlotsCommand() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "slots [NUMBER]",
		Short: "Show or set how many nodes of this worker's group may hold the lock at once",
		Long: `Show how many nodes of this node's group may hold the lock at once, or set it. It can
be set at any time. Fewer than there are holders is fine: nobody takes a slot until
enough are given back.

Members of etcd have one slot, always.`,
		Example: `  quorumd lock slots
  quorumd lock slots 3`,
		Args: cobra.MaximumNArgs(1),
	}
	controlFlag(cmd, &socket)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := a.controlPath(socket)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return a.showSlots(cmd.Context(), path)
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 {
			return usageError{fmt.Errorf("%q is no number of slots, allowed: 1 and more", args[0])}
		}
		answer, err := control.NewClient(path).Submit(cmd.Context(), control.Request{Kind: string(policy.LockSlots), Slots: n})
		if err != nil {
			return unreachable(path, err)
		}
		_, err = fmt.Fprintln(a.ui.out, clean(answer))
		return err
	}
	return cmd
}

func (a *app) showSlots(ctx context.Context, path string) error {
	s, err := localStatus(ctx, path)
	if err != nil && !errors.Is(err, peer.ErrHung) {
		return err
	}
	if s.Lock == nil {
		return errors.New("the agent has not read the lock yet: " + orUnknown(s.Fact(peer.FactLock).Error))
	}
	_, err = fmt.Fprintln(a.ui.out, s.Lock.Slots)
	return err
}
