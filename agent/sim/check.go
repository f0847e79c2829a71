package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// Invariant is the name of something that must never happen.
type Invariant string

// The invariants of the world.
const (
	// QuorumKept: an action of ours never leaves fewer healthy voters than the
	// quorum of the new size.
	QuorumKept Invariant = "QuorumKept"
	// OneLearner: at most one learner.
	OneLearner Invariant = "OneLearner"
	// OneCluster: never two clusters, nor another one than the first, unless an
	// operator asked for it when nothing was left of the first.
	OneCluster Invariant = "OneCluster"
	// RemovedRightly: only members that are leaving, proven terminated, learners,
	// or one's own without data are removed.
	RemovedRightly Invariant = "RemovedRightly"
	// OneDisrupted: a healthy voter goes only with an acting hold on the lock.
	OneDisrupted Invariant = "OneDisrupted"
	// HookInTime: a terminate notice ends in a completed hook.
	HookInTime Invariant = "HookInTime"
	// LaunchHealthy: a launch is completed only for a healthy voter.
	LaunchHealthy Invariant = "LaunchHealthy"
	// PromotedCaughtUp: a learner is promoted only when it has caught up.
	PromotedCaughtUp Invariant = "PromotedCaughtUp"
	// WriteKept: no acknowledged write is lost.
	WriteKept Invariant = "WriteKept"
	// HookUnderLock: a member's hook is not completed while the lock is unknown,
	// nor while its own hold stands.
	HookUnderLock Invariant = "HookUnderLock"
	// ArchivedRightly: a member's data is never moved aside while it is a member.
	ArchivedRightly Invariant = "ArchivedRightly"
	// OneProcess: a member never runs on two machines.
	OneProcess Invariant = "OneProcess"
	// OneAction: an agent does one thing at a time.
	OneAction Invariant = "OneAction"
	// VersionsFit: no member of a version that does not fit the cluster is added, nor, where
	// nobody could tell before, promoted.
	VersionsFit Invariant = "VersionsFit"
	// SitsStill: where the majority is lost for good nobody acts for long, every
	// agent says why it waits, and no voter is removed but on proof.
	SitsStill Invariant = "SitsStill"
	// Converges: once faults stop, everything comes to rest as it should be.
	Converges Invariant = "Converges"
	// FewActions: and without acting for ever.
	FewActions Invariant = "FewActions"
)

// The invariants of Next itself, checked on a sample of passes.
const (
	InputsKept    Invariant = "InputsKept"    // Next changes nothing of what it is given
	RecheckHonest Invariant = "RecheckHonest" // the same facts decide the same until Recheck and Stale
	UnknownTimid  Invariant = "UnknownTimid"  // a fact less never makes a bolder action
)

// Violation is one broken invariant.
type Violation struct {
	Invariant Invariant
	At        time.Duration
	Detail    string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s at %s: %s", v.Invariant, v.At, v.Detail)
}

// Checker holds what it is told against the invariants. It knows the truth of
// the world, not what agents believe.
type Checker struct {
	cfg       policy.Config
	clusters  map[policy.ClusterID]*clusterSeen
	first     policy.ClusterID // the cluster that was started first
	instances map[policy.InstanceID]*instanceSeen
	running   map[policy.MemberID]policy.InstanceID
	forgotten map[policy.ClusterID]bool // what a fresh start left behind
	lost      bool                      // its majority, for good
	broken    []Violation
	election  electionSeen
	group     groupSeen
	cuts      map[[2]policy.InstanceID]time.Duration // since when, both ways round
}

type clusterSeen struct {
	ClusterIs
	// down tells since when a member is not up.
	down map[policy.MemberID]time.Duration
	// up tells when a member that was not up came up.
	up map[policy.MemberID]time.Duration
	// promoted tells when a learner became a voter.
	promoted map[policy.MemberID]time.Duration
	// held tells since when a hold is there, by revision.
	held map[int64]time.Duration
	// removed tells when healthy voters were removed, and by which rule.
	removed []removedSeen
	// leads tells since when its leader leads.
	leads time.Duration
	// learning tells since when a member is a learner; few since when there are fewer voters
	// than the group shows to want, negative: there are not.
	learning map[policy.MemberID]time.Duration
	few      time.Duration
	// emptied tells when the database was last not full any more.
	emptied time.Duration
	// lower is the version before the last rise, which was at rose.
	lower policy.Version
	rose  time.Duration
}

