package main

import (
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
all of them.`,
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
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		found, err := explained(args)
		if err != nil {
			return err
		}
		if output.value == "json" {
			return a.ui.json(found)
		}
		for _, e := range found {
			do := e.Do
			if do == "" {
				do = "nothing: it goes on by itself"
			}
			fmt.Fprintf(a.ui.out, "%s (%s)\n  %s\n  What to do: %s\n", a.ui.paint(bold, e.Word), e.Topic, e.Means, do)
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
