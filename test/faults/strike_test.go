//go:build faults && linux

package faults

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec "proto"
	"google.golang.org/grpc/mem"

	"github.com/quorumd/quorumd/test/hosts"
	"github.com/quorumd/quorumd/units"
)

// moment is where in an action the agent dies.
type moment int

const (
	before  moment = iota // it said that it acts
	between               // the effect is there, it does not know of it
	after                 // it said that it acted
)

func (m moment) String() string { return [...]string{"before", "between", "after"}[m] }

// point is an action of the agent; why tells records from each other, and removals.
type point struct{ action, why string }

func (p point) String() string { return strings.TrimSuffix(p.action+" "+p.why, " ") }

// is: an agent says that it is at this point. Of a record it logs only why, of a removal
// all of it.
func (p point) is(l hosts.Line) bool {
	return p.action == l.Action && (p.why == "" || l.What == p.why || strings.HasSuffix(l.What, " Why:"+p.why+"}"))
}

// strike kills one agent once, at one point. A strike for a host that is not known
// yet takes the first host outside of not.
type strike struct {
	point
	moment
	host  string          // instance; "": any that is not in not
	not   map[string]bool // instances
	power bool            // its machine dies with it, and boots again

	acting map[*hosts.Host]bool // agents that are at the point now
	struck bool
	// died: an agent at the point died of another strike. If its action had its effect,
	// nobody comes to this point again.
	died bool
}

func (s *strike) String() string {
	if s.power {
		return s.moment.String() + " " + s.point.String() + " (power)"
	}
	return s.moment.String() + " " + s.point.String()
}

func (s *strike) aims(h *hosts.Host) bool {
	return h != nil && !s.struck && (s.host == h.ID || s.host == "" && !s.not[h.ID])
}

// anybody: whichever agent is first.
func (s *strike) anybody() bool { return s.host == "" && s.not == nil }

// striker kills agents at the points it was armed with.
type striker struct {
	mu    sync.Mutex
	armed []*strike
	done  map[point][3]bool // where it has struck so far, by moment
	log   []string          // strikes that hit since the round began, in order
	// evicted: another agent released the hold of one that was dead just then, whose
	// own release then never comes.
	evicted bool
	spared  []string
	tasks   sync.WaitGroup
}

func (k *striker) arm(strikes ...*strike) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spareLocked()
	k.armed, k.evicted = strikes, false
}

// through settles a fleet in which all strikes so far must have hit.
func (k *striker) through(w *world) error {
	if _, err := w.Settle(w.ctx); err != nil {
		return err
	}
	if missed := k.missed(); len(missed) > 0 {
		return neverHit(missed)
	}
	return nil
}

// open are the strikes that have not found their moment yet.
func (k *striker) open() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.openLocked()
}

func (k *striker) openLocked() (open []string) {
	for _, s := range k.armed {
		if !s.struck && !k.sparesLocked(s) {
			open = append(open, s.String())
		}
	}
	return open
}

func neverHit(missed []string) error {
	return fmt.Errorf("never found their moment: %s", strings.Join(missed, ", "))
}

// sparesLocked: a strike may never find its moment: its agent died of another one at the
// point, or its own release never comes.
func (k *striker) sparesLocked(s *strike) bool {
	return s.died || k.evicted && s.action == "release-hold"
}

// spareLocked notes the armed strikes that have not hit, and need not.
func (k *striker) spareLocked() {
	for _, s := range k.armed {
		if !s.struck && k.sparesLocked(s) {
			k.spared = append(k.spared, s.String())
		}
	}
}

// excused are the strikes that were spared since it was asked last.
func (k *striker) excused() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	spared := k.spared
	k.spared = nil
	return spared
}

// missed are the strikes that never found their moment. It disarms them.
func (k *striker) missed() (missed []string) {
	k.mu.Lock()
	missed = k.openLocked()
	k.spareLocked()
	k.armed = nil
	k.mu.Unlock()
	k.tasks.Wait()
	return missed
}

