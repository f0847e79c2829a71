package fakeaws

import (
	"net/http"
	"strconv"
	"strings"
)

// Override is an instance type of a mixed instances policy.
type Override struct {
	Type string
	// Weight is what an instance of this type counts towards the group's capacity; 0:
	// none is given, it counts as one. All types of a group have one, or none has.
	Weight int
}

const maxWeight = 999 // AWS's

func checkOverrides(all []Override) error {
	for _, o := range all {
		switch {
		case o.Type == "":
			return invalid("You must specify an instance type in each override.")
		case o.Weight < 0 || o.Weight > maxWeight:
			return invalid("Weighted capacity %d must be between 1 and %d", o.Weight, maxWeight)
		case (o.Weight == 0) != (all[0].Weight == 0):
			return invalid("You must specify a weighted capacity for all instance types, or for none.")
		}
	}
	return nil
}

// mix sets a group's instance types. Instances of a type in the list have its weight from
// now on, others keep what they had.
func (c *Cloud) mix(g *group, all []Override) error {
	if err := checkOverrides(all); err != nil {
		return err
	}
	g.Overrides = all
	for _, m := range g.members {
		for _, o := range all {
			if o.Type == m.Type {
				m.Weight = o.Weight
			}
		}
	}
	c.dirty = true
	return nil
}

// next is what the group launches: the first of its types, as with the allocation strategy
// "prioritized".
func (g *group) next() Override {
	if len(g.Overrides) > 0 {
		return g.Overrides[0]
	}
	return Override{Type: g.InstanceType}
}

// units is what an instance counts towards its group's capacity.
func (i Instance) units() int { return max(i.Weight, 1) }

// units is what instances count together.
func units(ms []*machine) (n int) {
	for _, m := range ms {
		n += m.units()
	}
	return n
}

type xmlMixed struct {
	LaunchTemplate xmlLaunchTemplate    `xml:"LaunchTemplate>LaunchTemplateSpecification"`
	Overrides      members[xmlOverride] `xml:"LaunchTemplate>Overrides"`
}

type xmlOverride struct {
	Type   string `xml:"InstanceType"`
	Weight string `xml:"WeightedCapacity,omitempty"`
}

func newXMLMixed(all []Override, template xmlLaunchTemplate) *xmlMixed {
	x := &xmlMixed{LaunchTemplate: template}
	for _, o := range all {
		x.Overrides.add(xmlOverride{o.Type, weightWord(o.Weight)})
	}
	return x
}

// weightWord is a weight as AWS writes it: a string, and nothing where there is none.
func weightWord(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

const mixed = "MixedInstancesPolicy.LaunchTemplate."

// overrides reads those of a mixed instances policy, nil where there is none. A field that has
// no effect here is refused.
func (r *request) overrides() ([]Override, error) {
	for key := range r.form {
		if rest, ok := strings.CutPrefix(key, mixed+"Overrides.member."); ok {
			if _, field, _ := strings.Cut(rest, "."); field != "InstanceType" && field != "WeightedCapacity" {
				return nil, invalid("%s: the emulator does not know the parameter %s", r.action, key)
			}
		}
	}
	var all []Override
	for n := 1; ; n++ {
		at := mixed + "Overrides.member." + strconv.Itoa(n) + "."
		o := Override{Type: r.form.Get(at + "InstanceType")}
		weight := r.form.Get(at + "WeightedCapacity")
		if o.Type == "" && weight == "" {
			return all, nil
		}
		if weight != "" {
			var err error
			if o.Weight, err = strconv.Atoi(weight); err != nil || o.Weight < 1 {
				return nil, &Error{http.StatusBadRequest, "ValidationError", "Invalid WeightedCapacity " + weight}
			}
		}
		all = append(all, o)
	}
}
