package sim

import (
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// applied checks an action at the instant of its effect, against the truth.
func (c *Checker) applied(at time.Duration, e Applied) {
	switch a := e.Action.(type) {
	case policy.StartEtcd:
		if e.Restarts {
			c.fail(at, StartedOnce, "%s starts etcd (%s) in the middle of a restart", e.Instance, e.Reason)
		}
	case policy.RestartEtcd:
		c.restarted(at, e, a.Plan)
	case policy.StopEtcd:
		if e.Reason == policy.StopStuck {
			c.restarted(at, e, "")
		}
	case policy.RemoveMember:
		c.removed(at, e, a)
	case policy.AddLearner:
		c.added(at, e)
	case policy.Promote:
		c.promoted(at, a)
	case policy.CompleteHook:
		c.completed(at, e, a)
	case policy.Reboot:
		c.decided(at, e.Began, e.Instance)
	case policy.TakeSlot:
		if a.Take.Reason == policy.HoldFleetLock && a.Take.Phase == policy.Acting && a.Answers != "" {
			c.decided(at, e.Began, e.Instance)
		}
	case policy.MarkActing:
		if a.Answers != "" {
			c.decided(at, e.Began, e.Instance)
		}
	case policy.ReleaseHold:
		c.released(at, e, a)
	case policy.ArchiveData:
		for _, s := range c.clusters {
			if s.ID != e.DataCluster {
				continue
			}
			for _, m := range s.Members {
				if m.ID == e.Data && m.Instance == e.Instance {
					c.fail(at, ArchivedRightly, "%s moved aside the data of its member %s (%s)", e.Instance, e.Data, e.Reason)
				}
			}
		}
	}
}

// clusterOf finds the cluster that has a member.
func (c *Checker) clusterOf(id policy.MemberID) (*clusterSeen, MemberIs, bool) {
	for _, s := range c.clusters {
		for _, m := range s.Members {
			if m.ID == id {
				return s, m, true
			}
		}
	}
	return nil, MemberIs{}, false
}

// noticeLag is how late a withdrawn notice may be seen.
const noticeLag = 4 * time.Second

func (c *Checker) removed(at time.Duration, e Applied, a policy.RemoveMember) {
	s, m, ok := c.clusterOf(a.Member)
	if !ok || m.Learner {
		return // gone already, or no voter: nothing is at stake
	}
	owner := c.instance(m.Instance)
	if c.lost && !owner.Gone {
		c.fail(at, SitsStill, "%s removed %s of %s after the majority was lost (%s)", e.Instance, a.Member, m.Instance, e.Reason)
	}
	own := m.Instance == e.Instance
	// A notice may be withdrawn while the call is under way, and metadata shows it
	// some seconds late.
	told := owner.Told || owner.untold > 0 && owner.untold > e.Began-noticeLag
	// What was a learner at the oldest fact that the decision could rest on may be
	// removed: design.md section 1, guards; it can only become a voter meanwhile.
	wasLearner := s.promoted[a.Member] > e.Began-c.cfg.ActWithin
	if !told && !owner.Gone && !(own && e.Wiped) && !wasLearner {
		c.fail(at, RemovedRightly, "%s removed %s of %s, which is neither leaving nor gone (%s)", e.Instance, a.Member, m.Instance, e.Reason)
	}
	// What broke by itself after the agent looked is not the agent's doing: a
	// voter counts as healthy when it was so at the oldest fact that the decision
	// could rest on.
	looked := e.Began - c.cfg.ActWithin
	total, rest := 0, 0
	for _, o := range s.Members {
		if o.Learner {
			continue
		}
		total++
		if down, isDown := s.down[o.ID]; o.ID != a.Member && (!isDown || down > looked) {
			rest++
		}
	}
	// So it is with a voter that another agent removed after this one looked, where one
	// of the two goes without the lock for want of time: design.md section 4, the
	// deadline. etcd's own check is all that stands between them, and it counts a
	// process that hangs.
	for _, gone := range s.removed {
		if gone.at > looked && (gone.reason == policy.DeadlineRemoveSelf || e.Reason == policy.DeadlineRemoveSelf) {
			total, rest = total+1, rest+1
		}
	}
	if _, down := s.down[a.Member]; !down {
		s.removed = append(s.removed, removedSeen{at, e.Reason})
	}
	if rest < policy.Quorum(total-1) || total == 1 {
		c.fail(at, QuorumKept, "%s removed %s (%s): %d of the other %d voters are healthy", e.Instance, a.Member, e.Reason, rest, total-1)
	}
	// design.md section 4: a voter that does not serve is removed without the
	// lock; the deadline rule skips it; with NOSPACE, as it was when the agent looked,
	// it cannot be written.
	// Design.md section 1, guards: a removal and a promotion cannot be compared, and
	// a learner that is removed may have become a voter just before.
	if _, down := s.down[a.Member]; down || s.up[a.Member] > looked || e.Reason == policy.DeadlineRemoveSelf || s.NoSpace || s.emptied > looked || own && e.Wiped || s.promoted[a.Member] > looked {
		return
	}
	for _, h := range s.Holders {
		if h.Instance == m.Instance && h.Phase == policy.Acting {
			return
		}
	}
	c.fail(at, OneDisrupted, "%s removed the healthy voter %s (%s) without an acting hold", e.Instance, a.Member, e.Reason)
}

// versionLag is how old an agent's word of the cluster's version may be, and how late an
// addition that was given up may land.
const versionLag = time.Minute

func (c *Checker) added(at time.Duration, e Applied) {
	s := c.clusters[c.first]
	if s == nil || e.Secret || s.Version == (policy.Version{}) {
		return
	}
	why := policy.Misfit(e.Etcd, s.Version)
	if why == policy.VersionBehind && at-s.rose < versionLag && policy.Misfit(e.Etcd, s.lower) == "" {
		return // the cluster went on meanwhile
	}
	if why != "" {
		c.fail(at, VersionsFit, "%s adds itself with etcd %s to cluster %s of %s (%s)", e.Instance, e.Etcd, s.ID, s.Version, why)
	}
}

func (c *Checker) promoted(at time.Duration, a policy.Promote) {
	s, m, ok := c.clusterOf(a.Member)
	if !ok || !m.Learner {
		return
	}
	// A little more than the gap: entries go on coming while the call is made.
	if policy.Misfit(m.Version, s.Version) == policy.VersionAhead && s.Version != (policy.Version{}) {
		c.fail(at, VersionsFit, "%s of etcd %s is promoted in cluster %s of %s", a.Member, m.Version, s.ID, s.Version)
	}
	if m.Behind > 4*c.cfg.PromoteGap {
		c.fail(at, PromotedCaughtUp, "%s lacks %d entries of cluster %s", a.Member, m.Behind, s.ID)
	}
}

func (c *Checker) completed(at time.Duration, e Applied, a policy.CompleteHook) {
	if e.Reason == policy.CompleteLaunch {
		c.launched(at, e)
		return
	}
	if a.Result != policy.Continue {
		return
	}
	switch e.Reason {
	case policy.GroupEnds, policy.DeadlineComplete:
		return // design.md section 4: "then all let go at once"; the deadline rule
	case policy.NothingToLeave:
		if e.Wiped {
			return // its disk is gone, and with it all that it knew of itself
		}
	}
	for _, s := range c.clusters {
		for _, h := range s.Holders {
			// A hold that an attempt given up long ago took only now is the steward's to
			// evict.
			if h.Instance == e.Instance && h.Reason == policy.HoldLeaving && s.held[h.Revision] < e.Began-c.cfg.ActWithin {
				c.fail(at, HookUnderLock, "%s completes its hook (%s) with its own hold (%s) standing", e.Instance, e.Reason, h.Phase)
			}
		}
		for _, m := range s.Members {
			// A voter without its data serves no more, whether it is in the list or not.
			if m.Instance == e.Instance && !m.Learner && !e.Wiped {
				c.fail(at, HookUnderLock, "%s completes its hook (%s) while member %s still votes", e.Instance, e.Reason, m.ID)
			}
		}
	}
}

func (c *Checker) launched(at time.Duration, e Applied) {
	looked, votes := e.Began-c.cfg.ActWithin, false
	for _, s := range c.clusters {
		for _, m := range s.Members {
			if m.Instance != e.Instance || m.Learner {
				continue
			}
			votes = true
			if down, isDown := s.down[m.ID]; !isDown || down > looked {
				return
			}
		}
	}
	if i := c.instance(e.Instance); !votes && i.Told && i.toldAt > e.Began {
		return // decided before it was told to go, and landed late: it is out already
	}
	c.fail(at, LaunchHealthy, "%s counts as in service, but has no healthy voter", e.Instance)
}
