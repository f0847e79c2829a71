package sim

import (
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// The invariants of elections.
const (
	// NeverWhileLed: etcd is never restarted for an election while a majority has a
	// leader and commits.
	NeverWhileLed Invariant = "NeverWhileLed"
	// MajorityWord: nor unless a majority of the voters' agents publish the same plan.
	MajorityWord Invariant = "MajorityWord"
	// StartedAgain: what was stopped for an election is started again, whatever crashes.
	StartedAgain Invariant = "StartedAgain"
	// StartedOnce: etcd is not started in the middle of systemd's restarting it.
	StartedOnce Invariant = "StartedOnce"
	// AttemptsBounded: attempts without a leader in between are bounded.
	AttemptsBounded Invariant = "AttemptsBounded"
)

// planLag is how old the words may be that a restart rests on: two polls and the time in
// which the action takes effect.
const planLag = 12 * time.Second

// electionSeen is what a Checker knows of elections.
type electionSeen struct {
	led     map[policy.ClusterID]time.Duration // since when it has a leader
	plans   map[policy.InstanceID][]planSeen
	counted map[policy.MemberID]int // restarts and stops since the last long time with a leader
}

// planSeen is a plan that an instance published from an instant on.
type planSeen struct {
	id string
	at time.Duration
}

func (c *Checker) leaderIs(at time.Duration, e ClusterIs) {
	s := &c.election
	if s.led == nil {
		s.led = make(map[policy.ClusterID]time.Duration)
	}
	since, led := s.led[e.ID]
	switch {
	case e.Leader == 0 && led:
		// Attempts are counted anew after a long time with a leader.
		if at-since >= c.cfg.Force.Cooldown {
			s.counted = nil
		}
		delete(s.led, e.ID)
	case e.Leader != 0 && !led:
		s.led[e.ID] = at
	}
}

func (c *Checker) planIs(at time.Duration, e PlanIs) {
	if c.election.plans == nil {
		c.election.plans = make(map[policy.InstanceID][]planSeen)
	}
	c.election.plans[e.Instance] = append(c.election.plans[e.Instance], planSeen{e.Plan, at})
}

// publishes reports whether an instance published a plan at some time since from.
func (s *electionSeen) publishes(id policy.InstanceID, plan string, from time.Duration) bool {
	all := s.plans[id]
	for i, p := range all {
		if p.id == plan && (i == len(all)-1 || all[i+1].at >= from) {
			return true
		}
	}
	return false
}

// restarted checks a restart, or a stop, for an election at the instant of its effect.
func (c *Checker) restarted(at time.Duration, e Applied, plan string) {
	s := &c.election
	cl, ok := c.clusters[e.DataCluster]
	if !ok {
		return
	}
	if plan == "frozen" {
		c.restartedAlone(at, e, cl)
		return
	}
	if since, led := s.led[e.DataCluster]; led && since < e.Began-planLag {
		c.fail(at, NeverWhileLed, "%s: %s (%s) while cluster %s has had a leader since %s", e.Instance, e.Action.Kind(), e.Reason, e.DataCluster, since)
	}
	if plan == "" {
		if all := s.plans[e.Instance]; len(all) > 0 {
			plan = all[len(all)-1].id
		}
	}
	voters, with := 0, 0
	for _, m := range cl.Members {
		if m.Learner {
			continue
		}
		voters++
		if plan != "" && s.publishes(m.Instance, plan, e.Began-planLag) {
			with++
		}
	}
	// Agents may not have seen the last change of the members yet. Majorities of two lists
	// that differ by one voter have a voter in common, as raft's own do: those left over are
	// no majority either.
	if with < policy.Quorum(voters-1) {
		c.fail(at, MajorityWord, "%s: %s (%s): %d of %d voters take part in plan %q", e.Instance, e.Action.Kind(), e.Reason, with, voters, plan)
	}
	if s.counted == nil {
		s.counted = make(map[policy.MemberID]int)
	}
	s.counted[e.Data]++
	// One restart and one stop an attempt, and operators have as many attempts again.
	if most := 4 * c.cfg.Force.MaxAttempts; s.counted[e.Data] > most {
		c.fail(at, AttemptsBounded, "%s restarted member %s %d times for elections", e.Instance, e.Data, s.counted[e.Data])
	}
}

// restartedAlone checks the restart of one member beside a leader: it must be one that
// does not serve, and its agent must hold the lock.
func (c *Checker) restartedAlone(at time.Duration, e Applied, cl *clusterSeen) {
	looked := e.Began - planLag
	if _, down := cl.down[e.Data]; !down && cl.up[e.Data] < looked {
		c.fail(at, NeverWhileLed, "%s restarted its member %s, which serves", e.Instance, e.Data)
	}
	for _, h := range cl.Holders {
		if h.Instance == e.Instance && h.Phase == policy.Acting {
			return
		}
	}
	c.fail(at, OneDisrupted, "%s restarted its member %s without an acting hold", e.Instance, e.Data)
}
