package fakeaws

import (
	"fmt"
	"slices"
)

// EnterStandby takes instances in service out of it, without a hook: they go on running
// and stay in the group's list, but it neither counts them nor checks their health. With
// decrement the group does not replace them.
func (c *Cloud) EnterStandby(name string, ids []string, decrement bool) error {
	return c.changeMembers(name, ids, func(g *group, ms []*machine) error {
		for _, m := range ms {
			if m.Lifecycle != LifecycleInService {
				return invalid("The instance %s is not in InService.", m.ID)
			}
		}
		if err := g.shrinks(units(ms), decrement, "place into standby"); err != nil {
			return err
		}
		for _, m := range ms {
			m.Lifecycle, m.Target = LifecycleEnteringStandby, TargetStandby
			c.begin(m, "Moving EC2 instance to Standby: ", "instance "+m.ID+" was moved to standby in response to a user request"+g.shift(-units(ms), decrement))
			c.after(c.cfg.Timing.Proceed, func() {
				if m.Lifecycle != LifecycleEnteringStandby {
					return
				}
				m.Lifecycle = LifecycleStandby
				c.dirty = true
				c.emit(Event{Kind: EnteredStandby, Group: m.Group, Instance: m.ID})
				c.finish(m, activitySuccessful, "")
			})
		}
		if decrement {
			c.setDesired(g, g.Desired-units(ms))
		}
		return nil
	})
}

// ExitStandby puts instances back into service, without a hook, and adds them to the
// desired capacity.
func (c *Cloud) ExitStandby(name string, ids []string) error {
	return c.changeMembers(name, ids, func(g *group, ms []*machine) error {
		for _, m := range ms {
			if m.Lifecycle != LifecycleStandby {
				return invalid("The instance %s is not in Standby.", m.ID)
			}
		}
		if err := g.grows(units(ms), "move out of standby"); err != nil {
			return err
		}
		for _, m := range ms {
			c.takeIn(m, "Moving EC2 instance out of Standby: ",
				"instance "+m.ID+" was moved out of standby in response to a user request"+g.shift(units(ms), true))
		}
		c.setDesired(g, g.Desired+units(ms))
		return nil
	})
}

// DetachInstances makes a group let instances go that go on running, without a hook. With
// decrement it does not replace them.
func (c *Cloud) DetachInstances(name string, ids []string, decrement bool) error {
	return c.changeMembers(name, ids, func(g *group, ms []*machine) error {
		counted := 0
		for _, m := range ms {
			if m.Lifecycle != LifecycleInService && m.Lifecycle != LifecycleStandby {
				return invalid("The instance %s is not in InService or Standby.", m.ID)
			}
			if m.live() {
				counted += m.units()
			}
		}
		if err := g.shrinks(counted, decrement, "detach"); err != nil {
			return err
		}
		for _, m := range ms {
			m.Lifecycle, m.Target = LifecycleDetaching, TargetDetached
			c.begin(m, "Detaching EC2 instance: ", "instance "+m.ID+" was detached in response to a user request"+g.shift(-counted, decrement))
			c.after(c.cfg.Timing.Proceed, func() { c.detach(g, m) })
		}
		if decrement {
			c.setDesired(g, g.Desired-counted)
		}
		return nil
	})
}

// detach ends an instance's membership. c.mu is held.
func (c *Cloud) detach(g *group, m *machine) {
	if m.Lifecycle != LifecycleDetaching {
		return
	}
	g.members = slices.DeleteFunc(g.members, func(o *machine) bool { return o == m })
	m.retag("")
	m.Group, m.Lifecycle = "", ""
	c.dirty = true
	c.emit(Event{Kind: Detached, Group: g.Name, Instance: m.ID})
	c.finish(m, activitySuccessful, "")
}

// AttachInstances takes running instances that are in no group into one, without a hook,
// and adds them to its desired capacity.
func (c *Cloud) AttachInstances(name string, ids []string) error {
	return c.changeGroup(name, func(g *group) error {
		var ms []*machine
		for _, id := range ids {
			m := c.findInstance(id)
			switch {
			case m == nil || m.State != Running:
				return invalid("Invalid Instance ID(s): [%s] specified", id)
			case m.Lifecycle != "":
				return invalid("Instance %s is already part of AutoScalingGroup:%s", id, m.Group)
			}
			ms = append(ms, m)
		}
		if err := g.grows(units(ms), "attach"); err != nil {
			return err
		}
		for _, m := range ms {
			m.Group, m.noticed, m.missed = g.Name, false, false
			m.retag(g.Name)
			g.members = append(g.members, m)
			c.emit(Event{Kind: Attached, Group: g.Name, Instance: m.ID})
			c.takeIn(m, "Attaching an existing EC2 instance: ",
				"instance "+m.ID+" was attached in response to a user request"+g.shift(units(ms), true))
		}
		c.setDesired(g, g.Desired+units(ms))
		return nil
	})
}

// retag sets the tag that names an instance's group. What was copied of its tags is left
// as it was.
func (m *machine) retag(name string) {
	tags := make(map[string]string, len(m.Tags)+1)
	for k, v := range m.Tags {
		tags[k] = v
	}
	delete(tags, groupTag)
	if name != "" {
		tags[groupTag] = name
	}
	m.Tags = tags
}

const groupTag = "aws:autoscaling:groupName"

// takeIn puts a running instance into service without a hook. c.mu is held.
func (c *Cloud) takeIn(m *machine, what, cause string) {
	m.Lifecycle, m.Target = LifecyclePending, TargetInService
	c.begin(m, what, cause)
	c.after(c.cfg.Timing.Proceed, func() {
		if m.Lifecycle == LifecyclePending {
			c.enterService(m)
		}
	})
}

// changeMembers is changeGroup for a call that names instances of the group.
func (c *Cloud) changeMembers(name string, ids []string, f func(*group, []*machine) error) error {
	return c.changeGroup(name, func(g *group) error {
		var ms []*machine
		for _, id := range ids {
			i := slices.IndexFunc(g.members, func(m *machine) bool { return m.ID == id })
			if i < 0 {
				return invalid("The instance %s is not part of Auto Scaling group %s.", id, g.Name)
			}
			ms = append(ms, g.members[i])
		}
		return f(g, ms)
	})
}

// shift words what becomes of the desired capacity.
func (g *group) shift(n int, changes bool) string {
	verb := "increasing"
	switch {
	case !changes || n == 0:
		return ""
	case n < 0:
		verb = "shrinking"
	}
	return fmt.Sprintf(", %s the capacity from %d to %d", verb, g.Desired, g.Desired+n)
}

// shrinks refuses to take n instances off the desired capacity where the minimum forbids.
func (g *group) shrinks(n int, decrement bool, verb string) error {
	if !decrement || g.Desired-n >= g.Min {
		return nil
	}
	return g.unfit(n, verb)
}

// grows refuses to add n instances to the desired capacity where the maximum forbids.
func (g *group) grows(n int, verb string) error {
	if g.Desired+n <= g.Max {
		return nil
	}
	return g.unfit(n, verb)
}

func (g *group) unfit(n int, verb string) error {
	noun := "instances"
	if n == 1 {
		noun = "instance"
	}
	return invalid("AutoScalingGroup %s has min-size=%d, max-size=%d, and desired-size=%d. "+
		"To %s %d %s, please update the AutoScalingGroup sizes appropriately.", g.Name, g.Min, g.Max, g.Desired, verb, n, noun)
}