// hits are the strikes that hit, in order. It forgets them.
func (k *striker) hits() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	log := k.log
	k.log = nil
	return log
}

func (k *striker) strikeLocked(s *strike) {
	s.struck = true
	at := k.done[s.point]
	at[s.moment] = true
	k.done[s.point] = at
}

// hit kills the agent for a strike, once.
func (k *striker) hit(s *strike, h *hosts.Host) bool {
	k.mu.Lock()
	ok := !s.struck
	k.strikeLocked(s)
	if ok {
		k.log = append(k.log, fmt.Sprintf("%s %s", h.Name, s))
		for _, other := range k.armed {
			other.died = other.died || other != s && other.acting[h]
			delete(other.acting, h)
		}
	}
	k.mu.Unlock()
	if m := h.Machine(); ok && m != nil {
		_ = m.KillUnit(hosts.AgentUnit, syscall.SIGKILL) // it may have died by itself
		if s.power {
			k.tasks.Go(func() {
				if err := h.Cycle(); err != nil {
					k.mu.Lock()
					defer k.mu.Unlock()
					k.log = append(k.log, fmt.Sprintf("(%s: %v)", h.Name, err))
				}
			})
		}
	}
	return ok
}

// first is the first armed strike that matches.
func (k *striker) first(match func(*strike) bool) *strike {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.armed {
		if !s.struck && match(s) {
			return s
		}
	}
	return nil
}

// line strikes on what an agent logs.
func (k *striker) line(l hosts.Line) {
	if l.Msg == hosts.Acting && l.Reason == "EvictHold" {
		k.mu.Lock()
		k.evicted = true
		k.mu.Unlock()
	}
	switch l.Msg {
	case hosts.Acting:
		s := k.first(func(s *strike) bool {
			if !s.is(l) || !s.aims(l.Host) {
				return false
			}
			if s.acting == nil {
				s.acting = map[*hosts.Host]bool{}
			}
			s.acting[l.Host] = true
			return true
		})
		switch {
		case s == nil:
		case s.moment == before:
			k.hit(s, l.Host)
		case s.moment == between:
			k.watch(s, l.Host)
		}
	case hosts.Acted, hosts.Failed:
		s := k.first(func(s *strike) bool {
			mine := s.acting[l.Host] && s.action == l.Action
			return mine && l.Msg == hosts.Acted && (s.moment == after || effect(s, l.Host) != nil)
		})
		k.over(l)
		if s != nil { // of a between that was over sooner than it was seen: as late as after
			k.hit(s, l.Host)
		}
	}
}

// over: an agent is not at an action's points any more.
func (k *striker) over(l hosts.Line) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.armed {
		if s.action == l.Action {
			delete(s.acting, l.Host)
		}
	}
}

// watch strikes when an effect that no proxy carries is there.
func (k *striker) watch(s *strike, h *hosts.Host) {
	if done := effect(s, h); done != nil {
		k.tasks.Go(func() {
			if done() {
				k.hit(s, h)
			}
		})
	}
}

