//go:build faults && linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/hosts"
)

// answer is what a FleetLock client heard.
type answer struct {
	status int
	kind   string
	value  string
}

func (a answer) granted() bool { return a.status == http.StatusOK }

// anyGroup: of a member's client the group does not matter.
const anyGroup = "default"

func clientOf(h *hosts.Host) string { return "client-of-" + h.ID }

// fleetLock asks one of the two questions as Zincati does.
func fleetLock(ctx context.Context, h *hosts.Host, verb, id, group string) (answer, error) {
	body, err := json.Marshal(map[string]any{"client_params": map[string]string{"id": id, "group": group}})
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.FleetLockURL()+"v1/"+verb, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("fleet-lock-protocol", "true")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return answer{}, err
	}
	a := answer{status: resp.StatusCode}
	if a.granted() {
		return a, nil
	}
	var refused struct{ Kind, Value string }
	if err := json.Unmarshal(data, &refused); err != nil || refused.Kind == "" || resp.StatusCode < 400 {
		return a, fmt.Errorf("%s of %s: answers %s %q", verb, h.ID, resp.Status, data)
	}
	a.kind, a.value = refused.Kind, refused.Value
	return a, nil
}

// raceForSlot: the update agents of all nodes ask at one instant, again and again, as
// they do after a release. One at a time is granted, and each gets its turn; a client
// that was granted may ask again and is granted again.
func raceForSlot(w *world) error {
	all := w.Hosts()
	granted := make([]string, len(all))
	turns := map[string]int{}
	for len(turns) < len(all) {
		answers, err := askAtOnce(w.ctx, all)
		if err != nil {
			return err
		}
		holder := -1
		for i, a := range answers {
			granted[i] = a.kind
			if !a.granted() {
				continue
			}
			if holder >= 0 {
				return fmt.Errorf("%s and %s were granted the one slot at the same time", all[holder].ID, all[i].ID)
			}
			holder = i
		}
		if holder < 0 {
			// Everybody was ahead of somebody, or a fact was too old: they ask again.
			if w.ctx.Err() != nil {
				return fmt.Errorf("nobody is granted the lock: %v: %w", granted, context.Cause(w.ctx))
			}
			continue
		}
		if err := keepAndRelease(w, all, holder); err != nil {
			return err
		}
		turns[all[holder].ID]++
	}
	return nil
}

func askAtOnce(ctx context.Context, all []*hosts.Host) ([]answer, error) {
	answers := make([]answer, len(all))
	var g errgroup.Group
	for i, h := range all {
		g.Go(func() (err error) {
			answers[i], err = fleetLock(ctx, h, "pre-reboot", clientOf(h), anyGroup)
			return err
		})
	}
	return answers, g.Wait()
}

// keepAndRelease: while one holds, all others are refused, by whatever id they ask;
// what is not held is released by saying so.
func keepAndRelease(w *world, all []*hosts.Host, holder int) error {
	id := clientOf(all[holder])
	again, err := fleetLock(w.ctx, all[holder], "pre-reboot", id, anyGroup)
	if err == nil && !again.granted() {
		err = fmt.Errorf("the holder asks again and is refused: %+v", again)
	}
	if err != nil {
		return err
	}
	for i, h := range all {
		if i == holder {
			continue
		}
		a, err := fleetLock(w.ctx, h, "pre-reboot", clientOf(h), anyGroup)
		if err == nil && a.granted() {
			err = fmt.Errorf("%s is granted the slot that %s holds", h.ID, all[holder].ID)
		}
		if err != nil {
			return err
		}
	}
	other, err := fleetLock(w.ctx, all[holder], "pre-reboot", "another", anyGroup)
	if err == nil && other.granted() {
		err = errors.New("another client of the same node is granted its slot")
	}
	if err != nil {
		return err
	}
	return w.released(all[holder])
}

