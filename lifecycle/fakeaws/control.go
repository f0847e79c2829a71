package fakeaws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Error is an answer of AWS other than success. The Go methods that do what an API action
// does return the same errors.
type Error struct {
	Status  int
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func invalid(format string, args ...any) error {
	return &Error{http.StatusBadRequest, "ValidationError", fmt.Sprintf(format, args...)}
}

func noGroup(name string) error {
	return invalid("AutoScalingGroup name not found - AutoScalingGroup: %s not found", name)
}

// AddGroup creates a group, which starts to launch its instances.
func (c *Cloud) AddGroup(cfg GroupConfig) error {
	cfg.Hooks, cfg.Tags = slices.Clone(cfg.Hooks), slices.Clone(cfg.Tags)
	if err := cfg.setDefaults(); err != nil {
		return err
	}
	if cfg.WarmPool != nil && !c.canKeep(*cfg.WarmPool) {
		return errNoPower
	}
	return c.try(func() error {
		if c.findGroup(cfg.Name) != nil {
			return &Error{http.StatusBadRequest, "AlreadyExists",
				"AutoScalingGroup by this name already exists - A group with the name " + cfg.Name + " already exists"}
		}
		c.groups = append(c.groups, &group{GroupConfig: cfg, arn: c.newARN(cfg.Name), version: "1", createdAt: c.now()})
		c.dirty = true
		c.emit(Event{Kind: GroupCreated, Group: cfg.Name})
		return nil
	})
}

// DeleteGroup lets all instances go and forgets the group when it is empty; until then its
// Status is "Delete in progress". With force, as with ForceDelete, no hook is opened.
func (c *Cloud) DeleteGroup(name string, force bool) error {
	return c.changeGroup(name, func(g *group) error {
		g.deleting = true
		g.Min, g.Desired = 0, 0
		for _, m := range slices.Clone(g.members) {
			c.tellToGo(m, "group is being deleted", false, !force)
		}
		if force {
			for _, m := range slices.Clone(g.members) {
				c.shutDown(m, "group is being deleted by force")
				c.tryLeave(m)
			}
		}
		return nil
	})
}

// changeGroup runs f on a group with the Cloud locked.
func (c *Cloud) changeGroup(name string, f func(*group) error) error {
	return c.try(func() error {
		g := c.findGroup(name)
		if g == nil {
			return noGroup(name)
		}
		err := f(g)
		c.dirty = c.dirty || err == nil
		return err
	})
}

// SetDesired is SetDesiredCapacity.
func (c *Cloud) SetDesired(name string, n int) error {
	return c.changeGroup(name, func(g *group) error {
		switch {
		case n < g.Min:
			return invalid("New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", n, g.Min)
		case n > g.Max:
			return invalid("New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", n, g.Max)
		}
		c.setDesired(g, n)
		return nil
	})
}

func (c *Cloud) setDesired(g *group, n int) {
	if g.Desired != n {
		c.emit(Event{Kind: DesiredChanged, Group: g.Name, Note: fmt.Sprintf("%d to %d", g.Desired, n)})
	}
	g.Desired = n
}

// SetLimits changes a group's minimum and maximum; the desired capacity follows if it must.
func (c *Cloud) SetLimits(name string, lowest, highest int) error {
	return c.UpdateGroup(name, Update{Min: &lowest, Max: &highest})
}

// TerminateInGroup is TerminateInstanceInAutoScalingGroup: the instance goes through the
// terminating hooks. Without decrement it is replaced. An instance that is already on its way
// out is left alone.
func (c *Cloud) TerminateInGroup(id string, decrement bool) error {
	return c.try(func() error {
		m := c.findInstance(id)
		if m == nil || m.Lifecycle == "" {
			return invalid("Instance Id not found - No managed instance found for instance ID: %s", id)
		}
		if m.noticed {
			return nil
		}
		g := c.groupOf(m)
		decrement := decrement && m.live() // others are not part of what is desired
		if decrement && g.Desired-m.units() < g.Min {
			return invalid("Currently, desiredSize equals minSize (%d). Terminating instance without replacement "+
				"will violate group's min size constraint. Either set shouldDecrementDesiredCapacity flag to false "+
				"or lower group's min size.", g.Min)
		}
		c.tellToGo(m, "TerminateInstanceInAutoScalingGroup", !decrement, true)
		if decrement {
			c.setDesired(g, g.Desired-m.units())
		}
		return nil
	})
}

// TerminateInstance is EC2's TerminateInstances, or the loss of a machine: no hook is opened
// and the group finds out afterwards.
func (c *Cloud) TerminateInstance(id string) error {
	return c.terminateInstances([]string{id})
}

func (c *Cloud) terminateInstances(ids []string) error {
	return c.try(func() error {
		ms, err := c.findInstances(ids)
		for _, m := range ms {
			c.shutDown(m, "terminated in EC2")
		}
		return err
	})
}

// findInstances gives all the instances, or EC2's refusal if it does not know one.
func (c *Cloud) findInstances(ids []string) ([]*machine, error) {
	var ms []*machine
	var unknown []string
	for _, id := range ids {
		if m := c.findInstance(id); m != nil {
			ms = append(ms, m)
		} else {
			unknown = append(unknown, id)
		}
	}
	if err := noInstances(unknown); err != nil {
		return nil, err
	}
	return ms, nil
}

// InterruptSpot shows a Spot interruption notice in the instance's metadata and terminates
// it in EC2 after d (AWS: two minutes), whatever its hooks say.
func (c *Cloud) InterruptSpot(id string, d time.Duration) error {
	return c.try(func() error {
		m := c.findInstance(id)
		if m == nil {
			return noInstances([]string{id})
		}
		at := c.now().Add(d).UTC().Format(time.RFC3339)
		value := fmt.Sprintf(`{"action":"terminate","time":%q}`, at)
		m.meta.overrides["spot/instance-action"] = &value
		c.emit(Event{Kind: SpotNotice, Group: m.Group, Instance: id, Note: "terminates at " + at})
		c.after(d, func() { c.shutDown(m, "Spot interruption") })
		return nil
	})
}

// RecommendRebalance shows a rebalance recommendation in the instance's metadata: Spot thinks
// that it may have to interrupt it. Nothing else comes of it.
func (c *Cloud) RecommendRebalance(id string) error {
	return c.SetMetadata(id, "events/recommendations/rebalance", fmt.Sprintf(`{"noticeTime":%q}`, c.now().UTC().Format(time.RFC3339)))
}

// Suspend suspends processes of a group, all of them if none is named. Those that have no
// name here are only listed.
func (c *Cloud) Suspend(name string, processes ...string) error {
	if len(processes) == 0 {
		processes = processNames
	}
	return c.changeGroup(name, func(g *group) error {
		if err := checkProcesses(processes); err != nil {
			return err
		}
		for _, p := range processes {
			if !g.isSuspended(p) {
				g.suspended = append(g.suspended, p)
				c.emit(Event{Kind: ProcessSuspended, Group: g.Name, Note: p})
			}
		}
		return nil
	})
}

// Resume resumes processes of a group; all of them if none is named.
func (c *Cloud) Resume(name string, processes ...string) error {
	return c.changeGroup(name, func(g *group) error {
		if err := checkProcesses(processes); err != nil {
			return err
		}
		g.suspended = slices.DeleteFunc(g.suspended, func(p string) bool {
			resume := len(processes) == 0 || slices.Contains(processes, p)
			if resume {
				c.emit(Event{Kind: ProcessResumed, Group: g.Name, Note: p})
			}
			return resume
		})
		return nil
	})
}

// hookRequest names an open hook as the two lifecycle actions do.
type hookRequest struct {
	group, hook, instance, token string
	by                           string
}

// CompleteHook is CompleteLifecycleAction with an instance id; by goes into the event log.
func (c *Cloud) CompleteHook(group, hook, instance, result, by string) error {
	return c.completeHook(hookRequest{group: group, hook: hook, instance: instance, by: by}, result)
}

func (c *Cloud) completeHook(r hookRequest, result string) error {
	if result != Continue && result != Abandon {
		return invalid("Lifecycle Action Result must be one of: %s, %s", Continue, Abandon)
	}
	return c.try(func() error {
		m, h, err := c.findHook(r)
		if err == nil {
			c.finishHook(m, h, result, r.by)
		}
		return err
	})
}

func (c *Cloud) heartbeatHook(r hookRequest) error {
	return c.try(func() error {
		m, h, err := c.findHook(r)
		if err == nil {
			c.heartbeat(m, h, r.by)
		}
		return err
	})
}

func (c *Cloud) findHook(r hookRequest) (*machine, *openHook, error) {
	g := c.findGroup(r.group)
	if g == nil {
		return nil, nil, noGroup(r.group)
	}
	if !slices.ContainsFunc(g.Hooks, func(h Hook) bool { return h.Name == r.hook }) {
		return nil, nil, invalid("No Lifecycle Hook found with name: %s", r.hook)
	}
	if r.instance == "" && r.token == "" {
		return nil, nil, invalid("Either instance ID or Lifecycle Action Token must be provided")
	}
	for _, m := range g.members {
		for _, h := range m.open {
			if h.Name == r.hook && (r.instance == "" || r.instance == m.ID) && (r.token == "" || r.token == h.Token) {
				return m, h, nil
			}
		}
	}
	if r.token != "" {
		return nil, nil, invalid("No active Lifecycle Action found with token %s", r.token)
	}
	return nil, nil, invalid("No active Lifecycle Action found with instance ID %s", r.instance)
}

// noInstances is EC2's refusal of ids that it does not know, nil if there are none.
func noInstances(ids []string) error {
	switch len(ids) {
	case 0:
		return nil
	case 1:
		return &Error{http.StatusBadRequest, "InvalidInstanceID.NotFound",
			"The instance ID '" + ids[0] + "' does not exist"}
	}
	list := ids[0]
	for _, id := range ids[1:] {
		list += ", " + id
	}
	return &Error{http.StatusBadRequest, "InvalidInstanceID.NotFound", "The instance IDs '" + list + "' do not exist"}
}

// asError makes an answer of any error.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{http.StatusInternalServerError, "InternalFailure", err.Error()}
}
