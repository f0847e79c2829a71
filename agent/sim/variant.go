package sim

import "github.com/quorumd/quorumd/agent/policy"

// Variant is a policy broken on purpose, by changing what Next sees or what it
// answered. Invariant is the promise that catches it.
type Variant struct {
	Name      string
	Invariant Invariant
	View      func(cfg policy.Config, v *policy.View)
	Decide    func(cfg policy.Config, v policy.View, d *policy.Decision)
}
