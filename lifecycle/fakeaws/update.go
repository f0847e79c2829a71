package fakeaws

import (
	"slices"
	"time"
)

// SetHealth is SetInstanceHealth: the group replaces an unhealthy instance. With
// respectGrace nothing changes within the group's GracePeriod.
func (c *Cloud) SetHealth(id string, healthy, respectGrace bool) error {
	return c.try(func() error {
		m := c.findInstance(id)
		if m == nil || m.Lifecycle == "" {
			return invalid("Instance Id not found - No managed instance found for instance ID: %s", id)
		}
		g := c.groupOf(m)
		if respectGrace && !healthy && (m.inServiceAt.IsZero() || c.now().Before(m.inServiceAt.Add(g.GracePeriod))) && g.GracePeriod > 0 {
			return nil
		}
		note := "Healthy"
		if !healthy {
			note = "Unhealthy"
		}
		c.emit(Event{Kind: HealthSet, Group: m.Group, Instance: id, Note: note})
		if healthy && m.noticed {
			return nil // too late
		}
		m.Healthy = healthy
		c.dirty = true
		return nil
	})
}

// Update is what UpdateAutoScalingGroup can change here; nil: as it is.
type Update struct {
	Min, Max, Desired *int
	GracePeriod       *time.Duration
	TemplateVersion   *string // of the launch template, for instances launched from now on
	Overrides         []Override
}

// UpdateGroup is UpdateAutoScalingGroup. A desired capacity that is not given follows the limits.
func (c *Cloud) UpdateGroup(name string, u Update) error {
	return c.changeGroup(name, func(g *group) error {
		lowest, highest, desired := orElse(u.Min, g.Min), orElse(u.Max, g.Max), orElse(u.Desired, g.Desired)
		if lowest < 0 || highest < lowest {
			return invalid("Max bound, %d, must be greater than or equal to min bound, %d", highest, lowest)
		}
		if u.Desired == nil {
			desired = min(max(desired, lowest), highest)
		}
		if desired < lowest || desired > highest {
			return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", desired, lowest, highest)
		}
		if u.Overrides != nil {
			if err := c.mix(g, u.Overrides); err != nil {
				return err
			}
		}
		g.Min, g.Max = lowest, highest
		g.GracePeriod, g.version = orElse(u.GracePeriod, g.GracePeriod), orElse(u.TemplateVersion, g.version)
		c.setDesired(g, desired)
		return nil
	})
}

func orElse[T any](p *T, fallback T) T {
	if p != nil {
		return *p
	}
	return fallback
}

// processNames are all that can be suspended.
var processNames = []string{ProcessLaunch, ProcessTerminate, "AddToLoadBalancer", "AlarmNotification", "AZRebalance",
	ProcessHealthCheck, ProcessInstanceRefresh, ProcessReplaceUnhealthy, "ScheduledActions"}

func checkProcesses(names []string) error {
	for _, p := range names {
		if !slices.Contains(processNames, p) {
			return invalid("Invalid Process Type: %s", p)
		}
	}
	return nil
}
