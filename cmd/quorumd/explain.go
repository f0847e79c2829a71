package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/explain"
)

func (a *app) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [REASON...]",
		Short: "Say what a reason or a warning means, and what to do",
		Long: `The word that status, journal and metrics show for every decision, also for every
decision to wait: what it means, and what an operator should do. Without a word,
all of them.

As a message catalog of systemd's journal it is what 'journalctl -x' shows below the
agent's lines. User-data installs it where /usr/local can be written; by hand:
  quorumd explain --output catalog >/usr/local/lib/systemd/catalog/quorumd.catalog
  journalctl --update-catalog`,
		Example: `  quorumd explain AwaitLock
  quorumd explain --output json`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var words []string
			for _, e := range explain.All() {
				words = append(words, cobra.CompletionWithDesc(e.Word, e.Means))
			}
			return words, cobra.ShellCompDirectiveNoFileComp
		},
	}
	output := outputFlag(cmd, "text", "json", "catalog")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		found, err := explained(args)
		if err != nil {
			return err
		}
		switch output.value {
		case "json":
			return a.ui.json(found)
		case "catalog":
			if len(args) > 0 {
				return usageError{errors.New("a catalog has all words: leave the names away")}
			}
			return explain.Catalog(a.ui.out)
		}
		for _, e := range found {
			fmt.Fprintf(a.ui.out, "%s (%s)\n  %s\n  What to do: %s\n", a.ui.paint(bold, e.Word), e.Topic, e.Means, e.Advice())
		}
		return nil
	}
	return cmd
}

// explained finds words in whatever case they are typed; all where there are none.
func explained(words []string) ([]explain.Entry, error) {
	all := explain.All()
	if len(words) == 0 {
		return all, nil
	}
	var found []explain.Entry
	for _, w := range words {
		n := len(found)
		for _, e := range all {
			if strings.EqualFold(e.Word, w) {
				found = append(found, e)
			}
		}
		if len(found) == n {
			return nil, usageError{fmt.Errorf("no reason or warning is named %q; 'quorumd explain' lists them", w)}
		}
	}
	return found, nil
}
