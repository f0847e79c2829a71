package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

func (a *app) bootstrapCommand() *cobra.Command {
	var fresh, yes bool
	var socket string
	cmd := &cobra.Command{
		Use:   "bootstrap --fresh",
		Short: "Let the group form a new cluster when the old one is gone for good",
		Long: `The group's tag quorumd:cluster-id names its cluster. When every member of that
cluster is gone, new nodes wait with ClusterMissing: they cannot tell a lost
cluster from one that is only out of reach, and a second cluster would be worse
than none.

'quorumd bootstrap --fresh' is an operator's word that it is gone: the agent looks
once more, refuses if any member or any data is found, and else removes the tag.
Then the nodes form a new, EMPTY cluster. Data of the old one is not brought back.`,
		Example: `  quorumd bootstrap --fresh
  quorumd bootstrap --fresh --yes`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&fresh, "fresh", false, "forget the cluster that the group's tag names")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&socket, "control", "", "control socket (default: the configuration's listen.control)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !fresh {
			return usageError{errors.New("a cluster forms by itself when the group has none; only --fresh is for operators")}
		}
		path, err := a.controlPath(socket)
		if err != nil {
			return err
		}
		return a.freshStart(cmd.Context(), path, yes)
	}
	return cmd
}

// freshStart shows, asks, submits.
func (a *app) freshStart(ctx context.Context, path string, yes bool) error {
	c := control.NewClient(path)
	s, err := localStatus(ctx, path)
	if err != nil && !errors.Is(err, peer.ErrHung) {
		return err
	}
	a.explainFresh(s)
	if err := a.ui.confirm(yes); err != nil {
		return err
	}
	a.ui.say("Asking the agent; this can take a minute.")
	answer, err := c.Submit(ctx, control.Request{Kind: string(policy.FreshStart)})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.ui.out, clean(answer))
	return err
}

// explainFresh tells what is going to be forgotten, as far as the agent knows.
func (a *app) explainFresh(s peer.Status) {
	g := s.Group
	switch {
	case g == nil:
		a.ui.say("The agent has not read the auto scaling group: %s", orUnknown(s.Fact(peer.FactGroup).Error))
	case g.ClusterTag == "":
		a.ui.say("Group %s has no tag quorumd:cluster-id: nothing keeps it from forming a cluster.", clean(g.Name))
	default:
		a.ui.say("Group %s (%d wanted) is tagged quorumd:cluster-id=%s. The tag would be removed.", clean(g.Name), g.Desired, clean(g.ClusterTag))
	}
	a.ui.say("Looked for members and agents at:")
	found := 0
	if s.Members != nil {
		for _, m := range s.Members.List {
			found++
			a.ui.say("  member %s of %s: %s", m.ID, orUnknown(m.Instance), health(m, nil))
		}
	}
	for _, o := range s.Agents {
		found++
		word := "its agent does not answer"
		if o.Answers {
			word = "its agent answers"
		}
		a.ui.say("  instance %s: %s", clean(o.Instance), word)
	}
	if found == 0 {
		a.ui.say("  nowhere: this node knows of no other")
	}
	a.ui.say("The nodes of the group then form a new, EMPTY cluster.")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return clean(s)
}