// effect gives a wait for an action's effect on the host itself; nil: the action is
// a call, see answered.
func effect(s *strike, h *hosts.Host) func() bool {
	m := h.Machine()
	if m == nil {
		return nil
	}
	unit := func(cond func(units.UnitState) bool) func() bool {
		return func() bool {
			ctx, cancel := bounded()
			defer cancel()
			_, err := m.WaitUnit(ctx, hosts.EtcdUnit, cond)
			return err == nil
		}
	}
	switch s.action {
	case "write-record":
		path := filepath.Join(h.StateDir(), "record.json")
		old, _ := os.Stat(path)
		return func() bool {
			return pollFast(func() bool {
				now, err := os.Stat(path)
				return err == nil && (old == nil || !os.SameFile(old, now))
			})
		}
	case "reboot":
		return func() bool {
			ctx, cancel := bounded()
			defer cancel()
			select {
			case <-m.RebootAsked():
				return true
			case <-ctx.Done():
				return false
			}
		}
	case "archive-data":
		return func() bool {
			return pollFast(func() bool {
				left, err := os.ReadDir(h.DataDir())
				return err == nil && len(left) == 0
			})
		}
	case "save-snapshot":
		dir := filepath.Join(h.StateDir(), "snapshots")
		old, _ := filepath.Glob(filepath.Join(dir, "*.db"))
		return func() bool {
			return pollFast(func() bool {
				now, err := filepath.Glob(filepath.Join(dir, "*.db"))
				return err == nil && len(now) > len(old)
			})
		}
	case "start-etcd", "restart-etcd":
		pid := m.UnitPID(hosts.EtcdUnit)
		return unit(func(u units.UnitState) bool { return u.MainPID != 0 && u.MainPID != pid })
	case "stop-etcd":
		return unit(func(u units.UnitState) bool { return u.MainPID == 0 })
	}
	return nil
}

// answered strikes on a call that took effect, while its answer waits here.
func (k *striker) answered(a hosts.Answer) (forward bool) {
	var caller *hosts.Host
	s := k.first(func(s *strike) bool {
		if s.moment != between || !s.calls(a) {
			return false
		}
		if caller == nil {
			caller = a.Caller()
		}
		return s.aims(caller) || caller == nil && s.anybody()
	})
	switch {
	case s == nil:
		return true
	case caller == nil: // another strike was quicker: it died between, too
		k.mu.Lock()
		k.strikeLocked(s)
		k.mu.Unlock()
		return false
	}
	return !k.hit(s, caller)
}

// calls reports whether a call is the effect of the strike's action.
func (s *strike) calls(a hosts.Answer) bool {
	const holders, joins = "/lock/members/holders/", "/join/"
	if s.action == "remove-member" {
		return a.Call == "/etcdserverpb.Cluster/MemberRemove"
	}
	switch s.point {
	case point{"add-learner", ""}:
		return a.Call == "/etcdserverpb.Cluster/MemberAdd"
	case point{"add-learner", "announced"}:
		put, _ := changes(a, joins)
		return put != nil
	case point{"promote", ""}:
		return a.Call == "/etcdserverpb.Cluster/MemberPromote"
	case point{"move-leader", ""}:
		return a.Call == "/etcdserverpb.Maintenance/MoveLeader"
	case point{"take-slot", ""}:
		put, _ := changes(a, holders)
		return bytes.Contains(put, []byte(`"granted"`))
	case point{"mark-acting", ""}:
		put, _ := changes(a, holders)
		return bytes.Contains(put, []byte(`"acting"`))
	case point{"release-hold", ""}:
		_, deleted := changes(a, holders)
		return deleted
	case point{"complete-hook", ""}:
		return a.Call == "CompleteLifecycleAction"
	case point{"write-tag", ""}:
		return a.Call == "CreateOrUpdateTags"
	case point{"delete-tag", ""}:
		return a.Call == "DeleteTags"
	}
	return false
}

// changes finds what a transaction does to keys that contain a word.
func changes(a hosts.Answer, word string) (put []byte, deleted bool) {
	if a.Call != "/etcdserverpb.KV/Txn" {
		return nil, false
	}
	var txn etcdserverpb.TxnRequest
	wire := mem.BufferSlice{mem.SliceBuffer(a.Request)}
	if encoding.GetCodecV2("proto").Unmarshal(wire, &txn) != nil {
		return nil, false
	}
	for _, op := range txn.Success {
		if p := op.GetRequestPut(); p != nil && bytes.Contains(p.Key, []byte(word)) {
			put = p.Value
		}
		if d := op.GetRequestDeleteRange(); d != nil && bytes.Contains(d.Key, []byte(word)) {
			deleted = true
		}
	}
	return put, deleted
}
