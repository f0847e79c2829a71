//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// stuckAfter is the configured waiting time here, the shortest that there is: it is
// not part of what is measured.
const stuckAfter = 10 * time.Second

// byHandPause is what an operator waits between stop and start, as agents do by default.
const byHandPause = 5 * time.Second

// measureStuck takes the time from an etcd without a leader to its next leader: round 1
// on members of which a majority is frozen; on the same fleet, frozen in the same way again, the
// procedure by hand, done by somebody who is on all nodes at once; and round 2 on members
// that do not hear each other until all were stopped.
func measureStuck(ctx context.Context, b *bench) error {
	for _, size := range b.sizes {
		var first, hand, stops, second []float64
		for i := range max(1, b.samples/2) {
			one, by, stop, err := b.frozenOnce(ctx, size)
			if err != nil {
				return err
			}
			two, err := b.deafOnce(ctx, size)
			if err != nil {
				return err
			}
			b.say("stuck: %d members, sample %d: round 1 %s, by hand %s, of it %s until all had stopped, round 2 %s", size, i+1, one, by, stop, two)
			first, second = append(first, one.Seconds()), append(second, two.Seconds())
			hand, stops = append(hand, by.Seconds()), append(stops, stop.Seconds())
		}
		of := fmt.Sprintf("%d members, ", size)
		one := b.add("stuck", of+"a majority frozen: round 1, from the end of the waiting time to a leader", "s", first)
		if size == 3 {
			one.atMost(15)
		}
		two := b.add("stuck", of+"deaf to each other: round 2, from its being proposed to a leader, 5 s of pause included", "s", second)
		if size == 3 {
			two.atMost(12)
		}
		b.add("stuck", of+"a majority frozen: all stopped by hand at once, 5 s, all started, to a leader", "s", hand)
		b.add("stuck", of+"of that, until all had stopped (a thawed leader offers its place for 7 s to those that stop, too)", "s", stops)
	}
	return nil
}

// stuckFleet has settled, and its agents wait no longer than they may.
func (b *bench) stuckFleet(ctx context.Context, size int, links hosts.Links) (*hosts.Fleet, error) {
	return b.launchAs(ctx, size, func(c *hosts.Config) {
		c.AgentEnv = append(c.AgentEnv, "QUORUMD_FORCE_ELECTION_AFTER="+stuckAfter.String())
		c.Links = links
	})
}

// frozenOnce gives what agents took beyond the waiting time, and what a person takes, stop
// of it until all had stopped.
func (b *bench) frozenOnce(ctx context.Context, size int) (agents, byHand, stop time.Duration, err error) {
	f, err := b.stuckFleet(ctx, size, hosts.Links{})
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	term, err := freezeMajority(ctx, f)
	if err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	if err := awaitLeader(ctx, f, term); err != nil {
		return 0, 0, 0, err
	}
	agents = time.Since(began) - stuckAfter
	if err := settle(ctx, f); err != nil {
		return 0, 0, 0, err
	}
	for _, h := range f.Hosts() {
		if err := h.Machine().StopUnit(ctx, hosts.AgentUnit); err != nil {
			return 0, 0, 0, err
		}
	}
	if term, err = freezeMajority(ctx, f); err != nil {
		return 0, 0, 0, err
	}
	began = time.Now()
	if stop, err = restartByHand(ctx, f); err != nil {
		return 0, 0, 0, err
	}
	if err := awaitLeader(ctx, f, term); err != nil {
		return 0, 0, 0, err
	}
	return agents, time.Since(began), stop, nil
}

// freezeMajority freezes the leader's etcd and as many others as it takes. It gives the
// term of that leader.
func freezeMajority(ctx context.Context, f *hosts.Fleet) (term uint64, err error) {
	leader, err := f.Leader(ctx)
	if err != nil {
		return 0, err
	}
	if term, err = termOf(ctx, f, leader); err != nil {
		return 0, err
	}
	ids := []string{leader}
	for _, inst := range f.Instances() {
		if inst.ID != leader {
			ids = append(ids, inst.ID)
		}
	}
	for _, id := range ids[:policy.Quorum(len(ids))] {
		if err := f.Host(id).Machine().KillUnit(hosts.EtcdUnit, syscall.SIGSTOP); err != nil {
			return 0, err
		}
	}
	return term, nil
}

