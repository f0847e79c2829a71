package sim

import (
	"testing"
	"time"
)

// TestCutBehindTheLeader: two members reach only the third, which leads, so that each
// looks well to everybody. Its node may not reboot while that lasts: without it the
// others have no leader. A policy that does not see who follows whom is caught.
func TestCutBehindTheLeader(t *testing.T) {
	begin := func(t *testing.T, opt Options) (w *world, lead *machine, heal func()) {
		w = told(t, opt, 3)
		lead = w.current().host(w.current().leader)
		var others []*machine
		for _, m := range w.alive() {
			if m != lead {
				others = append(others, m)
			}
		}
		w.relink(others[0], others[1], true)
		w.run(w.now + time.Minute)
		w.updated(lead)
		return w, lead, func() { w.mend(others[0], others[1]) }
	}
	blind := Variant{View: otherLeads}
	caught, seeds := 0, 20
	if testing.Short() {
		seeds = 4
	}
	for seed := range uint64(seeds) {
		w, lead, heal := begin(t, Options{Seed: seed})
		boot, since := lead.bootID(), len(w.lines)
		if _, rebooted := w.until(30*time.Minute, func() bool { return lead.bootID() != boot }); rebooted {
			t.Errorf("seed %d: it rebooted", seed)
		}
		heal()
		if took, ok := w.until(30*time.Minute, func() bool { return lead.bootID() != boot }); !ok {
			t.Errorf("seed %d: no reboot %s after the others hear each other", seed, took)
		}
		w.show(t, since)

		w, lead, _ = begin(t, Options{Seed: seed, Variant: &blind})
		boot = lead.bootID()
		w.until(30*time.Minute, func() bool { return lead.bootID() != boot })
		for _, v := range w.check.Violations() {
			if v.Invariant == RebootKeepsQuorum {
				caught++
				break
			}
		}
	}
	if caught < seeds {
		t.Errorf("the blind policy is caught on %d of %d seeds", caught, seeds)
	}
}