// placeKept: a client that was refused keeps its place whatever becomes of its node's
// agent meanwhile, before one of another node that asked later.
func placeKept(w *world) error {
	all := w.Hosts()
	for _, h := range all { // whoever still waits does no more
		if err := w.released(h); err != nil {
			return err
		}
	}
	holder, early, late := all[0], all[1], all[2]
	if err := w.granted(holder); err != nil {
		return err
	}
	for _, h := range []*hosts.Host{early, late} {
		if err := w.refusedFor(h, policy.AwaitLock); err != nil {
			return err
		}
		if err := w.await(h.ID+" to wait", func() error { return w.waitsForLock(h) }); err != nil {
			return err
		}
	}
	for _, how := range []func() error{
		func() error { return w.KillAgent(early.ID) },
		func() error { return early.Machine().RestartUnit(hosts.AgentUnit) },
	} {
		before := early.Machine().UnitPID(hosts.AgentUnit)
		if err := how(); err != nil {
			return err
		}
		if err := w.await("another process of the agent", func() error {
			if now := early.Machine().UnitPID(hosts.AgentUnit); now == 0 || now == before {
				return errors.New("there is none")
			}
			return w.waitsForLock(early) // though nobody has asked it yet
		}); err != nil {
			return err
		}
	}
	if err := w.released(holder); err != nil {
		return err
	}
	// It is seen by the queue, and by who is granted.
	if err := w.refusedFor(late, policy.AwaitLock); err != nil {
		return err
	}
	for _, h := range []*hosts.Host{early, late} {
		if err := w.granted(h); err != nil {
			return err
		}
		if err := w.released(h); err != nil {
			return err
		}
	}
	return nil
}

// granted asks for a node's client until it is granted the lock, released until what it
// holds is released, refusedFor until it is refused with this word.
func (w *world) granted(h *hosts.Host) error  { return w.answered(h, "pre-reboot", "") }
func (w *world) released(h *hosts.Host) error { return w.answered(h, "steady-state", "") }
func (w *world) refusedFor(h *hosts.Host, why policy.Reason) error {
	return w.answered(h, "pre-reboot", why)
}

// answered asks for a node's client until it is refused with a word, or with none until it
// is granted.
func (w *world) answered(h *hosts.Host, verb string, word policy.Reason) error {
	return w.await(fmt.Sprintf("%s of %s to be answered %q", verb, h.ID, word), func() error {
		a, err := fleetLock(w.ctx, h, verb, clientOf(h), anyGroup)
		if err == nil && (a.kind != string(word) || a.granted() != (word == "")) {
			err = fmt.Errorf("%+v", a)
		}
		return err
	})
}

// waitsForLock: a node's agent says that its client waits for the lock.
func (w *world) waitsForLock(h *hosts.Host) error {
	s, err := w.status(h.ID)
	if err != nil {
		return err
	}
	if got := s.Reason(string(policy.ConcernReboot)); got != string(policy.AwaitLock) {
		return fmt.Errorf("it says %s", got)
	}
	return nil
}

// scriptBeforeGrant: what comes before a reboot runs under the client's slot, before the
// grant. While it fails the client is refused and told so; the agent's next process tries
// again at once.
func scriptBeforeGrant(w *world) error {
	h := w.Hosts()[0]
	ran := filepath.Join(h.Dir, "ran")
	remove, err := script(h, "exit 1")
	if err != nil {
		return err
	}
	if err := errors.Join(w.refusedFor(h, policy.ScriptFailed), remove()); err != nil {
		return err
	}
	if remove, err = script(h, "echo >> "+ran); err != nil {
		return err
	}
	if err := w.KillAgent(h.ID); err != nil {
		return err
	}
	if err := w.granted(h); err != nil {
		return err
	}
	// Asked again it is granted, and the script does not run again.
	if err := w.granted(h); err != nil {
		return err
	}
	if out, err := os.ReadFile(ran); err != nil || len(out) != 1 {
		return fmt.Errorf("the script ran %d times before the grant (%v)", len(out), err)
	}
	return errors.Join(w.released(h), remove())
}

// fleetLockLine: real agents, real etcd, clients of the protocol.
func fleetLockLine() line {
	return line{name: "fleetlock", scenarios: []scenario{
		{name: "clients of all nodes ask at once", within: 2 * time.Minute, run: raceForSlot},
		{name: "the agent of one who waits killed, and restarted", within: time.Minute, run: placeKept},
		{name: "a script before a client's grant, that fails first", within: time.Minute, run: scriptBeforeGrant},
	}}
}