type removedSeen struct {
	at     time.Duration
	reason policy.Reason
}

type instanceSeen struct {
	InstanceIs
	untold time.Duration   // when a notice was withdrawn
	toldAt time.Duration   // when the last one came
	member policy.MemberID // that runs there
	acting policy.Action   // which its agent began and has not ended
	reboot rebootSeen
}

// NewChecker makes a checker for agents with this configuration.
func NewChecker(cfg policy.Config) *Checker {
	return &Checker{
		cfg:       cfg,
		clusters:  make(map[policy.ClusterID]*clusterSeen),
		instances: make(map[policy.InstanceID]*instanceSeen),
		forgotten: make(map[policy.ClusterID]bool),
		running:   make(map[policy.MemberID]policy.InstanceID),
		cuts:      make(map[[2]policy.InstanceID]time.Duration),
	}
}

// Violations are what was broken so far, oldest first.
func (c *Checker) Violations() []Violation { return c.broken }

func (c *Checker) fail(at time.Duration, inv Invariant, format string, args ...any) {
	c.broken = append(c.broken, Violation{inv, at, fmt.Sprintf(format, args...)})
}

// Observe takes one event. Events come in the order of time.
func (c *Checker) Observe(at time.Duration, e Event) {
	switch e := e.(type) {
	case Began:
		c.began(at, e)
	case Ended:
		c.instance(e.Instance).acting = nil
	case Applied:
		c.applied(at, e)
	case ClusterIs:
		c.leaderIs(at, e)
		c.clusterIs(at, e)
	case PlanIs:
		c.planIs(at, e)
	case LeftStopped:
		c.fail(at, StartedAgain, "%s: etcd was stopped for an election and is not started again", e.Instance)
	case InstanceIs:
		i := c.instance(e.ID)
		if i.Told && !e.Told {
			i.untold = at
		}
		if !i.Told && e.Told {
			i.toldAt = at
		}
		i.Told, i.Gone = e.Told, i.Gone || e.Gone
	case GroupIs:
		c.groupIs(at, e)
	case Cut:
		for _, pair := range [][2]policy.InstanceID{{e.A, e.B}, {e.B, e.A}} {
			if c.cuts[pair] = at; !e.On {
				delete(c.cuts, pair)
			}
		}
	case GoesDown:
		c.goesDown(at, e)
	case Granted:
		c.instance(e.Instance).reboot.going = true
	case Booted:
		r := &c.instance(e.Instance).reboot
		r.boot, r.going = e.Boot, false
	case EtcdStarted:
		c.started(at, e)
	case EtcdEnded:
		i := c.instance(e.Instance)
		if c.running[i.member] == e.Instance {
			delete(c.running, i.member)
		}
		i.member = 0
	case HookEnded:
		// A dead machine's hook can only expire, and the last voter waits until the
		// absolute limit: design.md section 4, "The last voter never leaves".
		if e.Transition == policy.Terminating && e.Expired && e.Able && !e.Last && !c.instance(e.Instance).Gone {
			c.fail(at, HookInTime, "%s's terminate hook expired while its agent ran and AWS answered", e.Instance)
		}
	case Elected:
		if e.Index < e.Acked {
			c.fail(at, WriteKept, "%s leads cluster %s at index %d, but %d was acknowledged", e.Member, e.Cluster, e.Index, e.Acked)
		}
	case Fresh:
		c.fresh(at, e)
	case Lost:
		c.lost = true
	case Still:
		if len(e.Wrong) > 0 {
			c.fail(at, SitsStill, "%s", strings.Join(e.Wrong, "; "))
		}
	case Settled:
		if len(e.Wrong) > 0 {
			c.fail(at, Converges, "%s", strings.Join(e.Wrong, "; "))
		}
	}
}

func (c *Checker) instance(id policy.InstanceID) *instanceSeen {
	i, ok := c.instances[id]
	if !ok {
		i = &instanceSeen{InstanceIs: InstanceIs{ID: id}}
		c.instances[id] = i
	}
	return i
}

