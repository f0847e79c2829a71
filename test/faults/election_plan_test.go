//go:build faults && linux

package faults

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/hosts"
)

// planLines are fleets whose members do not hear each other, though their agents do: no
// restart of one member helps, so plans go through both rounds. That they hear each other
// again once all were stopped is the test's doing.
func planLines() []line {
	l := line{name: "members that do not hear each other", waits: true, fresh: true, cfg: cuttable, scenarios: []scenario{
		{name: "both rounds of a plan", within: 3 * time.Minute, run: ofThree(bothRounds)},
		{name: "every agent killed in the middle of each round", within: 3 * time.Minute, run: ofThree(allKilledInPlan)},
	}}
	killed := l
	killed.name, killed.scenarios = l.name+", agents die", nil
	for k := range 3 {
		killed.scenarios = append(killed.scenarios, scenario{name: fmt.Sprintf("agents killed in all phases of a plan, %d of 3", k+1),
			within: 3 * time.Minute, run: ofThree(killedInPlan(k))})
	}
	full := line{name: "members that do not hear each other, and are full", waits: true, fresh: true, cfg: func(c *hosts.Config) {
		l.cfg(c)
		smallQuota(c)
	}, scenarios: []scenario{{name: "no restart, until there is room", within: 2 * time.Minute, run: ofThree(fullAndStuck)}}}
	return []line{l, killed, full}
}

// The phases of a plan's two rounds.
var (
	firstRound = []point{
		{"write-record", "JoinPlan"}, {"write-record", "BeginRestart"}, {"save-snapshot", ""}, {"restart-etcd", ""}, {"write-record", "Restarted"},
	}
	secondRound = []point{
		{"write-record", "JoinPlan"}, {"write-record", "BeginRestart"}, {"save-snapshot", ""}, {"stop-etcd", ""}, {"write-record", "StopStuck"},
		{"start-etcd", ""}, {"write-record", "StartStuck"},
	}
)

// inSecondRound reports whether a line says that an agent takes part in a second round.
func inSecondRound(l hosts.Line) bool {
	return l.Msg == hosts.Decided && (l.Reason == string(policy.JoinPlan) || l.Reason == string(policy.ProposePlan)) &&
		strings.Contains(l.Detail, fmt.Sprintf("round %d", policy.AllAtOnce))
}

// cutUntil cuts the links until something was seen, and waits for a leader then. No host may be
// restarted more than once and stopped more than once, whatever happened to its agent.
func (w *world) cutUntil(what string, seen func() error) error {
	w.CutLinks(true)
	err := w.await(what, seen)
	w.CutLinks(false)
	if err := errors.Join(err, w.led()); err != nil {
		return err
	}
	for _, h := range w.Hosts() {
		lines, err := h.Journal()
		if err != nil {
			return err
		}
		n := map[string]int{}
		for _, l := range lines {
			if l.Msg == hosts.Acting && l.Concern == string(policy.ConcernElection) {
				n[l.Action]++
			}
		}
		if n["restart-etcd"] > 1 || n["stop-etcd"] > 1 {
			return fmt.Errorf("%s: restarted %d times, stopped %d times, in one attempt", h.ID, n["restart-etcd"], n["stop-etcd"])
		}
	}
	return nil
}

// allDown fails unless all members are stopped.
func (w *world) allDown() error {
	for _, h := range w.Hosts() {
		if m := h.Machine(); m != nil && m.UnitState(hosts.EtcdUnit).MainPID != 0 {
			return errors.New(h.ID + " runs")
		}
	}
	return nil
}

// bothRounds: each member is restarted once, then all are stopped at the same time.
func bothRounds(w *world) error {
	if err := w.cutUntil("all members to be stopped", w.allDown); err != nil {
		return err
	}
	n, err := w.did()
	if err == nil && (n[string(policy.RestartStuck)] != 3 || n[string(policy.StopStuck)] != 3) {
		err = fmt.Errorf("of three members, %v; want each restarted once and stopped once", n)
	}
	return err
}

