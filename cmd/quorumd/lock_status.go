package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

func (a *app) lockStatusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show who holds the lock and since when, who waits, and why each node waits",
		Long: `Show the locks of all groups, read from etcd just now: who holds them, since when and
for what, who waits in which order. Then, for every node whose agent this one knows,
why it does not reboot: the reason is explained by 'quorumd explain'.

Where etcd does not answer, what this node's agent last saw of its own group's lock is
shown, with a warning.`,
		Example: `  quorumd lock status
  quorumd lock status --output json`,
		Args: cobra.NoArgs,
	}
	f.output = outputFlag(cmd, "table", "json")
	controlFlag(cmd, &f.control)
	f.interval = time.Second // not asked for here
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.agentClient(f)
		if err != nil {
			return err
		}
		path, err := a.controlPath(f.control)
		if err != nil {
			return err
		}
		r, err := lookAtLocks(cmd.Context(), path, client)
		if err != nil {
			return err
		}
		if f.output.value == "json" {
			return a.ui.json(r)
		}
		return a.ui.lockReport(r)
	}
	return cmd
}

// lockReport is what `quorumd lock status` gathered; as JSON its output.
type lockReport struct {
	Version int `json:"version"`
	// Warning is set when the locks are not as etcd has them now.
	Warning string      `json:"warning,omitempty"`
	Locks   []peer.Lock `json:"locks"`
	// Nodes are those whose agents this node's agent knows, itself first.
	Nodes []waiting `json:"nodes"`
}

// waiting is why a node does not reboot, by its own agent's word.
type waiting struct {
	Instance string `json:"instance"`
	Reason   string `json:"reason,omitempty"`
	Detail   string `json:"detail,omitempty"`
	// Error says why its agent was not heard.
	Error string `json:"error,omitempty"`
}

func lookAtLocks(ctx context.Context, path string, client *http.Client) (lockReport, error) {
	all, err := look(ctx, func(ctx context.Context) (peer.Status, error) { return localStatus(ctx, path) }, client)
	if err != nil {
		return lockReport{}, err
	}
	r := lockReport{Version: 1, Warning: all.Warning, Nodes: []waiting{waitingOf(all.Self)}}
	for _, o := range all.Others {
		w := waiting{Instance: o.Instance, Error: o.Error}
		if o.Status != nil {
			w = waitingOf(*o.Status)
		}
		r.Nodes = append(r.Nodes, w)
	}
	if r.Locks, err = control.NewClient(path).Locks(ctx); err == nil {
		return r, nil
	}
	r.Locks = []peer.Lock{}
	r.Warning = "the locks cannot be read now: " + err.Error()
	if l := all.Self.Lock; l != nil {
		r.Locks = append(r.Locks, *l)
		r.Warning += "; shown is what this agent saw " + seconds(all.Self.Fact(peer.FactLock).AgeSeconds+all.Self.AgeSeconds) + " ago"
	}
	return r, nil
}

func waitingOf(s peer.Status) waiting {
	w := waiting{Instance: s.Instance}
	for _, v := range s.Decision.Concerns {
		if v.Concern == string(concernThatWaits(s)) {
			w.Reason, w.Detail = v.Reason, v.Detail
		}
	}
	return w
}

// concernThatWaits is that of leaving for a node that leaves, else that of rebooting.
func concernThatWaits(s peer.Status) policy.Concern {
	if s.Record.Leaving != nil && s.Record.Instance == s.Instance {
		return policy.ConcernLeave
	}
	return policy.ConcernReboot
}

func (u *ui) lockReport(r lockReport) error {
	if r.Warning != "" {
		fmt.Fprintf(u.out, "%s: %s\n", u.paint(red, "warning"), clean(r.Warning))
	}
	if len(r.Locks) == 0 {
		fmt.Fprintln(u.out, "no lock was ever taken")
	}
	for i, l := range r.Locks {
		if i > 0 {
			fmt.Fprintln(u.out)
		}
		if err := u.oneLock(l); err != nil {
			return err
		}
	}
	fmt.Fprintln(u.out)
	var rows [][]string
	for _, w := range r.Nodes {
		reason, detail := w.Reason, w.Detail
		if w.Error != "" {
			reason, detail = "no answer", w.Error
		}
		rows = append(rows, []string{w.Instance, reason, detail})
	}
	return table(u.out, []string{"NODE", "REASON", "DETAIL"}, rows)
}

func (u *ui) oneLock(l peer.Lock) error {
	state := "free"
	if n := len(l.Holders); n > 0 {
		state = fmt.Sprintf("%d held", n)
	}
	waits := "nobody waits"
	if n := len(l.Leaving) + len(l.Queue); n > 0 {
		waits = fmt.Sprintf("%d wait", n)
	}
	fmt.Fprintf(u.out, "%s\n", clean(fmt.Sprintf("group %s: slots %d, %s, %s", orUnknown(l.Group), l.Slots, state, waits)))
	if len(l.Holders) > 0 {
		var rows [][]string
		for _, h := range l.Holders {
			why := strings.TrimPrefix(h.Why, " ")
			if h.Client != "" {
				why = strings.TrimSpace("client " + h.Client + " " + why)
			}
			rows = append(rows, []string{strconv.Itoa(h.Slot), h.Instance, h.Reason, h.Phase, ageOf(h.Since), why})
		}
		if err := table(u.out, []string{"SLOT", "HOLDER", "REASON", "PHASE", "AGE", "WHY"}, rows); err != nil {
			return err
		}
	}
	if len(l.Leaving) > 0 {
		fmt.Fprintf(u.out, "leaving, first: %s\n", clean(waiters(l.Leaving)))
	}
	if len(l.Queue) > 0 {
		fmt.Fprintf(u.out, "queue: %s\n", clean(waiters(l.Queue)))
	}
	return nil
}

// waiters lists who waits, in order: what for, and how long.
func waiters(ws []peer.Waiter) string {
	var words []string
	for _, w := range ws {
		one := w.Instance
		if w.Reason != "" {
			one += " (" + w.Reason
			if !w.Since.IsZero() {
				one += " for " + ageOf(w.Since)
			}
			one += ")"
		}
		words = append(words, one)
	}
	return strings.Join(words, ", ")
}
