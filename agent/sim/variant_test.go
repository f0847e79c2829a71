package sim

import (
	"testing"
)

// TestVariants: each broken policy is caught by its own invariant, on a seed on
// which the intact policy passes.
func TestVariants(t *testing.T) {
	for _, v := range Variants() {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			others := map[Invariant]int{}
			for seed := range uint64(300) {
				r := Run(Options{Seed: seed, Variant: &v})
				for _, x := range r.Violations {
					if x.Invariant != v.Invariant {
						others[x.Invariant]++
						continue
					}
					if intact := Run(Options{Seed: seed}); len(intact.Violations) > 0 {
						t.Fatalf("seed %d: the intact policy fails too: %v", seed, intact.Violations)
					}
					t.Logf("seed %d: %s (before: %v)", seed, x, others)
					return
				}
			}
			t.Errorf("not caught by %s; caught by others: %v", v.Invariant, others)
		})
	}
}