// allKilledInPlan kills all agents as soon as the first member is restarted, and again as
// soon as one is stopped: every etcd runs again, and what was begun counts as spent.
func allKilledInPlan(w *world) error {
	var restarts, stops sync.Once
	killed := make(chan error, 2)
	all := func() {
		var err error
		for _, h := range w.Hosts() {
			err = errors.Join(err, w.KillAgent(h.ID))
		}
		killed <- err
	}
	defer w.Follow(func(l hosts.Line) {
		switch {
		case l.Msg == hosts.Acting && l.Action == "restart-etcd":
			go restarts.Do(all)
		case l.Msg == hosts.Acted && l.Action == "stop-etcd":
			go stops.Do(all)
		}
	})()
	rounds := 0
	return w.cutUntil("all agents to be killed twice", func() error {
		select {
		case err := <-killed:
			if rounds++; err != nil {
				return err
			}
		default:
		}
		if rounds < 2 {
			return fmt.Errorf("%d times", rounds)
		}
		for _, h := range w.Hosts() {
			if m := h.Machine(); m != nil && m.UnitState(hosts.EtcdUnit).MainPID == 0 {
				return errors.New("etcd of " + h.ID + " is stopped")
			}
		}
		return nil
	})
}

// killedInPlan kills each agent once in either round of a plan. Three runs strike every
// phase, at each of the moments in turn.
func killedInPlan(k int) func(*world) error {
	return func(w *world) error {
		s := &striker{done: map[point][3]bool{}}
		second := map[string]*strike{} // not armed yet, by instance
		for i, h := range w.Hosts() {
			n := 3*k + i
			s.armed = append(s.armed, &strike{point: firstRound[n%len(firstRound)], moment: moment((k + i) % 3), host: h.ID})
			second[h.ID] = &strike{point: secondRound[n%len(secondRound)], moment: moment((k + i) % 3), host: h.ID}
		}
		defer w.Follow(func(l hosts.Line) {
			if inSecondRound(l) {
				s.mu.Lock()
				if one := second[l.Host.ID]; one != nil {
					s.armed = append(s.armed, one)
					delete(second, l.Host.ID)
				}
				s.mu.Unlock()
			}
			s.line(l)
		})()
		err := w.cutUntil("every agent to be killed in both rounds", func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if open := s.openLocked(); len(open)+len(second) > 0 {
				return fmt.Errorf("not struck yet: %s, and %d in the second round", strings.Join(open, ", "), len(second))
			}
			return nil
		})
		if missed := s.missed(); len(missed) > 0 {
			err = errors.Join(err, neverHit(missed))
		}
		return err
	}
}

// noRestart: while links are cut, nothing is restarted, and every agent says why.
func (w *world) noRestart(reason policy.Reason) error {
	before := w.processes(hosts.EtcdUnit)
	for _, h := range w.Hosts() {
		if err := w.says(h.ID, string(reason)); err != nil {
			return err
		}
	}
	return w.holds(2*stuckAfter, func() error { return same(before, w.processes(hosts.EtcdUnit)) })
}

// fullAndStuck: where the database is full as well, a restart is not what helps.
func fullAndStuck(w *world) error {
	client, err := w.Client(w.Endpoints()...)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := w.fill(client); err != nil {
		return err
	}
	members, err := w.Members(w.ctx)
	if err != nil {
		return err
	}
	w.CutLinks(true)
	err = w.noRestart(policy.AlarmNoSpace)
	w.CutLinks(false)
	if err != nil {
		return err
	}
	if err := w.await("a leader", func() error { _, err := w.Leader(w.ctx); return err }); err != nil {
		return err
	}
	return w.makeRoom(members)
}

// cuttable has agents wait for a short time only, and puts links between the members that
// cutUntil can cut.
func cuttable(c *hosts.Config) {
	soon(c)
	c.Links = hosts.Links{Delay: time.Millisecond}
}