// restartByHand is what a runbook says, done everywhere at once. It gives the time until
// all had stopped.
func restartByHand(ctx context.Context, f *hosts.Fleet) (stop time.Duration, err error) {
	began := time.Now()
	all := f.Hosts()
	errs := make([]error, len(all))
	var stops sync.WaitGroup
	for i, h := range all {
		stops.Go(func() { errs[i] = h.Machine().StopUnit(ctx, hosts.EtcdUnit) })
	}
	stops.Wait()
	stop = time.Since(began)
	if err := errors.Join(append(errs, leaveAlone(ctx, byHandPause))...); err != nil {
		return 0, err
	}
	for _, h := range all {
		if err := h.Machine().StartUnit(hosts.EtcdUnit); err != nil {
			return 0, err
		}
	}
	return stop, nil
}

// deafOnce cuts the members from each other, until all were stopped for round 2, and
// gives the time from its being proposed to a leader.
func (b *bench) deafOnce(ctx context.Context, size int) (took time.Duration, err error) {
	f, err := b.stuckFleet(ctx, size, hosts.Links{Delay: time.Millisecond})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	leader, err := f.Leader(ctx)
	if err != nil {
		return 0, err
	}
	term, err := termOf(ctx, f, leader)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Minute, errors.New("no second round within 5 minutes"))
	defer cancel()
	// All turns over, an agent proposes the second round.
	proposed := func(l hosts.Line) bool {
		return l.Msg == hosts.Decided && l.Reason == string(policy.ProposePlan) && strings.Contains(l.Detail, "round 2")
	}
	began := make(chan time.Time, 1)
	defer f.Follow(func(l hosts.Line) {
		if proposed(l) {
			select {
			case began <- time.Now():
			default: // there was one before
			}
		}
	})()
	f.CutLinks(true)
	var from time.Time
	select {
	case from = <-began:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	for running := true; running; {
		running = false
		for _, h := range f.Hosts() {
			running = running || h.Machine().UnitPID(hosts.EtcdUnit) != 0
		}
		if err := leaveAlone(ctx, 5*time.Millisecond); err != nil {
			return 0, context.Cause(ctx)
		}
	}
	f.CutLinks(false)
	if err := awaitLeader(ctx, f, term); err != nil {
		return 0, err
	}
	return time.Since(from), nil
}

// termOf is the raft term of an instance's member.
func termOf(ctx context.Context, f *hosts.Fleet, id string) (uint64, error) {
	inst, _ := f.Cloud.Instance(id)
	term, _, err := leads(ctx, f, inst)
	return term, err
}

// leads asks one member, briefly, for its term, and whether it leads and says no error.
func leads(ctx context.Context, f *hosts.Fleet, inst fakeaws.Instance) (term uint64, yes bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	url := f.ClientURL(inst)
	client, err := f.Client(url)
	if err != nil {
		return 0, false, err
	}
	defer client.Close()
	s, err := client.Status(ctx, url)
	if err != nil {
		return 0, false, err
	}
	return s.RaftTerm, s.Leader == s.Header.MemberId && len(s.Errors) == 0, nil
}

// awaitLeader waits until a member leads in a later term. All are asked at the same
// time: those that are frozen must not hold up who asks.
func awaitLeader(ctx context.Context, f *hosts.Fleet, after uint64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*time.Minute, errors.New("no leader within 3 minutes"))
	defer cancel()
	found := make(chan struct{}, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	ask, done := context.WithCancel(ctx)
	defer done()
	for _, inst := range f.Instances() {
		asking.Go(func() {
			for ask.Err() == nil {
				if term, yes, err := leads(ask, f, inst); err == nil && yes && term > after {
					select {
					case found <- struct{}{}:
					default: // somebody else has seen one, too
					}
					return
				}
				_ = leaveAlone(ask, 30*time.Millisecond)
			}
		})
	}
	select {
	case <-found:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
