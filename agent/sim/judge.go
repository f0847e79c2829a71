package sim

import (
	"fmt"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// judge looks at the world after the long quiet at the end.
func (w *world) judge() {
	if !w.calm {
		return
	}
	limit := 120 + 60*len(w.machines)
	if w.calmAct > limit {
		w.check.fail(w.now, FewActions, "%d actions since the faults stopped", w.calmAct)
		return
	}
	if w.lost() != "" {
		// Nobody can help but people, until the majority is known to be lost and
		// something is left to rebuild from (design.md section 7, not built yet).
		w.tell(Still{Wrong: w.restless()})
		return
	}
	w.tell(Settled{Wrong: w.wrong()})
}

// lost tells why no cluster can come of what is left; empty: one can.
func (w *world) lost() string {
	if len(w.clusters) == 0 {
		return w.lostBeforeStart()
	}
	c := w.current()
	left := 0
	for _, e := range c.members {
		for _, m := range w.alive() {
			holds := m.disk.data.member == e.id && m.disk.data.cluster == c.id
			pr := m.disk.record.Promise
			unstarted := e.client == "" && m.disk.record.Instance == m.id && m.disk.data.empty() && pr != nil && memberID(m.peerURL(), pr.Token()) == e.id
			if !e.learner && (holds || unstarted) {
				left++
				break
			}
		}
	}
	if need := policy.Quorum(c.voters()); left < need {
		return fmt.Sprintf("%d of %d voters are left", left, c.voters())
	}
	return ""
}

// lostBeforeStart: the group bears the tag of a cluster that too few of the
// living promised, so that it can never start.
func (w *world) lostBeforeStart() string {
	for _, m := range w.machines {
		pr := m.disk.record.Promise
		if pr == nil || m.disk.record.Instance != m.id || pr.ClusterID().String() != w.group.tag && !pr.Committed {
			continue
		}
		left := 0
		for _, o := range w.alive() {
			if r := o.disk.record; r.Instance == o.id && r.Promise != nil && r.Promise.Hash() == pr.Hash() {
				left++
			}
		}
		if left < policy.Quorum(len(pr.Members)) {
			return "too few are left of those who promised " + pr.String()
		}
	}
	return ""
}

// lastVoter: this machine's member is the only voter of a group that wants instances.
func (w *world) lastVoter(m *machine) bool {
	for _, c := range w.clusters {
		if e := c.find(m.disk.data.member); e != nil && !e.learner && c.voters() == 1 && w.group.desired > 0 {
			return true
		}
	}
	return false
}

// able: the agent had every chance to complete a hook before it expired now.
func (w *world) able(m *machine, opened, timeout time.Duration) bool {
	window := min(timeout, min(w.cfg.Margin, timeout/4)+40*time.Second)
	from := max(opened, w.now-window)
	return m.agent != nil && m.since < from && m.bad < from && w.awsBad < from && !w.awsDown && !w.throttled &&
		!m.noAWS && !m.noIMDS && !m.slow
}

// wrong lists what is not as it should be at rest.
func (w *world) wrong() []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	g := w.group
	if len(g.items) != g.desired {
		bad("%d instances in the group, %d desired", len(g.items), g.desired)
	}
	for _, i := range g.items {
		if i.state == policy.StateTerminatingWait && w.lastVoter(i.m) && !w.plan.launchBefore {
			// "The last voter never leaves while desired > 0: it heartbeats to the
			// absolute limit", and this group makes no other one meanwhile.
			return nil
		}
		if i.state != policy.StateInService {
			bad("%s is %s", i.m.id, i.state)
		}
	}
	if g.desired == 0 {
		return out
	}
	if len(w.clusters) == 0 {
		bad("no cluster was formed")
		return out
	}
	c := w.current()
	if g.tag != c.id.String() {
		bad("the tag is %q, the cluster %s", g.tag, c.id)
	}
	if len(c.members) != g.desired {
		bad("%d members, %d desired", len(c.members), g.desired)
	}
	for _, m := range c.members {
		if h := c.host(m.id); h == nil || !c.serves(h) {
			bad("member %s (%s) does not serve", m.id, m.name)
		}
	}
	for _, h := range c.lock.holders {
		bad("%s holds the lock (%s, %s)", h.Instance, h.Reason, h.Phase)
	}
	out = append(out, w.unrebooted()...)
	for _, p := range c.lock.queue {
		if m := w.machine(p.instance); !p.duty.Leaves() && m != nil && m.sys.update && c.voters() <= 2 && !w.cfg.Reboot.SmallClusters {
			continue // its client goes on asking, and keeps its place
		}
		bad("%s is in the queue", p.instance)
	}
	return out
}
