package etcd

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/test/etcdproc"
)

// The ids that a promise computes are those that etcd gives.
func TestPromiseComputesIDs(t *testing.T) {
	t.Parallel()
	cl := etcdproc.New(t, etcdproc.Options{})
	p := policy.Promise{GroupARN: "arn:aws:autoscaling:x:1:autoScalingGroup:y"}
	for _, n := range abc {
		m := cl.Add(n)
		p.Members = append(p.Members, policy.PromisedMember{Instance: policy.InstanceID(n), PeerURL: m.PeerURL})
	}
	cl.SetToken(p.Token())
	cl.StartAll()
	c := clientOf(t, cl.Member("i-b"), cl.ClientURLs())
	got, err := c.Members(soon(t))
	must(t, err)
	want := policy.MemberList{Cluster: p.ClusterID(), Via: got.Via, Joins: map[string]policy.InstanceID{}}
	for _, m := range cl.Members() {
		want.Members = append(want.Members, policy.Member{
			ID: p.MemberID(policy.InstanceID(m.Name)), Name: m.Name,
			PeerURLs: []string{m.PeerURL}, ClientURLs: []string{m.ClientURL},
		})
	}
	sortMembers(want.Members)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("members (-want +got):\n%s", d)
	}
	if _, ok := got.Find(got.Via); !ok || got.Via == p.MemberID("i-b") {
		t.Errorf("via %s, want another member than our own", got.Via)
	}
}

// Every call works, and none is slow, while the local member is paused, and
// when it is gone, and when a paused member is first to be asked.
func TestMembersAway(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	c := clientsOf(t, cl)["i-a"]
	ctx := soon(t)
	lead(t, c, cl.Member("i-c"))
	all := func(when string) {
		t.Helper()
		within(t, 3*time.Second, when, func() {
			_, err := c.Members(ctx)
			must(t, err)
			l, err := c.Lock(ctx)
			must(t, err)
			must(t, c.TakeSlot(ctx, granted(policy.HoldLeaving, 1, clusterID(t, c))))
			l, err = c.Lock(ctx)
			must(t, err)
			must(t, c.MarkActing(ctx, l.Holders[0].Revision))
			l, err = c.Lock(ctx)
			must(t, err)
			must(t, c.ReleaseHold(ctx, 0, l.Holders[0].Revision))
		})
	}
	all("all members there")

	cl.Member("i-a").Pause()
	all("own member paused")
	if h, err := c.Probe(ctx, cl.Member("i-a").ClientURL); Classify(err) != NoAnswer {
		t.Errorf("probe of a paused member: %+v, %v: want no answer", h, err)
	}
	cl.Member("i-a").Resume()
	eventually(t, "own member is back", func() bool {
		h, err := c.Probe(ctx, cl.Member("i-a").ClientURL)
		return err == nil && h.Serves
	})

	// A member that hangs costs a read only the moment until the next is asked,
	// though it answered last.
	c.setLast(cl.Member("i-b").ClientURL)
	cl.Member("i-b").Pause()
	within(t, 1500*time.Millisecond, "a read while the member asked first hangs", func() {
		_, err := c.Members(ctx)
		must(t, err)
	})
	all("last answering member paused")
	cl.Member("i-b").Resume()

	cl.Member("i-a").Kill()
	all("own member killed")
	// At once, but for a connection that was being made in the moment of death.
	within(t, 3*time.Second, "noticing a killed member", func() {
		eventually(t, "a killed member is no answer", func() bool {
			_, err := c.Probe(ctx, cl.Member("i-a").ClientURL)
			return Classify(err) == NoAnswer
		})
	})
	h, err := c.Probe(ctx, cl.Member("i-c").ClientURL)
	if err != nil || !h.Serves || h.Leader == 0 {
		t.Errorf("probe of a healthy member: %+v, %v", h, err)
	}

	// Without quorum a member answers and does not serve.
	cl.Member("i-b").Kill()
	eventually(t, "the last member has no leader", func() bool {
		h, err := c.Probe(ctx, cl.Member("i-c").ClientURL)
		return err == nil && !h.Serves && h.Leader == 0 && h.Member != 0
	})
	if _, err := c.Members(ctx); Classify(err) != NoAnswer {
		t.Errorf("members without quorum: %v: want no answer", err)
	}
}

func (c *Client) setLast(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = url
}

func clusterID(t *testing.T, c *Client) policy.ClusterID {
	t.Helper()
	l, err := c.Members(soon(t))
	must(t, err)
	return l.Cluster
}

