package agent

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/quorumd/quorumd/agent/policy"
)

// electionMetrics are about an etcd without a leader.
type electionMetrics struct {
	leaderless prometheus.Gauge
	spent      prometheus.Gauge
	attempt    prometheus.Gauge
	plans      *prometheus.CounterVec
}

func newElectionMetrics(r prometheus.Registerer) electionMetrics {
	m := electionMetrics{
		leaderless: prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorumd_leaderless_seconds",
			Help: "For how long a majority of members has said that it knows no leader; 0 while that is not so."}),
		spent: prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorumd_force_election_attempts_spent",
			Help: "1 while etcd is stuck and all attempts were in vain: somebody must look."}),
		attempt: prometheus.NewGauge(prometheus.GaugeOpts{Name: "quorumd_force_election_attempt",
			Help: "The number of the newest attempt to have a leader elected; 0 when there is none to remember."}),
		plans: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quorumd_force_elections_total",
			Help: "Plans to restart a stuck etcd that are over for this node, by round and result (won, failed, cut)."}, []string{"round", "result"}),
	}
	r.MustRegister(m.leaderless, m.spent, m.attempt, m.plans)
	return m
}

// pass shows what one pass knows of elections.
func (m electionMetrics) pass(p *Pass, st policy.VoteState) {
	stuck := 0.0
	if !st.StuckSince.IsZero() {
		stuck = p.At.Sub(st.StuckSince).Seconds()
	}
	m.leaderless.Set(stuck)
	m.spent.Set(one(p.Decision.Verdicts[policy.ConcernElection].Reason == policy.AttemptsSpent))
	attempt := 0
	if e := p.View.Record.Election; e != nil {
		attempt = e.Plan.Attempt
	}
	m.attempt.Set(float64(attempt))
}

// acted counts plans that were closed on disk.
func (m electionMetrics) acted(e ended) {
	w, ok := e.action.(policy.WriteRecord)
	if !ok || e.err != nil || w.Record.Election == nil {
		return
	}
	result := map[policy.Reason]string{policy.ElectionWon: "won", policy.ElectionFailed: "failed", policy.ElectionCut: "cut"}[e.reason]
	if result != "" {
		m.plans.WithLabelValues(strconv.Itoa(int(w.Record.Election.Plan.Round)), result).Inc()
	}
}
