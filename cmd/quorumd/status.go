package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/agent/control"
	"github.com/quorumd/quorumd/agent/peer"
)

// askAtOnce bounds how many agents are asked at the same time.
const askAtOnce = 8

// statusFlags are the flags of `quorumd status`.
type statusFlags struct {
	endpoint, control string
	files             certs.Files
	watch             bool
	interval          time.Duration
	output            *choice
}

func (a *app) statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show this node, all members, and why each concern acts or waits",
		Long: `Show what the agent of this node sees and decides, and what the agents of all other
nodes say of themselves.

The reason of a concern is the same word as in the log and in the metrics: it tells
why the agent acts, or what it waits for. PHASE is the reason that matters most for
that node. HEALTH is a member's own word to this node's agent.

An agent that does not answer is shown as such; it is no failure of this command.
When this node's own agent does not answer the exit code is 3.

Where etcd.peer_ca_file is set, agents speak mutual TLS, and so does this command,
with the configuration's files or those that --ca-file, --cert-file and --key-file
name. The certificate of an agent must bear the address in its URL.`,
		Example: `  quorumd status
  quorumd status --watch --interval 5s
  quorumd status --output json
  quorumd status --endpoint http://10.0.0.7:2382    # as another agent sees it
  quorumd status --endpoint https://10.0.0.7:2382 --ca-file ca.pem --cert-file me.pem --key-file me.key`,
		Args: cobra.NoArgs,
	}
	f.output = outputFlag(cmd, "table", "json")
	cmd.Flags().StringVar(&f.endpoint, "endpoint", "", "ask the agent at this URL instead of this node's")
	cmd.Flags().StringVar(&f.control, "control", "", "control socket (default: the configuration's listen.control)")
	cmd.Flags().StringVar(&f.files.CA, "ca-file", "", "authority of the agents' certificates (default: the configuration's etcd.peer_ca_file)")
	cmd.Flags().StringVar(&f.files.Cert, "cert-file", "", "certificate to show to agents (default: etcd.peer_cert_file)")
	cmd.Flags().StringVar(&f.files.Key, "key-file", "", "its key (default: etcd.peer_key_file)")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "go on until interrupted: repaint a terminal, else a line each time")
	cmd.Flags().DurationVar(&f.interval, "interval", 2*time.Second, "how often to look with --watch")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := a.agentClient(f)
		if err != nil {
			return err
		}
		ask, err := a.source(f, client)
		if err != nil {
			return err
		}
		if f.watch {
			return a.watch(cmd.Context(), f, ask, client)
		}
		r, err := look(cmd.Context(), ask, client)
		if err != nil {
			return err
		}
		if f.output.value == "json" {
			return a.ui.json(r)
		}
		return a.ui.report(r)
	}
	return cmd
}

// source reads the status of one agent.
type source func(ctx context.Context) (peer.Status, error)

// agentClient speaks to agents over the network as they do to each other.
func (a *app) agentClient(f statusFlags) (*http.Client, error) {
	files := f.files
	switch {
	case files == (certs.Files{}):
		c, _, err := a.load()
		if err != nil && f.endpoint == "" && f.control == "" {
			return nil, err
		}
		// Without a configuration that can be read, a named agent is asked all the same.
		if err == nil {
			files = certs.Files{CA: c.Etcd.PeerCAFile, Cert: c.Etcd.PeerCertFile, Key: c.Etcd.PeerKeyFile}
		}
	case files.CA == "" || files.Cert == "" || files.Key == "":
		return nil, usageError{errors.New("--ca-file, --cert-file and --key-file go together, allowed: all three or none")}
	}
	if files == (certs.Files{}) {
		return peer.NewClient(nil), nil
	}
	set, err := certs.New(files, nil)
	if err != nil {
		return nil, usageError{err}
	}
	return peer.NewClient(set), nil
}

// source is where the flags say the status comes from.
func (a *app) source(f statusFlags, client *http.Client) (source, error) {
	if f.interval < 100*time.Millisecond {
		return nil, usageError{fmt.Errorf("--interval %s is too short, allowed: 100ms and more", f.interval)}
	}
	if f.endpoint != "" && f.control != "" {
		return nil, usageError{errors.New("--endpoint and --control name two agents, allowed: one of them")}
	}
	if f.endpoint != "" {
		if !strings.HasPrefix(f.endpoint, "http://") && !strings.HasPrefix(f.endpoint, "https://") {
			return nil, usageError{fmt.Errorf("--endpoint %q is no URL of an agent, allowed: such as http://10.0.0.7:2382, https where etcd's peers use TLS", f.endpoint)}
		}
		return func(ctx context.Context) (peer.Status, error) {
			return peer.Fetch(ctx, client, f.endpoint)
		}, nil
	}
	path, err := a.controlPath(f.control)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (peer.Status, error) { return localStatus(ctx, path) }, nil
}

