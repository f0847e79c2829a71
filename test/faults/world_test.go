//go:build faults && linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
	"github.com/quorumd/quorumd/test/hosts"
)

// world is a fleet and an application that writes to it.
type world struct {
	*hosts.Fleet
	writer *fleet.Writer
	pause  time.Duration // of the writer
	// acknowledged writes that were read back: of this writer, and of those before it
	checked, before int

	// Of the scenario under way.
	ctx    context.Context
	events int             // in the cloud's log at its beginning
	ranOut map[string]bool // instances whose hooks may run out
}

func newWorld(t *testing.T, bin hosts.Binaries, change func(*hosts.Config), pause time.Duration) *world {
	t.Helper()
	cfg := hosts.Config{
		Binaries: bin, AgentRestart: 200 * time.Millisecond, EtcdRestart: time.Second,
		AgentEnv: []string{"QUORUMD_LIFECYCLE_REPLACEMENT_WAIT=20s", "QUORUMD_LIFECYCLE_POLL=500ms"},
	}
	if *logs != "" {
		cfg.Logs = filepath.Join(*logs, strings.ReplaceAll(t.Name(), "/", "_"))
	}
	if change != nil {
		change(&cfg)
	}
	f, err := hosts.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Fleet: f, pause: pause}
	w.startWriter()
	return w
}

func (w *world) startWriter() {
	if w.writer != nil {
		w.writer.Stop()
		w.before, w.checked = w.before+w.checked, 0
	}
	w.writer = fleet.StartWriter(fleet.WriterConfig{Endpoints: w.Endpoints, Client: w.Client, Timeout: time.Second, Pause: w.pause})
}

// close tells how many acknowledged writes were read back.
func (w *world) close(t *testing.T) (checked int) {
	t.Helper()
	w.writer.Stop()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left behind", w.Dir())
	}
	return w.before + w.checked
}

// form makes the group and its first cluster.
func (w *world) form(t *testing.T, n int) {
	t.Helper()
	r := w.play(t, scenario{name: "form", run: func(w *world) error { return w.Launch(n) }})
	if r.err != nil {
		w.close(t)
		t.Fatal(r.err)
	}
}

// play runs a scenario, waits until all is settled, and checks what must hold.
func (w *world) play(t *testing.T, s scenario) result {
	t.Helper()
	if s.within == 0 {
		s.within = time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), s.within, fmt.Errorf("not within %s", s.within))
	defer cancel()
	w.ctx, w.events, w.ranOut = ctx, len(w.Cloud.Events()), map[string]bool{}
	began := time.Now()
	err := s.run(w)
	if err == nil {
		_, err = w.Settle(ctx)
	}
	if err == nil {
		err = errors.Join(w.checkHooks(), w.checkWrites())
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, w.describe())
	}
	return result{took: time.Since(began), stall: w.writer.Stall(began, time.Now()), err: err}
}

// checkHooks: every hook that was opened was completed, by an agent and in time.
func (w *world) checkHooks() error {
	return w.CheckHooks(w.events, func(id string) bool { return w.ranOut[id] })
}

func (w *world) checkWrites() error {
	client, err := w.Client(w.Endpoints()...)
	if err != nil {
		return err
	}
	defer client.Close()
	n := w.writer.Acked()
	if err := w.writer.Check(w.ctx, client); err != nil {
		return err
	}
	w.checked = n
	return nil
}

// describe is what helps to find out why: the group, and what each agent says.
func (w *world) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "group now:")
	for _, inst := range w.Instances() {
		fmt.Fprintf(&b, " %s=%s", inst.ID, inst.Lifecycle)
	}
	fmt.Fprintf(&b, "\n")
	for _, e := range w.Cloud.Events()[w.events:] {
		if e.Kind != fakeaws.Heartbeat {
			fmt.Fprintf(&b, "  %s\n", e)
		}
	}
	for _, h := range w.Hosts() {
		lines, err := h.Journal()
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "%s %s %s, last lines:\n", h.Name, h.ID, h.Addr)
		for _, l := range lines[max(0, len(lines)-25):] {
			fmt.Fprintf(&b, "    %s\n", l.Raw[:min(len(l.Raw), 400)])
		}
	}
	return b.String()
}

// followers are the instances in service but the leader's, oldest first.
func (w *world) followers() (ids []string, leader string, err error) {
	if err := w.await("a leader", func() (err error) {
		leader, err = w.Leader(w.ctx)
		return err
	}); err != nil {
		return nil, "", err
	}
	for _, inst := range w.Instances() {
		if inst.ID != leader {
			ids = append(ids, inst.ID)
		}
	}
	return ids, leader, nil
}

// await waits until something that can only be asked for holds.
func (w *world) await(what string, ok func() error) error {
	return fleet.Until(w.ctx, 20*time.Millisecond, what, func(context.Context) error { return ok() })
}

// holds checks for a while that something stays true. It is for what must not
// happen, of which no event can tell.
func (w *world) holds(d time.Duration, ok func() error) error {
	end := time.After(d)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := ok(); err != nil {
			return err
		}
		select {
		case <-end:
			return nil
		case <-tick.C:
		case <-w.ctx.Done():
			return context.Cause(w.ctx)
		}
	}
}

// says waits until the agent of a host gives a reason, which it may have given
// already in this scenario.
func (w *world) says(id, reason string) error {
	h := w.Host(id)
	if h == nil {
		return fmt.Errorf("no host %s", id)
	}
	return w.await(id+" to say "+reason, func() error {
		lines, err := h.Journal()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(lines, func(l hosts.Line) bool { return l.Msg == hosts.Decided && l.Reason == reason }) {
			return nil
		}
		return errors.New("it did not")
	})
}

// status is what the agent of a host tells other agents.
func (w *world) status(id string) (peer.Status, error) {
	h := w.Host(id)
	if h == nil {
		return peer.Status{}, fmt.Errorf("no host %s", id)
	}
	data, err := h.Get(w.ctx, h.StatusURL())
	if err != nil {
		return peer.Status{}, err
	}
	return peer.Decode(data)
}

// sees waits until the agent of a host knows of so many voters.
func (w *world) sees(id string, voters int) error {
	return w.await(fmt.Sprintf("%s to see %d voters", id, voters), func() error {
		s, err := w.status(id)
		if err != nil {
			return err
		}
		if n := s.Members.Voters(); n != voters {
			return fmt.Errorf("it sees %d", n)
		}
		return nil
	})
}

// event waits for an event of this scenario.
func (w *world) event(match func(fakeaws.Event) bool) (fakeaws.Event, error) {
	return w.Cloud.AwaitEvent(w.ctx, func(e fakeaws.Event) bool { return e.Seq > w.events && match(e) })
}
