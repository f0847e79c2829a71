package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
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
  quorumd force-election --yes --output json
  quorumd status --watch`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what each member says, and what would be done")
	controlFlag(cmd, &socket)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if yes && dry {
			return usageError{errors.New("--yes and --dry-run exclude each other, allowed: one of them")}
		}
		asJSON := output.value == "json"
		if asJSON && !yes && !dry {
			return usageError{errors.New("--output json asks no questions, allowed with it: --yes or --dry-run")}
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
		seen := electionOf(r)
		switch {
		case asJSON && dry:
			return a.ui.json(seen)
		case !asJSON:
			if err := a.explainElection(seen); err != nil || dry {
				return err
			}
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
			err = unreachable(path, err)
		}
		if asJSON {
			if seen.Answer = answer; err != nil {
				seen.Error = err.Error()
			}
			return errors.Join(a.ui.json(seen), err)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.ui.out, clean(answer))
		return err
	}
	return cmd
}

// electionReport is what force-election saw and was told; as JSON its output.
type electionReport struct {
	Version int `json:"version"`
	// Reason is what this node's agent makes of it, in words Means, and Do what an
	// operator can do.
	Reason string `json:"reason"`
	Means  string `json:"means,omitempty"`
	Do     string `json:"do,omitempty"`
	// Would is what the agents would do if they were asked now.
	Would string `json:"would"`
	// Nodes are this one, then all whose agents this one's knows.
	Nodes []electionNode `json:"nodes"`
	// Answer is the agent's, or Error why there is none: it is refused, or not decided.
	Answer string `json:"answer,omitempty"`
	Error  string `json:"error,omitempty"`
}

// electionNode is one node, by its own agent's word.
type electionNode struct {
	Instance string  `json:"instance"`
	Member   peer.ID `json:"member,omitempty"`
	// Leader is the id of the leader that the member names, "some" where it knows one
	// and does not name it, "none", or "unknown".
	Leader  string     `json:"leader"`
	Client  *peer.Port `json:"client_port,omitempty"`
	Peer    *peer.Port `json:"peer_port,omitempty"`
	Metrics *peer.Port `json:"metrics_port,omitempty"`
	// Plan is how far the node is with a plan that is open.
	Plan string `json:"plan,omitempty"`
	// Error says why its agent was not heard.
	Error string `json:"error,omitempty"`
}

func electionOf(r report) electionReport {
	out := electionReport{Version: 1, Reason: r.Self.Reason(string(policy.ConcernElection))}
	e, _ := explain.Find(out.Reason)
	out.Means, out.Do = e.Means, e.Do
	out.Nodes = append(out.Nodes, electionNodeOf(r.Self.Instance, &r.Self, ""))
	for _, o := range r.Others {
		out.Nodes = append(out.Nodes, electionNodeOf(o.Instance, o.Status, o.Error))
	}
	out.Would = wouldDo(out)
	return out
}

// wouldDo tells what comes of asking now, by what this node's agent says. The agent
// decides when it is asked, by the newest words.
func wouldDo(r electionReport) string {
	const restart = "etcd would be restarted one node after another, first where it does not answer, then where it knows least; " +
		"if that brings no leader, all stop and start again together. Each serving node saves a snapshot first"
	switch reason := policy.Reason(r.Reason); {
	case r.Nodes[0].Plan != "":
		return "nothing more: " + r.Nodes[0].Plan + " is under way"
	case reason == policy.Electing:
		return "if a majority still knows no leader then, " + restart + "; else the agent would refuse, with the reason"
	case slices.Contains([]policy.Reason{policy.ElectionStuck, policy.ElectionOff, policy.ElectionCooldown, policy.AwaitHolder}, reason):
		return "if a majority agrees, " + restart
	case reason == policy.AttemptsSpent:
		return "if an operator's attempts are not spent, too, and a majority agrees, " + restart
	case r.Reason == "":
		return "not known: this node's agent says nothing of elections"
	}
	return "the agent would refuse: " + r.Reason
}

// electionNodeOf is one node; nothing is known of it where s is nil.
func electionNodeOf(instance string, s *peer.Status, problem string) electionNode {
	n := electionNode{Instance: instance, Leader: "unknown", Error: problem}
	if s == nil {
		return n
	}
	n.Member, n.Plan = s.Record.Member, electionStep(s)
	p := s.Etcd.Pulse
	if p == nil {
		return n
	}
	switch {
	case p.Knows == string(policy.LeaderNone):
		n.Leader = "none"
	case p.Knows == string(policy.LeaderSome) && p.Leader == 0:
		n.Leader = "some"
	case p.Knows == string(policy.LeaderSome):
		n.Leader = p.Leader.String()
	}
	n.Client, n.Peer, n.Metrics = p.Client, p.Peer, p.Metrics
	return n
}

// explainElection tells what each member says of itself, and what would be done.
func (a *app) explainElection(r electionReport) error {
	var rows [][]string
	for _, n := range r.Nodes {
		row := []string{n.Instance, "", n.Leader, "", "", "", n.Plan, n.Error}
		if n.Member != 0 {
			row[1] = n.Member.String()
		}
		for i, port := range []*peer.Port{n.Client, n.Peer, n.Metrics} {
			if port != nil {
				row[3+i] = fmt.Sprintf("%s for %s", port.Answer, seconds(port.Seconds))
			}
		}
		rows = append(rows, row)
	}
	if err := table(a.ui.out, []string{"NODE", "MEMBER", "LEADER", "CLIENT PORT", "PEER PORT", "METRICS PORT", "PLAN", "PROBLEM"}, rows); err != nil {
		return err
	}
	a.ui.say("This node's agent: %s: %s %s", orUnknown(r.Reason), r.Means, r.Do)
	a.ui.say("Asked now: %s.", r.Would)
	return nil
}

// electionStep is how far a node is with a plan that is open.
func electionStep(s *peer.Status) string {
	e := s.Election
	if e == nil || e.Step == string(policy.StepClosed) {
		return ""
	}
	return fmt.Sprintf("attempt %d, round %d: %s", e.Attempt, e.Round, e.Step)
}