// localStatus asks this node's agent, with words for when it is not there.
func localStatus(ctx context.Context, path string) (peer.Status, error) {
	s, err := control.NewClient(path).Status(ctx)
	return s, unreachable(path, err)
}

// unreachable puts words for people to the error of an agent that is not there.
func unreachable(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return notThere{fmt.Sprintf("the control socket %s is only root's; try sudo", path), err}
	case errors.Is(err, peer.ErrUnreachable):
		return notThere{fmt.Sprintf("the agent is not running on this node: nothing listens on %s\n"+
			"Look at it with 'systemctl status quorumd' and 'journalctl -u quorumd'.", path), err}
	}
	return err
}

// notThere says in people's words why the agent cannot be reached.
type notThere struct {
	words string
	err   error
}

func (e notThere) Error() string { return e.words }
func (e notThere) Unwrap() error { return e.err }

// report is everything that one look gathered; as JSON the output of
// `quorumd status --output json`.
type report struct {
	Version int         `json:"version"`
	Self    peer.Status `json:"self"`
	// Warning is set when Self is old, see peer.ErrHung.
	Warning string  `json:"warning,omitempty"`
	Others  []other `json:"others"`
}

// other is what another node's agent says of itself.
type other struct {
	Instance string `json:"instance"`
	URL      string `json:"url,omitempty"`
	// Status is null when the agent does not answer; Error says why.
	Status *peer.Status `json:"status"`
	Error  string       `json:"error,omitempty"`
}

// look asks one agent, then every other that it names, at the same time.
func look(ctx context.Context, ask source, client *http.Client) (report, error) {
	s, err := ask(ctx)
	r := report{Version: 1, Self: s, Others: []other{}}
	if errors.Is(err, peer.ErrHung) {
		r.Warning = err.Error()
	} else if err != nil {
		return report{}, err
	}
	var g errgroup.Group
	g.SetLimit(askAtOnce)
	for _, agent := range s.Agents {
		if agent.EC2 == "terminated" || agent.EC2 == "not-found" {
			continue
		}
		r.Others = append(r.Others, other{Instance: agent.Instance, URL: agent.URL})
	}
	for i := range r.Others {
		g.Go(func() error {
			r.Others[i].ask(ctx, client)
			return nil
		})
	}
	return r, g.Wait()
}

// ask fills in what the other agent answers.
func (o *other) ask(ctx context.Context, client *http.Client) {
	if o.URL == "" {
		o.Error = "its address is not known"
		return
	}
	s, err := peer.Fetch(ctx, client, o.URL)
	switch {
	case err == nil && s.Instance != o.Instance:
		o.Error = fmt.Sprintf("%s answers as %s", o.URL, s.Instance)
		return
	case errors.Is(err, peer.ErrHung):
		o.Error = err.Error()
	case err != nil:
		o.Error = shortError(err)
		return
	}
	o.Status = &s
}

// shortError is the innermost cause, which is what the outer layers repeat.
func shortError(err error) string {
	var dial interface {
		error
		Timeout() bool
	}
	if errors.As(err, &dial) && dial.Timeout() {
		return "no answer in time"
	}
	msg := err.Error()
	if i := strings.LastIndex(msg, ": "); i >= 0 && errors.Is(err, peer.ErrUnreachable) {
		return msg[i+2:]
	}
	return msg
}

// watch looks again and again until ctx ends. An agent that is away for a while is
// said, not the end.
func (a *app) watch(ctx context.Context, f statusFlags, ask source, client *http.Client) error {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		r, err := look(ctx, ask, client)
		if ctx.Err() != nil {
			return nil
		}
		if err := a.show(f, r, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// show shows one look of --watch; err is that look's.
func (a *app) show(f statusFlags, r report, err error) error {
	switch {
	case f.output.value == "json":
		if err != nil {
			a.ui.fail(err)
			return nil
		}
		return json.NewEncoder(a.ui.out).Encode(r) // one line a look
	case a.ui.terminal:
		// Home, then clear: what is longer than the screen stays in its scroll.
		if _, werr := fmt.Fprint(a.ui.out, "\x1b[H\x1b[2J"); werr != nil {
			return werr
		}
		if err != nil {
			a.ui.fail(err)
			return nil
		}
		return a.ui.report(r)
	case err != nil:
		a.ui.fail(err)
		return nil
	}
	_, werr := fmt.Fprintln(a.ui.out, clean(r.line()))
	return werr
}
