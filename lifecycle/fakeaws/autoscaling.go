package fakeaws

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (c *Cloud) performAutoScaling(req *request) (any, error) {
	switch req.action {
	case "DescribeAutoScalingGroups":
		return c.describeGroups(req)
	case "DescribeAutoScalingInstances":
		return c.describeGroupInstances(req)
	case "DescribeLifecycleHooks":
		return c.describeHooks(req)
	case "DescribeTags":
		return c.describeTags(req)
	case "CreateOrUpdateTags":
		return nil, c.putTags(req)
	case "DeleteTags":
		return nil, c.deleteTags(req)
	case "SetDesiredCapacity":
		return nil, c.setDesiredCapacity(req)
	case "TerminateInstanceInAutoScalingGroup":
		return c.terminateInGroup(req)
	case "CompleteLifecycleAction":
		r, err := lifecycleAction(req)
		if err != nil {
			return nil, err
		}
		return nil, c.completeHook(r, req.form.Get("LifecycleActionResult"))
	case "RecordLifecycleActionHeartbeat":
		r, err := lifecycleAction(req)
		if err != nil {
			return nil, err
		}
		return nil, c.heartbeatHook(r)
	case "SuspendProcesses":
		return nil, c.Suspend(req.form.Get("AutoScalingGroupName"), processes(req)...)
	case "ResumeProcesses":
		return nil, c.Resume(req.form.Get("AutoScalingGroupName"), req.list("ScalingProcesses.member")...)
	}
	return nil, unknownAction(req)
}

// processes are those to suspend; none named means all.
func processes(req *request) []string {
	if ps := req.list("ScalingProcesses.member"); len(ps) > 0 {
		return ps
	}
	return []string{ProcessLaunch, ProcessTerminate, "AddToLoadBalancer", "AlarmNotification", "AZRebalance",
		ProcessHealthCheck, "InstanceRefresh", "ReplaceUnhealthy", "ScheduledActions"}
}

func lifecycleAction(req *request) (hookRequest, error) {
	group, err := req.need("AutoScalingGroupName")
	if err != nil {
		return hookRequest{}, err
	}
	hook, err := req.need("LifecycleHookName")
	if err != nil {
		return hookRequest{}, err
	}
	return hookRequest{group: group, hook: hook, instance: req.form.Get("InstanceId"),
		token: req.form.Get("LifecycleActionToken"), by: req.by()}, nil
}

// recordLimit reads MaxRecords, which AWS bounds.
func recordLimit(req *request, fallback, most int) (int, error) {
	n, err := req.number("MaxRecords", fallback)
	if err == nil && (n < 1 || n > most) {
		err = invalid("1 validation error detected: Value '%d' at 'maxRecords' failed to satisfy constraint: "+
			"Member must have value less than or equal to %d", n, most)
	}
	return n, err
}

func (c *Cloud) describeGroups(req *request) (any, error) {
	limit, err := recordLimit(req, 50, 100)
	if err != nil {
		return nil, err
	}
	names := req.list("AutoScalingGroupNames.member")
	filters := req.filters("Filters.member", "Values.member")
	var matching []groupView
	for _, g := range c.see().groups {
		if (len(names) > 0 && !slices.Contains(names, g.Name)) || !matchesAll(g.Tags, filters) {
			continue
		}
		matching = append(matching, g)
	}
	part, next, err := page(matching, req.form.Get("NextToken"), limit)
	if err != nil {
		return nil, err
	}
	out := xmlGroups{NextToken: next}
	for _, g := range part {
		x := c.xmlGroup(g)
		if req.form.Get("IncludeInstances") == "false" {
			x.Instances = members[xmlGroupInstance]{}
		}
		out.Groups.add(x)
	}
	return out, nil
}

// matchesAll applies the filters of DescribeAutoScalingGroups, which all speak of tags.
func matchesAll(tags []Tag, filters []filter) bool {
	for _, f := range filters {
		hit := slices.ContainsFunc(tags, func(t Tag) bool {
			switch key, ok := strings.CutPrefix(f.name, "tag:"); {
			case ok:
				return t.Key == key && slices.Contains(f.values, t.Value)
			case f.name == "tag-key":
				return slices.Contains(f.values, t.Key)
			case f.name == "tag-value":
				return slices.Contains(f.values, t.Value)
			}
			return false
		})
		if !hit {
			return false
		}
	}
	return true
}

func (c *Cloud) describeGroupInstances(req *request) (any, error) {
	limit, err := recordLimit(req, 50, 50)
	if err != nil {
		return nil, err
	}
	ids := req.list("InstanceIds.member")
	var all []xmlGroupInstance
	for _, g := range c.see().groups {
		for _, m := range g.members {
			if len(ids) == 0 || slices.Contains(ids, m.ID) {
				x := newXMLGroupInstance(m)
				x.Group = g.Name
				all = append(all, x)
			}
		}
	}
	part, next, err := page(all, req.form.Get("NextToken"), limit)
	if err != nil {
		return nil, err
	}
	return struct {
		Instances members[xmlGroupInstance] `xml:"AutoScalingInstances"`
		NextToken string                    `xml:",omitempty"`
	}{members[xmlGroupInstance]{part}, next}, nil
}

func (c *Cloud) describeHooks(req *request) (any, error) {
	name, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	g := c.see().group(name)
	if g == nil {
		return nil, noGroup(name)
	}
	names := req.list("LifecycleHookNames.member")
	var out struct {
		Hooks members[xmlHook] `xml:"LifecycleHooks"`
	}
	for _, h := range g.Hooks {
		if len(names) == 0 || slices.Contains(names, h.Name) {
			out.Hooks.add(xmlHook{Name: h.Name, Group: g.Name, Transition: string(h.Transition),
				HeartbeatTimeout: int(h.HeartbeatTimeout.Seconds()), GlobalTimeout: int(h.GlobalTimeout.Seconds()),
				DefaultResult: h.DefaultResult})
		}
	}
	return out, nil
}

func (c *Cloud) setDesiredCapacity(req *request) error {
	name, err := req.need("AutoScalingGroupName")
	if err != nil {
		return err
	}
	if _, err := req.need("DesiredCapacity"); err != nil {
		return err
	}
	n, err := req.number("DesiredCapacity", 0)
	if err != nil {
		return err
	}
	return c.SetDesired(name, n)
}

func (c *Cloud) terminateInGroup(req *request) (any, error) {
	id, err := req.need("InstanceId")
	if err != nil {
		return nil, err
	}
	decrement, err := strconv.ParseBool(req.form.Get("ShouldDecrementDesiredCapacity"))
	if err != nil {
		return nil, &Error{http.StatusBadRequest, "MalformedInput", "Invalid value for ShouldDecrementDesiredCapacity"}
	}
	if err := c.TerminateInGroup(id, decrement); err != nil {
		return nil, err
	}
	now := c.now()
	inst, _ := c.Instance(id)
	return struct{ Activity xmlActivity }{xmlActivity{
		ID: req.id, Group: inst.Group, StatusCode: "InProgress", StartTime: timestamp(now),
		Description: "Terminating EC2 instance: " + id,
		Cause:       "At " + now.UTC().Format("2006-01-02T15:04:05Z") + " instance " + id + " was taken out of service in response to a user request.",
		Details:     `{"Availability Zone":"` + inst.Zone + `"}`,
	}}, nil
}
