package fakeaws

import (
	"slices"
	"time"
)

// MaxStaleness is how far back Describe calls can be made to answer from.
const MaxStaleness = 10 * time.Minute

// view is what Describe calls can see at one moment. It is immutable: answers are made from
// it without the lock, and staleness is just an older view.
type view struct {
	at        time.Time
	groups    []groupView
	instances []Instance // in order of launch
}

type groupView struct {
	GroupConfig
	arn       string
	createdAt time.Time
	suspended []string
	members   []Instance
	deleting  bool
	version   string
	poolEnds  bool
	refreshes []Refresh
}

// listed gives the instances that DescribeAutoScalingGroups lists, or those of the
// warm pool.
func (g groupView) listed(pool bool) []Instance {
	return slices.DeleteFunc(slices.Clone(g.members), func(i Instance) bool { return i.InPool() != pool })
}

// takeView copies the present. c.mu is held.
func (c *Cloud) takeView() *view {
	v := &view{at: c.now()}
	for _, m := range c.instances {
		v.instances = append(v.instances, m.snapshot())
	}
	for _, g := range c.groups {
		gv := groupView{GroupConfig: g.GroupConfig, arn: g.arn, createdAt: g.createdAt,
			suspended: slices.Clone(g.suspended), deleting: g.deleting, version: g.version, poolEnds: g.poolEnds}
		for _, r := range g.refreshes {
			gv.refreshes = append(gv.refreshes, r.Refresh)
		}
		gv.Tags = slices.Clone(g.Tags)
		for _, m := range g.members {
			gv.members = append(gv.members, m.snapshot())
		}
		v.groups = append(v.groups, gv)
	}
	return v
}

// remember appends a view and drops those that no staleness reaches. c.mu is held.
func (c *Cloud) remember(v *view) {
	oldest := v.at.Add(-MaxStaleness)
	n := 0
	for n+1 < len(c.history) && !c.history[n+1].at.After(oldest) {
		n++
	}
	c.history = append(slices.Delete(c.history, 0, n), v)
}

// see returns the view that a Describe call answers from.
func (c *Cloud) see() *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.now().Add(-c.staleness)
	for _, v := range slices.Backward(c.history) {
		if !v.at.After(at) {
			return v
		}
	}
	return c.history[0]
}

// SetStaleness makes Describe calls answer as of d ago, at most MaxStaleness; 0 ends it.
// Metadata, and calls that change something, always see the present.
func (c *Cloud) SetStaleness(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.staleness = min(max(d, 0), MaxStaleness)
}

func (v *view) group(nameOrARN string) *groupView {
	for i := range v.groups {
		if g := &v.groups[i]; g.Name == nameOrARN || g.arn == nameOrARN {
			return g
		}
	}
	return nil
}

// Group is a copy of what is known of a group at one moment.
type Group struct {
	Name              string
	ARN               string
	Min, Max, Desired int
	Suspended         []string
	Tags              []Tag
	Deleting          bool
	Instances         []Instance // as the group lists them, oldest first
	Pool              []Instance // those of its warm pool
}

// Group returns the group as it is now, whatever the staleness.
func (c *Cloud) Group(name string) (Group, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.findGroup(name)
	if g == nil {
		return Group{}, false
	}
	return g.export(), true
}

// Groups returns all groups in order of creation.
func (c *Cloud) Groups() []Group {
	c.mu.Lock()
	defer c.mu.Unlock()
	var gs []Group
	for _, g := range c.groups {
		gs = append(gs, g.export())
	}
	return gs
}

func (g *group) export() Group {
	out := Group{Name: g.Name, ARN: g.arn, Min: g.Min, Max: g.Max, Desired: g.Desired,
		Suspended: slices.Clone(g.suspended), Tags: slices.Clone(g.Tags), Deleting: g.deleting}
	for _, m := range g.members {
		if m.InPool() {
			out.Pool = append(out.Pool, m.snapshot())
		} else {
			out.Instances = append(out.Instances, m.snapshot())
		}
	}
	return out
}

// Instance returns an instance that EC2 still knows.
func (c *Cloud) Instance(id string) (Instance, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.findInstance(id)
	if m == nil {
		return Instance{}, false
	}
	return m.snapshot(), true
}

// Instances returns all instances that EC2 still knows, in order of launch.
func (c *Cloud) Instances() []Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Instance
	for _, m := range c.instances {
		out = append(out, m.snapshot())
	}
	return out
}