func (c *Checker) clusterIs(at time.Duration, e ClusterIs) {
	s, ok := c.clusters[e.ID]
	if !ok {
		s = &clusterSeen{down: make(map[policy.MemberID]time.Duration), up: make(map[policy.MemberID]time.Duration), promoted: make(map[policy.MemberID]time.Duration), held: make(map[int64]time.Duration), learning: make(map[policy.MemberID]time.Duration), few: -1}
		c.clusters[e.ID] = s
	}
	learners := 0
	for _, m := range e.Members {
		if _, ok := s.learning[m.ID]; !ok && m.Learner {
			s.learning[m.ID] = at
		}
		if m.Learner {
			learners++
		} else if i := slices.IndexFunc(s.Members, func(o MemberIs) bool { return o.ID == m.ID }); i >= 0 && s.Members[i].Learner {
			s.promoted[m.ID] = at
		}
		if m.Up {
			if r := &c.instance(m.Instance).reboot; r.away {
				r.away, r.freed = false, ""
			}
			if _, was := s.down[m.ID]; was {
				s.up[m.ID] = at
				delete(s.down, m.ID)
			}
		} else if _, ok := s.down[m.ID]; !ok {
			s.down[m.ID] = at
		}
	}
	for _, h := range e.Holders {
		if _, ok := s.held[h.Revision]; !ok {
			s.held[h.Revision] = at
		}
	}
	if learners > 1 {
		c.fail(at, OneLearner, "%d learners", learners)
	}
	if s.NoSpace && !e.NoSpace {
		s.emptied = at
	}
	if s.Leader != e.Leader {
		s.leads = at
	}
	if s.Version != e.Version {
		s.lower, s.rose = s.Version, at
	}
	members := append(s.Members[:0], e.Members...)
	s.ClusterIs = e
	s.Members = members
	c.count(at, s)
}

// fresh: from now on another cluster may start, and the first one may not.
func (c *Checker) fresh(at time.Duration, e Fresh) {
	if len(e.Left) > 0 {
		c.fail(at, OneCluster, "%s grants a fresh start while %v have data", e.Instance, e.Left)
	}
	if c.first != 0 {
		c.forgotten[c.first] = true
		c.first, c.lost = 0, false
	}
}

func (c *Checker) started(at time.Duration, e EtcdStarted) {
	if c.first == 0 {
		c.first = e.Cluster
	}
	if c.forgotten[e.Cluster] && e.New {
		// The same instances with empty disks make the same list, and so the same ids.
		delete(c.forgotten, e.Cluster)
		delete(c.clusters, e.Cluster)
	}
	if c.forgotten[e.Cluster] {
		c.fail(at, OneCluster, "%s started member %s of cluster %s, which a fresh start left behind", e.Instance, e.Member, e.Cluster)
	}
	if e.Cluster != c.first {
		c.fail(at, OneCluster, "%s started member %s of cluster %s beside cluster %s", e.Instance, e.Member, e.Cluster, c.first)
	}
	if other, ok := c.running[e.Member]; ok && other != e.Instance {
		c.fail(at, OneProcess, "member %s runs on %s and on %s", e.Member, other, e.Instance)
	}
	c.running[e.Member] = e.Instance
	c.instance(e.Instance).member = e.Member
}

func (c *Checker) began(at time.Duration, e Began) {
	i := c.instance(e.Instance)
	if i.acting != nil {
		c.fail(at, OneAction, "%s began %s (%s) while %s is under way", e.Instance, e.Action.Kind(), e.Reason, i.acting.Kind())
	}
	i.acting = e.Action
	a, ok := e.Action.(policy.CompleteHook)
	if !ok || a.Result != policy.Continue || !e.Member {
		return
	}
	// Without a lock nobody holds anything: an empty group and a node that is in
	// no cluster need none. At the deadline nobody waits for it.
	switch e.Reason {
	case policy.CompleteLaunch, policy.GroupEnds, policy.NothingToLeave, policy.DeadlineComplete:
		return
	}
	if !e.LockKnown {
		c.fail(at, HookUnderLock, "%s completes %s (%s) without knowing the lock", e.Instance, a.Hook, e.Reason)
	}
}
