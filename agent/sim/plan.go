package sim

import (
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

// plan is what a seed decides about its world once, at the beginning.
type plan struct {
	desired       int
	launchHook    time.Duration // heartbeat timeout; 0: no such hook
	terminateHook time.Duration
	// launchBefore: replacements come while the old instance waits in its hook;
	// otherwise only after it is gone.
	launchBefore bool
	expiresTo    policy.HookResult // the hooks' default result
	rate         float64           // entries a second
	skewed       bool              // clocks differ by minutes
	latency      bool              // observations take a while
	level        float64           // of trouble, in the small: 0 none, 1 some, 3 much
	gap          time.Duration     // between faults, in the mean
	lateNodes    float64
	staleAWS     float64
	cloned       float64
	stuckLearner float64
	ends         bool // the group goes to zero at the end
	reboot       policy.RebootConfig
	fleetlock    bool // updates come through a FleetLock client
	scripts      bool // which waits for what runs before a reboot
}

func (w *world) drawPlan() plan {
	p := plan{
		desired:      pick(w, 3, 3, 3, 3, 3, 3, 5, 5, 5, 1, 2, 4),
		launchHook:   pick(w, 0, 2*time.Minute, 10*time.Minute, time.Hour),
		launchBefore: w.chance(0.5),
		expiresTo:    pick(w, policy.Abandon, policy.Continue),
		rate:         pick(w, 1, 20, 150.0),
		skewed:       w.chance(0.5),
		latency:      w.chance(0.3),
		level:        pick(w, 0, 0.5, 1, 3.0),
		gap:          pick(w, 20*time.Minute, 40*time.Minute, 90*time.Minute),
		lateNodes:    pick(w, 0, 0, 0.5),
		staleAWS:     pick(w, 0, 0.3),
		cloned:       pick(w, 0, 0.1),
		stuckLearner: pick(w, 0, 0.2),
		ends:         w.chance(0.04),
	}
	p.terminateHook = pick(w, time.Minute, 5*time.Minute, 15*time.Minute, time.Hour)
	if w.chance(0.04) {
		p.terminateHook = 0
	}
	p.fleetlock = w.chance(0.4)
	p.scripts = p.fleetlock && w.chance(0.5)
	p.reboot = policy.RebootConfig{
		Strategy: policy.StrategyLock, PauseBetween: pick(w, 0, 0, 5*time.Minute), SmallClusters: w.chance(0.5),
		UserGrace: pick(w, 0, 10*time.Minute), Services: w.chance(0.7),
	}
	if w.chance(0.05) {
		p.reboot.Strategy = policy.StrategyOff
	}
	if w.chance(0.3) {
		days := []time.Weekday{0, 1, 2, 3, 4, 5, 6}
		for at := time.Duration(0); at < 24*time.Hour; at += 4 * time.Hour {
			p.reboot.Windows = append(p.reboot.Windows, policy.Window{Days: days, Start: at + time.Hour, Length: 2 * time.Hour})
		}
	}
	return p
}

// trouble is a small probability, in proportion to the seed's level of it; none
// once the faults stopped.
func (w *world) trouble(p float64) float64 {
	if w.calm {
		return 0
	}
	return p * w.plan.level
}