// A learner is added, found again when the answer was lost, started, watched by
// its gap, promoted; then members are removed, by themselves and by others.
func TestLearnerAndRemoval(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	joiner := cl.Add("i-d")
	c := clientOf(t, joiner, cl.ClientURLs())
	ctx := soon(t)

	// etcd refuses for the first seconds: not all members are connected for long.
	var id policy.MemberID
	eventually(t, "the learner is added", func() (ok bool) {
		var err error
		id, err = c.AddLearner(ctx, "i-d", joiner.PeerURL)
		return err == nil
	})
	again, err := c.AddLearner(ctx, "i-d", joiner.PeerURL)
	if err != nil || again != id {
		t.Errorf("added again: %s, %v; want %s", again, err, id)
	}
	if _, err := c.AddLearner(ctx, "i-other", joiner.PeerURL); Classify(err) != Refused {
		t.Errorf("another instance at the same address: %v, want refused", err)
	}
	l, err := c.Members(ctx)
	must(t, err)
	if m, ok := l.Find(id); !ok || !m.Learner || m.Name != "" || l.Instance(m) != "i-d" {
		t.Errorf("unstarted learner: %+v, of instance %q", m, l.Instance(m))
	}
	if err := c.Promote(ctx, id); Classify(err) != Refused {
		t.Errorf("promote an unstarted learner: %v, want refused", err)
	}

	joiner.StartExisting(cl.Members()...)
	joiner.WaitServing()
	eventually(t, "the learner has caught up", func() bool {
		h, err := c.Probe(ctx, joiner.ClientURL)
		leader, lerr := c.Probe(ctx, cl.Member("i-a").ClientURL)
		return err == nil && lerr == nil && h.Learner && !h.Serves && h.Member == id &&
			h.Cluster == l.Cluster && h.Applied > 0 && leader.Committed-h.Committed < 10
	})
	eventually(t, "the learner is promoted", func() bool { return c.Promote(ctx, id) == nil })
	must(t, c.Promote(ctx, id)) // answer lost, repeated
	l, err = c.Members(ctx)
	must(t, err)
	if len(l.Voters()) != 4 {
		t.Errorf("voters %v, want four", l.Voters())
	}

	// What was decided about a learner is not done to a voter.
	if err := c.Remove(ctx, id, "i-d", true); !errors.Is(err, ErrVotes) || Classify(err) != Refused {
		t.Errorf("removal of a learner that votes: %v", err)
	}

	// Oneself, asked of others although one's own member is named first.
	must(t, c.Remove(ctx, id, "i-d", false))
	must(t, c.Remove(ctx, id, "i-d", false)) // "member not found" is done
	l, err = c.Members(ctx)
	must(t, err)
	if _, ok := l.Find(id); ok || len(l.Joins) != 0 {
		t.Errorf("after removal: member there %v, join keys %v", ok, l.Joins)
	}
	must(t, joiner.WaitExit(ctx))

	// A key that its instance wrote anew meanwhile is spared.
	key := c.joinKey("i-d")
	must(t, c.announce(ctx, "", "i-d", joiner.PeerURL, 0))
	r, _, err := read(ctx, c, c.readRoster)
	must(t, err)
	must(t, c.announce(ctx, "", "i-d", joiner.PeerURL, r.joins["i-d"].mod))
	must(t, c.withdraw(ctx, "i-d", r.joins["i-d"]))
	if l, err := c.Members(ctx); err != nil || l.Joins[joiner.PeerURL] != "i-d" {
		t.Errorf("%s: deleted although written anew: %v, %v", key, l.Joins, err)
	}

	// Only the removed member itself is known: nobody to ask.
	a := idOf(t, c, cl.Member("i-a"))
	c.SetEndpoints([]string{cl.Member("i-a").ClientURL})
	if err := c.Remove(ctx, a, "i-a", false); Classify(err) != NoAnswer {
		t.Errorf("removal through the removed member: %v", err)
	}
	c.SetEndpoints(cl.ClientURLs())

	// A dead one, by another's agent; its own endpoint hangs.
	c.SetEndpoints(cl.ClientURLs()[:3])
	lead(t, c, cl.Member("i-c"))
	cl.Member("i-a").Pause()
	eventually(t, "the dead member is removed", func() bool { return c.Remove(ctx, a, "i-a", false) == nil })
	l, err = c.Members(ctx)
	must(t, err)
	if len(l.Members) != 2 {
		t.Errorf("members %v, want two", l.Members)
	}
	cl.Member("i-a").Resume()
}

func TestMoveLeader(t *testing.T) {
	t.Parallel()
	cl := etcdproc.Start(t, abc, etcdproc.Options{})
	clients := clientsOf(t, cl)
	ctx := soon(t)
	for _, n := range []string{"i-b", "i-c", "i-a", "i-a"} {
		to := idOf(t, clients[n], cl.Member(n))
		must(t, clients["i-a"].MoveLeader(ctx, to))
		eventually(t, n+" leads", func() bool {
			h, err := clients["i-c"].Probe(ctx, cl.Member(n).ClientURL)
			return err == nil && h.Leader == to
		})
	}
	if err := clients["i-a"].MoveLeader(ctx, 4711); Classify(err) != Refused {
		t.Errorf("move to nobody: %v, want refused", err)
	}
}
