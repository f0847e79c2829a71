package agent

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumd/quorumd/agent/policy"
)

// metrics are the agent's own, named quorumd_*. Labels are enums of policy, never
// ids.
type metrics struct {
	decision   *prometheus.GaugeVec
	actions    *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	members    *prometheus.GaugeVec
	healthy    prometheus.Gauge
	quorum     prometheus.Gauge
	leader     prometheus.Gauge
	steward    prometheus.Gauge
	holders    prometheus.Gauge
	slots      prometheus.Gauge
	queue      prometheus.Gauge // nil in a workers' group
	waiting    prometheus.Gauge
	held       prometheus.Gauge
	lifecycle  *prometheus.GaugeVec
	deadline   prometheus.Gauge
	heartbeats *prometheus.CounterVec
	lockWait   prometheus.Histogram
	peers      *prometheus.GaugeVec
	peerPoll   prometheus.Histogram
	warnings   *prometheus.GaugeVec
	lastPass   prometheus.Gauge
	passes     prometheus.Counter
	passTime   prometheus.Histogram
	wanted     prometheus.Gauge
	reboots    *prometheus.CounterVec

	election electionMetrics

	saidDecision map[[3]string]bool
	saidState    string
}

func newMetrics(r prometheus.Registerer, group string) *metrics {
	if group == "" {
		group = policy.MembersGroup
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorumd_" + name, Help: help})
		r.MustRegister(g)
		return g
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "quorumd_" + name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorumd_" + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	lock := func(name, help string) prometheus.Gauge {
		return gauges(name, help, "group").WithLabelValues(group)
	}
	m := &metrics{
		election:   newElectionMetrics(r),
		decision:   gauges("decision_info", "1 for each concern's current action and reason.", "concern", "action", "reason"),
		actions:    counters("actions_total", "Actions that ended, by outcome (ok, failed, unknown).", "action", "reason", "result"),
		members:    gauges("members", "Members of the cluster, by state (voter, learner).", "state"),
		healthy:    gauge("voters_healthy", "Voters through which a linearizable read succeeded a moment ago."),
		quorum:     gauge("quorum_size", "How many voters must agree."),
		leader:     gauge("is_leader", "1 when this node's member leads."),
		steward:    gauge("is_steward", "1 when this agent does the cluster-wide work."),
		holders:    lock("lock_holders", "Holders of the disruption lock."),
		slots:      lock("lock_slots", "Slots of the disruption lock."),
		waiting:    lock("lock_waiting", "1 while this node has a place in the lock's queue: their sum over a group is its length."),
		held:       lock("lock_held_seconds", "How long this node has held the disruption lock; 0 when it does not."),
		lifecycle:  gauges("lifecycle_state", "1 for the target lifecycle state of this instance.", "state"),
		deadline:   gauge("hook_deadline_seconds", "Seconds until the open hook's last acknowledged heartbeat runs out; 0 when none is open."),
		heartbeats: counters("hook_heartbeats_total", "Lifecycle hook heartbeats, by outcome.", "result"),
		wanted:     gauge("reboot_required", "1 while a source or an operator wants this node rebooted."),
		reboots:    counters("reboots_total", "Reboots under the lock: begun, refused by logind, done (back and healthy).", "result"),
		peers:      gauges("peers", "Other agents, by whether they answer.", "state"),
		warnings:   gauges("warning", "1 for each warning that stands.", "name"),
		lastPass:   gauge("last_pass_timestamp_seconds", "When the loop last decided, in Unix time."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "quorumd_action_seconds",
			Help: "How long actions took.", Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 60}}, []string{"action"}),
		lockWait: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorumd_lock_wait_seconds",
			Help: "From wanting the disruption lock to holding it.", Buckets: []float64{.01, .1, 1, 10, 60, 300, 900}}),
		peerPoll: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorumd_peer_poll_seconds",
			Help: "How long another agent took to answer, or not to.", Buckets: []float64{.001, .005, .01, .05, .1, .5, 1}}),
		passes: prometheus.NewCounter(prometheus.CounterOpts{Name: "quorumd_passes_total", Help: "Passes of the loop."}),
		passTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "quorumd_pass_seconds",
			Help: "How long a pass took to decide.", Buckets: []float64{.00001, .00005, .0001, .0005, .001, .01, .1}}),
	}
	if group == policy.MembersGroup { // an agent of a workers' group sees only who is near it
		m.queue = lock("lock_queue_length", "Nodes that wait for the members' disruption lock.")
	}
	r.MustRegister(m.seconds, m.lockWait, m.peerPoll, m.passes, m.passTime)
	return m
}

