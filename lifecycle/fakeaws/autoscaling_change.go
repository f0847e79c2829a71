package fakeaws

import (
	"slices"
	"time"
)

// The actions of this file read their parameters, call the Go method of the same
// effect, and word the answer.

// groupAndInstances reads the group and the instances that a call names.
func groupAndInstances(req *request) (group string, ids []string, err error) {
	group, err = req.need("AutoScalingGroupName")
	if err != nil {
		return "", nil, err
	}
	ids = req.list("InstanceIds.member")
	if len(ids) == 0 {
		_, err = req.need("InstanceIds")
	}
	return group, ids, err
}

// change runs a call that names instances, and answers with what the group does with them.
func (c *Cloud) change(req *request, f func(group string, ids []string, decrement bool) error) (any, error) {
	group, ids, err := groupAndInstances(req)
	if err != nil {
		return nil, err
	}
	decrement, err := req.needBoolean("ShouldDecrementDesiredCapacity")
	if err != nil {
		return nil, err
	}
	return c.activitiesOf(ids, f(group, ids, decrement))
}

// activitiesOf is the answer of a call that makes the group do something with instances.
func (c *Cloud) activitiesOf(ids []string, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return struct{ Activities members[xmlActivity] }{c.lastActivities(ids)}, nil
}

func (c *Cloud) enterStandby(req *request) (any, error) { return c.change(req, c.EnterStandby) }

func (c *Cloud) detachInstances(req *request) (any, error) { return c.change(req, c.DetachInstances) }

func (c *Cloud) exitStandby(req *request) (any, error) {
	group, ids, err := groupAndInstances(req)
	if err != nil {
		return nil, err
	}
	return c.activitiesOf(ids, c.ExitStandby(group, ids))
}

func (c *Cloud) attachInstances(req *request) (any, error) {
	group, ids, err := groupAndInstances(req)
	if err != nil {
		return nil, err
	}
	return noResult{}, c.AttachInstances(group, ids)
}

func (c *Cloud) setInstanceHealth(req *request) (any, error) {
	id, err := req.need("InstanceId")
	if err != nil {
		return nil, err
	}
	status, err := req.need("HealthStatus")
	if err != nil {
		return nil, err
	}
	if status != "Healthy" && status != "Unhealthy" {
		return nil, invalid("Health status %s is not valid. Valid values are: Healthy, Unhealthy", status)
	}
	respect, err := req.boolean("ShouldRespectGracePeriod", true)
	if err != nil {
		return nil, err
	}
	return noResult{}, c.SetHealth(id, status == "Healthy", respect)
}

// AWS's bounds of HeartbeatTimeout, in seconds.
const minHookTimeout, maxHookTimeout = 30, 7200

func (c *Cloud) putLifecycleHook(req *request) (any, error) {
	err := req.only("AutoScalingGroupName", "LifecycleHookName", "LifecycleTransition", "HeartbeatTimeout", "DefaultResult", "NotificationMetadata")
	if err != nil {
		return nil, err
	}
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	name, err := req.need("LifecycleHookName")
	if err != nil {
		return nil, err
	}
	g, err := c.present(group)
	if err != nil {
		return nil, err
	}
	h := Hook{Name: name}
	if i := slices.IndexFunc(g.Hooks, func(o Hook) bool { return o.Name == name }); i >= 0 {
		h = g.Hooks[i]
	}
	h.Transition = Transition(fallback(req.form.Get("LifecycleTransition"), string(h.Transition)))
	h.DefaultResult = fallback(req.form.Get("DefaultResult"), h.DefaultResult)
	h.Metadata = fallback(req.form.Get("NotificationMetadata"), h.Metadata)
	seconds, err := req.optional("HeartbeatTimeout")
	switch {
	case err != nil:
		return nil, err
	case seconds != nil && (*seconds < minHookTimeout || *seconds > maxHookTimeout):
		return nil, invalid("Heartbeat Timeout must be between %d and %d seconds, not %d", minHookTimeout, maxHookTimeout, *seconds)
	case seconds != nil:
		h.HeartbeatTimeout, h.GlobalTimeout = time.Duration(*seconds)*time.Second, 0
	}
	if h.Transition == "" {
		return nil, invalid("Lifecycle transition must be specified for a new lifecycle hook")
	}
	return nil, c.PutHook(group, h)
}

func fallback(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// present gives a group's configuration as it is now.
func (c *Cloud) present(name string) (GroupConfig, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.findGroup(name); g != nil {
		return g.GroupConfig, nil
	}
	return GroupConfig{}, noGroup(name)
}

func (c *Cloud) deleteLifecycleHook(req *request) (any, error) {
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	name, err := req.need("LifecycleHookName")
	if err != nil {
		return nil, err
	}
	return nil, c.DeleteHook(group, name)
}

func (c *Cloud) updateAutoScalingGroup(req *request) (any, error) {
	const template, specification = "LaunchTemplate.", "LaunchTemplateSpecification."
	err := req.only("AutoScalingGroupName", "MinSize", "MaxSize", "DesiredCapacity", "HealthCheckGracePeriod",
		template+"LaunchTemplateId", template+"LaunchTemplateName", template+"Version", mixed+"Overrides",
		mixed+specification+"LaunchTemplateId", mixed+specification+"LaunchTemplateName", mixed+specification+"Version")
	if err != nil {
		return nil, err
	}
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	var u Update
	for name, into := range map[string]**int{"MinSize": &u.Min, "MaxSize": &u.Max, "DesiredCapacity": &u.Desired} {
		if *into, err = req.optional(name); err != nil {
			return nil, err
		}
	}
	grace, err := req.optional("HealthCheckGracePeriod")
	if err != nil {
		return nil, err
	}
	if grace != nil {
		d := time.Duration(*grace) * time.Second
		u.GracePeriod = &d
	}
	for _, at := range []string{template, mixed + specification} {
		if v := req.form.Get(at + "Version"); v != "" {
			u.TemplateVersion = &v
		}
	}
	if u.Overrides, err = req.overrides(); err != nil {
		return nil, err
	}
	return noResult{}, c.UpdateGroup(group, u)
}

// noResult is the result of actions that have none, not even an empty one.
type noResult struct{}
