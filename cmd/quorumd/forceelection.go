package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/explain"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

func (a *app) forceElectionCommand() *cobra.Command {
	var yes, dry bool
	var socket string
	cmd := &cobra.Command{
		Use:   "force-election",
		Short: "Have a stuck etcd restarted across the nodes, in agreement, without the waiting time",
		Long: `When etcd elects no leader although enough members are there, the agents restart it
by themselves after force_election.after. This asks for the same at once.

It is the same agreement: a majority of the members' agents must see for themselves
that there is no leader, and publish one plan, before any restarts its own etcd: one
after another first, then all together. Where a restart cannot help (too few members,
an alarm, certificates) or is not needed (there is a leader) it is refused with the
reason. Before its etcd is restarted each node saves a snapshot, as far as it can.`,
		Example: `  quorumd force-election --dry-run
  quorumd force-election
  quorumd status --watch`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what each member says, and what would be done")
	controlFlag(cmd, &socket)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if yes && dry {
			return usageError{errors.New("--yes and --dry-run exclude each other, allowed: one of them")}
		}
		path, err := a.controlPath(socket)
		if err != nil {
			return err
		}
		client, err := a.agentClient(statusFlags{control: socket})
		if err != nil {
			return err
		}
		r, err := look(cmd.Context(), func(ctx context.Context) (peer.Status, error) { return localStatus(ctx, path) }, client)
		if err != nil {
			return err
		}
		if err := a.explainElection(r); err != nil || dry {
			return err
		}
		if !yes {
			a.ui.say("Type 'yes' to go on:")
			// No input at all is no "yes", whatever the reason.
			word, _ := bufio.NewReader(a.ui.in).ReadString('\n')
			if strings.TrimSpace(word) != "yes" {
				return errors.New("not confirmed, nothing was changed")
			}
		}
		answer, err := control.NewClient(path).Submit(cmd.Context(), control.Request{Kind: string(policy.ForceElection)})
		if err != nil {
			return unreachable(path, err)
		}
		_, err = fmt.Fprintln(a.ui.out, clean(answer))
		return err
	}
	return cmd
}

// explainElection tells what each member says of itself, and what would be done.
func (a *app) explainElection(r report) error {
	rows := [][]string{electionRow(r.Self.Instance, &r.Self, "")}
	for _, o := range r.Others {
		rows = append(rows, electionRow(o.Instance, o.Status, o.Error))
	}
	if err := table(a.ui.out, []string{"NODE", "MEMBER", "LEADER", "CLIENT PORT", "PEER PORT", "METRICS PORT", "PLAN", "PROBLEM"}, rows); err != nil {
		return err
	}
	word := r.Self.Reason(string(policy.ConcernElection))
	e, _ := explain.Find(word)
	a.ui.say("This node's agent: %s: %s %s", orUnknown(word), e.Means, e.Do)
	a.ui.say("If a majority agrees, etcd is restarted one node after another; if that brings no leader, all stop and start again together.")
	return nil
}

// electionRow is one node; nothing is known of it where s is nil.
func electionRow(instance string, s *peer.Status, problem string) []string {
	if s == nil {
		return []string{instance, "", "unknown", "", "", "", "", problem}
	}
	row := []string{instance, s.Record.Member.String(), "unknown", "", "", "", electionStep(s), problem}
	p := s.Etcd.Pulse
	if p == nil {
		return row
	}
	switch {
	case p.Knows == string(policy.LeaderNone):
		row[2] = "none"
	case p.Knows == string(policy.LeaderSome):
		row[2] = p.Leader.String()
	}
	for i, port := range []*peer.Port{p.Client, p.Peer, p.Metrics} {
		if port != nil {
			row[3+i] = fmt.Sprintf("%s for %s", port.Answer, seconds(port.Seconds))
		}
	}
	return row
}

// electionStep is how far a node is with a plan that is open.
func electionStep(s *peer.Status) string {
	e := s.Election
	if e == nil || e.Step == string(policy.StepClosed) {
		return ""
	}
	return fmt.Sprintf("attempt %d, round %d: %s", e.Attempt, e.Round, e.Step)
}