// pass sets every gauge from one pass.
func (m *metrics) pass(p *Pass, took time.Duration) {
	m.passes.Inc()
	m.passTime.Observe(took.Seconds())
	m.lastPass.Set(float64(p.At.UnixNano()) / 1e9)
	m.decided(p.Decision)
	m.warnings.Reset()
	for _, w := range p.Decision.Warnings {
		m.warnings.WithLabelValues(w.Name).Set(1)
	}
	v := p.View
	m.cluster(v, p.Decision.Steward)
	m.locked(v)
	m.wanted.Set(one(rebootWanted(v)))
	if s := string(v.Lifecycle.Value); s != m.saidState {
		m.lifecycle.Reset()
		m.lifecycle.WithLabelValues(s).Set(1)
		m.saidState = s
	}
	m.deadline.Set(hookDeadline(v))
	answer, silent := 0, 0
	for _, f := range v.Peers {
		if f.Known() {
			answer++
		} else {
			silent++
		}
	}
	m.peers.WithLabelValues("answers").Set(float64(answer))
	m.peers.WithLabelValues("silent").Set(float64(silent))
}

// decided keeps exactly the current decision's series at 1.
func (m *metrics) decided(d policy.Decision) {
	now := make(map[[3]string]bool, len(d.Verdicts))
	for c, ver := range d.Verdicts {
		action := "none"
		if ver.Action != nil {
			action = ver.Action.Kind()
		}
		key := [3]string{string(c), action, string(ver.Reason)}
		now[key] = true
		if !m.saidDecision[key] {
			m.decision.WithLabelValues(key[:]...).Set(1)
		}
	}
	for key := range m.saidDecision {
		if !now[key] {
			m.decision.DeleteLabelValues(key[:]...)
		}
	}
	m.saidDecision = now
}

func (m *metrics) cluster(v policy.View, steward bool) {
	voters, learners, healthy, leads := 0, 0, 0, false
	for _, member := range v.Members.Value.Members {
		if member.Learner {
			learners++
			continue
		}
		voters++
		if h := v.Health[member.ID]; h.Known() && h.Value.Serves {
			healthy++
		}
		leads = leads || (v.Local.Known() && v.Local.Value.Leader == member.ID && v.Local.Value.Member == member.ID)
	}
	m.members.WithLabelValues("voter").Set(float64(voters))
	m.members.WithLabelValues("learner").Set(float64(learners))
	m.healthy.Set(float64(healthy))
	m.quorum.Set(float64(policy.Quorum(voters)))
	m.leader.Set(one(leads))
	m.steward.Set(one(steward))
}

func (m *metrics) locked(v policy.View) {
	l := v.Lock.Value
	m.holders.Set(float64(len(l.Holders)))
	m.slots.Set(float64(max(1, l.Slots)))
	if m.queue != nil {
		m.queue.Set(float64(len(l.Leaving) + len(l.Queue)))
	}
	m.waiting.Set(one(slices.ContainsFunc(slices.Concat(l.Leaving, l.Queue), func(w policy.Waiter) bool { return w.Instance == v.Self.Instance })))
	held := 0.0
	for _, h := range l.Holders {
		if h.Instance == v.Self.Instance {
			held = v.Now.Sub(h.Since).Seconds()
		}
	}
	m.held.Set(held)
}

// hookDeadline is what the newest acknowledged heartbeat leaves, in seconds.
func hookDeadline(v policy.View) float64 {
	left := 0.0
	for _, h := range v.Group.Value.Hooks {
		r := v.Receipts[policy.HeartbeatKey(h.Name)]
		if !r.Succeeded.IsZero() && !v.Receipts[policy.CompleteKey(h.Name)].Done() {
			left = r.Succeeded.Add(h.Timeout).Sub(v.Now).Seconds()
		}
	}
	return left
}

func (m *metrics) acted(e ended, result string, end time.Time) {
	m.actions.WithLabelValues(e.action.Kind(), string(e.reason), result).Inc()
	m.seconds.WithLabelValues(e.action.Kind()).Observe(end.Sub(e.began).Seconds())
	_, reboot := e.action.(policy.Reboot)
	switch {
	case reboot && e.err == nil:
		m.reboots.WithLabelValues("begun").Inc()
	case reboot:
		m.reboots.WithLabelValues("refused").Inc()
	case e.reason == policy.RebootDone && e.err == nil:
		m.reboots.WithLabelValues("done").Inc()
	}
}

// rebootWanted reports whether anybody wants this node rebooted.
func rebootWanted(v policy.View) bool {
	for _, f := range v.Wants {
		if f.Known() && f.Value.Wanted {
			return true
		}
	}
	return v.Record.Reboot != nil && v.Record.Reboot.Boot == v.Self.Boot
}

func (m *metrics) heartbeat(err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.heartbeats.WithLabelValues(result).Inc()
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
