package fakeaws

import (
	"slices"
	"strings"
)

// autoScalingActions are the API's actions that the emulator knows.
var autoScalingActions = map[string]func(*Cloud, *request) (any, error){
	"AttachInstances":                     (*Cloud).attachInstances,
	"CancelInstanceRefresh":               (*Cloud).cancelInstanceRefresh,
	"CompleteLifecycleAction":             (*Cloud).completeLifecycleAction,
	"CreateOrUpdateTags":                  (*Cloud).putTags,
	"DeleteLifecycleHook":                 (*Cloud).deleteLifecycleHook,
	"DeleteTags":                          (*Cloud).deleteTags,
	"DeleteWarmPool":                      (*Cloud).deleteWarmPool,
	"DescribeAutoScalingGroups":           (*Cloud).describeGroups,
	"DescribeAutoScalingInstances":        (*Cloud).describeGroupInstances,
	"DescribeInstanceRefreshes":           (*Cloud).describeRefreshes,
	"DescribeLifecycleHooks":              (*Cloud).describeHooks,
	"DescribeScalingActivities":           (*Cloud).describeActivities,
	"DescribeTags":                        (*Cloud).describeTags,
	"DescribeWarmPool":                    (*Cloud).describeWarmPool,
	"DetachInstances":                     (*Cloud).detachInstances,
	"EnterStandby":                        (*Cloud).enterStandby,
	"ExitStandby":                         (*Cloud).exitStandby,
	"PutLifecycleHook":                    (*Cloud).putLifecycleHook,
	"PutWarmPool":                         (*Cloud).putWarmPool,
	"RecordLifecycleActionHeartbeat":      (*Cloud).recordLifecycleActionHeartbeat,
	"ResumeProcesses":                     (*Cloud).resumeProcesses,
	"SetDesiredCapacity":                  (*Cloud).setDesiredCapacity,
	"SetInstanceHealth":                   (*Cloud).setInstanceHealth,
	"StartInstanceRefresh":                (*Cloud).startInstanceRefresh,
	"SuspendProcesses":                    (*Cloud).suspendProcesses,
	"TerminateInstanceInAutoScalingGroup": (*Cloud).terminateInGroup,
	"UpdateAutoScalingGroup":              (*Cloud).updateAutoScalingGroup,
}

func (c *Cloud) performAutoScaling(req *request) (any, error) {
	perform, ok := autoScalingActions[req.action]
	if !ok {
		return nil, unknownAction(req)
	}
	return perform(c, req)
}

func (c *Cloud) completeLifecycleAction(req *request) (any, error) {
	r, err := lifecycleAction(req)
	if err != nil {
		return nil, err
	}
	return nil, c.completeHook(r, req.form.Get("LifecycleActionResult"))
}

func (c *Cloud) recordLifecycleActionHeartbeat(req *request) (any, error) {
	r, err := lifecycleAction(req)
	if err != nil {
		return nil, err
	}
	return nil, c.heartbeatHook(r)
}

func (c *Cloud) suspendProcesses(req *request) (any, error) {
	name, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	return noResult{}, c.Suspend(name, req.list("ScalingProcesses.member")...)
}

func (c *Cloud) resumeProcesses(req *request) (any, error) {
	name, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	return noResult{}, c.Resume(name, req.list("ScalingProcesses.member")...)
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
				x.HealthStatus = strings.ToUpper(x.HealthStatus) // in this answer only
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

// named is the group that a Describe call is about, as it sees it.
func (c *Cloud) named(req *request) (*groupView, error) {
	name, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	if g := c.see().group(name); g != nil {
		return g, nil
	}
	return nil, noGroup(name)
}

func (c *Cloud) describeHooks(req *request) (any, error) {
	g, err := c.named(req)
	if err != nil {
		return nil, err
	}
	names := req.list("LifecycleHookNames.member")
	var out struct {
		Hooks members[xmlHook] `xml:"LifecycleHooks"`
	}
	for _, h := range g.Hooks {
		if len(names) == 0 || slices.Contains(names, h.Name) {
			out.Hooks.add(xmlHook{Name: h.Name, Group: g.Name, Transition: string(h.Transition),
				HeartbeatTimeout: int(h.HeartbeatTimeout.Seconds()), GlobalTimeout: int(h.GlobalTimeout.Seconds()),
				DefaultResult: h.DefaultResult, Metadata: h.Metadata})
		}
	}
	return out, nil
}

func (c *Cloud) setDesiredCapacity(req *request) (any, error) {
	name, err := req.need("AutoScalingGroupName")
	if err != nil {
		return nil, err
	}
	if _, err := req.need("DesiredCapacity"); err != nil {
		return nil, err
	}
	n, err := req.number("DesiredCapacity", 0)
	if err != nil {
		return nil, err
	}
	return noResult{}, c.SetDesired(name, n)
}

func (c *Cloud) terminateInGroup(req *request) (any, error) {
	id, err := req.need("InstanceId")
	if err != nil {
		return nil, err
	}
	decrement, err := req.needBoolean("ShouldDecrementDesiredCapacity")
	if err != nil {
		return nil, err
	}
	if err := c.TerminateInGroup(id, decrement); err != nil {
		return nil, err
	}
	return struct{ Activity xmlActivity }{c.lastActivities([]string{id}).Member[0]}, nil
}
