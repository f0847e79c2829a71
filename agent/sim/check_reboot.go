package sim

import (
	"slices"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// The invariants of reboots.
const (
	// RebootUnderLock: a machine is rebooted by its agent or its FleetLock client only
	// while its hold is acting, in this boot, from the order until it is down.
	RebootUnderLock Invariant = "RebootUnderLock"
	// RebootKeepsQuorum: and only while the others are a healthy majority.
	RebootKeepsQuorum Invariant = "RebootKeepsQuorum"
	// RebootWhenWhole: nor while a member joins or leaves, or fewer vote than are wanted.
	RebootWhenWhole Invariant = "RebootWhenWhole"
	// RebootNotLeading: and only a member that does not lead.
	RebootNotLeading Invariant = "RebootNotLeading"
	// OneRebooted: and never while another is not back from its own reboot.
	OneRebooted Invariant = "OneRebooted"
	// HoldKept: the hold of a reboot ends only with another boot id and a healthy
	// member, when the reboot certainly does not come, by an operator, or for an
	// instance or a member that is gone.
	HoldKept Invariant = "HoldKept"
)

// GoesDown: a machine was told to reboot (In), and then goes down for it, in an
// orderly way: not by a fault.
type GoesDown struct {
	Instance policy.InstanceID
	Boot     string
	In       bool
}

// Granted: a FleetLock client was told that it may reboot its machine.
type Granted struct {
	Instance policy.InstanceID
	Boot     string
}

// Booted: a machine is up with a new boot id.
type Booted struct {
	Instance policy.InstanceID
	Boot     string
}

func (GoesDown) event() {}
func (Granted) event()  {}
func (Booted) event()   {}

// rebootSeen is what the checker knows of an instance's reboots.
type rebootSeen struct {
	boot  string
	going bool // in this boot: told to reboot, or granted, and not down
	// away: it went down in order, and its member is not up again.
	away bool
	// freed: an operator ended its hold, and with it what the hold promised.
	freed string // in this boot
}

// goesDown checks an orderly reboot.
func (c *Checker) goesDown(at time.Duration, e GoesDown) {
	r := &c.instance(e.Instance).reboot
	r.going = e.In
	var in *clusterSeen
	for _, s := range c.clusters {
		for _, m := range s.Members {
			if m.Instance == e.Instance && !c.forgotten[s.ID] {
				in = s
			}
		}
	}
	if in == nil {
		// Told to go meanwhile, and out: nothing rests on it any more.
		r.away = false
		return
	}
	if !e.In {
		defer func() { r.away = true }()
	}
	if r.freed == e.Boot {
		return
	}
	held := false
	for _, h := range in.Holders {
		held = held || h.Instance == e.Instance && h.Phase == policy.Acting && h.Boot == e.Boot
	}
	if !held {
		c.fail(at, RebootUnderLock, "%s reboots (%s) without an acting hold: %+v", e.Instance, e.Boot, in.Holders)
	}
	if e.In {
		return
	}
	for _, m := range in.Members {
		o := c.instance(m.Instance)
		if m.Instance != e.Instance && o.reboot.away && !o.Gone && o.reboot.freed == "" {
			c.fail(at, OneRebooted, "%s reboots while %s is not back", e.Instance, m.Instance)
		}
	}
}

// decided checks a reboot's quorum at its decision: what breaks by itself after
// the agent looked is not the agent's doing.
func (c *Checker) decided(at, began time.Duration, id policy.InstanceID) {
	looked := began - c.cfg.ActWithin
	for _, s := range c.clusters {
		total, own := 0, policy.MemberID(0)
		var rest []policy.InstanceID
		for _, m := range s.Members {
			if m.Learner {
				continue
			}
			total++
			if m.Instance == id {
				own = m.ID
				continue
			}
			if down, isDown := s.down[m.ID]; !isDown || down > looked {
				rest = append(rest, m.Instance)
			}
		}
		if own == 0 || c.forgotten[s.ID] {
			continue
		}
		need := min(policy.Quorum(total), total-1)
		if n := c.together(rest, looked); n < need || total <= 2 && !c.cfg.Reboot.SmallClusters {
			c.fail(at, RebootKeepsQuorum, "%s may reboot: %d of the other %d voters are healthy and hear one of them", id, n, total-1)
		}
		c.whole(at, began, id, s, total)
		if total > 1 && s.Leader == own && s.leads <= looked {
			c.fail(at, RebootNotLeading, "%s may reboot, and leads", id)
		}
	}
}

// groupStale is how old what a decision rests on may be of what the group shows.
const groupStale = 30 * time.Second

// groupSeen is what the group shows: how many it wants, and since when who leaves it.
type groupSeen struct {
	desired int
	leaving map[policy.InstanceID]time.Duration
}

func (c *Checker) groupIs(at time.Duration, e GroupIs) {
	leaving := make(map[policy.InstanceID]time.Duration)
	for _, id := range e.Leaving {
		since, was := c.group.leaving[id]
		if !was {
			since = at
		}
		leaving[id] = since
	}
	c.group = groupSeen{e.Desired, leaving}
	for _, s := range c.clusters {
		c.count(at, s)
	}
}

// count notes since when a cluster has fewer voters than the group wants.
func (c *Checker) count(at time.Duration, s *clusterSeen) {
	voters := 0
	for _, m := range s.Members {
		if !m.Learner {
			voters++
		}
	}
	switch few := voters < c.group.desired; {
	case !few:
		s.few = -1
	case s.few < 0:
		s.few = at
	}
}

// whole checks that nobody reboots while a member joins or leaves, or voters are missing.
func (c *Checker) whole(at, began time.Duration, id policy.InstanceID, s *clusterSeen, total int) {
	looked, shown := began-c.cfg.ActWithin, began-groupStale
	for _, m := range s.Members {
		if m.Learner && s.learning[m.ID] <= looked {
			c.fail(at, RebootWhenWhole, "%s may reboot while %s (%s) joins", id, m.ID, m.Instance)
		}
		if since, leaves := c.group.leaving[m.Instance]; leaves && m.Instance != id && since <= shown {
			c.fail(at, RebootWhenWhole, "%s may reboot while %s (%s) leaves", id, m.ID, m.Instance)
		}
	}
	if s.few >= 0 && s.few <= shown {
		c.fail(at, RebootWhenWhole, "%s may reboot with %d voters where %d are wanted", id, total, c.group.desired)
	}
}

// together counts those of the instances that the one hears which hears most, cuts
// after looked left out.
func (c *Checker) together(all []policy.InstanceID, looked time.Duration) int {
	most := 0
	for _, a := range all {
		n := 0
		for _, b := range all {
			if since, cut := c.cuts[[2]policy.InstanceID{a, b}]; !cut || since > looked {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// has reports whether an instance has a member.
func (s *clusterSeen) has(id policy.InstanceID) bool {
	return slices.ContainsFunc(s.Members, func(m MemberIs) bool { return m.Instance == id })
}

// released checks the end of a hold.
func (c *Checker) released(at time.Duration, e Applied, a policy.ReleaseHold) {
	for _, s := range c.clusters {
		for _, h := range s.Holders {
			if h.Revision != a.Revision || h.Phase != policy.Acting || h.Reason != policy.HoldRebooting && h.Reason != policy.HoldFleetLock {
				continue
			}
			i := c.instance(h.Instance)
			switch {
			case e.Reason == policy.ReleaseAsked:
				i.reboot.freed = i.reboot.boot
				continue
			case i.Gone, !s.has(h.Instance):
				continue // nothing rests on it: EC2 has ended it, or its member is out
			case h.Instance != e.Instance:
				c.fail(at, HoldKept, "%s evicted the hold of %s, which is not gone (%s)", e.Instance, h.Instance, e.Reason)
				continue
			case h.Boot == i.reboot.boot && i.reboot.going && h.Reason == policy.HoldRebooting:
				c.fail(at, HoldKept, "%s gave its hold back while its reboot is under way (%s)", e.Instance, e.Reason)
				continue
			}
			for _, m := range s.Members {
				if m.Instance != h.Instance {
					continue
				}
				if down, isDown := s.down[m.ID]; isDown && down <= e.Began-c.cfg.ActWithin && !(h.Boot == i.reboot.boot && h.Reason == policy.HoldRebooting) {
					c.fail(at, HoldKept, "%s gave its hold back, but its member is down (%s)", e.Instance, e.Reason)
				}
			}
		}
	}
}
