package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/quorumd/quorumd/agent/policy"
)

const (
	// ClusterTag is the key of the group's tag with the cluster's id.
	ClusterTag = "quorumd:cluster-id"

	// tagResource is the only resource type that Auto Scaling's tags have.
	tagResource = "auto-scaling-group"

	// hooksFor is how long a group's hooks are kept: they are part of how the
	// group was built, not of what it does.
	hooksFor = 10 * time.Minute
	// hooksAnew is how soon they are read again while a transition is open for which
	// none is known.
	hooksAnew = 10 * time.Second
)

// Group reads the auto scaling group that this instance belongs to, or [ErrNoGroup].
//
// Which group that is, is asked once. It is asked again when the group is gone, or
// no longer lists this instance; an instance that was detached goes on seeing the
// group it was in, without itself. An instance in the warm pool, which the group does not
// list, sees the group with itself, but no other instance of the pool. Hooks may be up to
// 10 min old.
func (f *Fleet) Group(ctx context.Context) (policy.Group, error) {
	name, err := f.groupName(ctx)
	if err != nil {
		return policy.Group{}, err
	}
	g, found, err := f.readGroup(ctx, name)
	if err != nil {
		return policy.Group{}, err
	}
	if _, listed := g.Find(f.cfg.Instance); !found || !listed {
		if g, err = f.lookAgain(ctx, g, found); err != nil {
			return policy.Group{}, err
		}
	}
	g.Hooks, err = f.readHooks(ctx, g)
	var missing *MissingPermission
	if errors.As(err, &missing) {
		// A right that is missing takes the hooks away, not the group.
		g.HooksErr, err = missing.Error(), nil
	}
	if err != nil {
		return policy.Group{}, err
	}
	return g, nil
}

// lookAgain is for a known group that is gone or does not list this instance.
func (f *Fleet) lookAgain(ctx context.Context, known policy.Group, found bool) (policy.Group, error) {
	name, state, err := f.findGroup(ctx)
	switch {
	case err != nil:
		return policy.Group{}, err
	case name == "" && found, found && name == known.Name:
		if strings.HasPrefix(string(state), "Warmed:") {
			known.Instances = append(known.Instances, policy.GroupInstance{ID: f.cfg.Instance, State: state})
			sortInstances(known.Instances)
		}
		return known, nil // in the warm pool, detached, or on its way in or out
	case name == "":
		f.adopt("")
		return policy.Group{}, fmt.Errorf("read group: %w", ErrNoGroup)
	}
	f.adopt(name)
	g, found, err := f.readGroup(ctx, name)
	if err == nil && !found {
		err = fmt.Errorf("read group %s: it does not exist", name)
	}
	return g, err
}

// GroupName gives the name of this instance's group, which needs no right but
// autoscaling:DescribeAutoScalingInstances; [ErrNoGroup] where it is in none.
func (f *Fleet) GroupName(ctx context.Context) (string, error) { return f.groupName(ctx) }

// groupName gives the name of this instance's group, asked for only once.
func (f *Fleet) groupName(ctx context.Context) (string, error) {
	f.mu.Lock()
	name := f.group
	f.mu.Unlock()
	if name != "" {
		return name, nil
	}
	name, _, err := f.findGroup(ctx)
	if err != nil {
		return "", err
	}
	if name == "" {
		return "", fmt.Errorf("find group of %s: %w", f.cfg.Instance, ErrNoGroup)
	}
	f.adopt(name)
	return name, nil
}

// adopt remembers the group's name; another group has other hooks.
func (f *Fleet) adopt(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.group != name {
		f.group, f.hooks, f.hooksAt = name, nil, time.Time{}
	}
}

// findGroup asks which group this instance belongs to, and in which state; empty: none.
func (f *Fleet) findGroup(ctx context.Context) (name string, state policy.LifecycleState, err error) {
	in := &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{string(f.cfg.Instance)}}
	for range maxPages {
		out, err := call(ctx, f, serviceAutoScaling, "DescribeAutoScalingInstances", f.asg.DescribeAutoScalingInstances, in)
		if err != nil {
			return "", "", fmt.Errorf("find group of %s: %w", f.cfg.Instance, err)
		}
		for _, i := range out.AutoScalingInstances {
			if aws.ToString(i.InstanceId) != string(f.cfg.Instance) {
				continue
			}
			if aws.ToString(i.AutoScalingGroupName) == "" {
				return "", "", fmt.Errorf("find group of %s: %w", f.cfg.Instance, malformed("no group name"))
			}
			return *i.AutoScalingGroupName, policy.LifecycleState(aws.ToString(i.LifecycleState)), nil
		}
		if aws.ToString(out.NextToken) == "" {
			return "", "", nil
		}
		in.NextToken = out.NextToken
	}
	return "", "", fmt.Errorf("find group of %s: %w", f.cfg.Instance, malformed("more than %d pages", maxPages))
}

// readGroup reads a group without its hooks, and reports whether it exists.
func (f *Fleet) readGroup(ctx context.Context, name string) (g policy.Group, found bool, err error) {
	in := &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}}
	for range maxPages {
		out, err := call(ctx, f, serviceAutoScaling, "DescribeAutoScalingGroups", f.asg.DescribeAutoScalingGroups, in)
		if err != nil {
			return policy.Group{}, false, fmt.Errorf("read group %s: %w", name, err)
		}
		for i := range out.AutoScalingGroups {
			if aws.ToString(out.AutoScalingGroups[i].AutoScalingGroupName) != name {
				continue
			}
			g, err := convertGroup(&out.AutoScalingGroups[i])
			if err != nil {
				return policy.Group{}, false, fmt.Errorf("read group %s: %w", name, err)
			}
			return g, true, nil
		}
		if aws.ToString(out.NextToken) == "" {
			return policy.Group{}, false, nil
		}
		in.NextToken = out.NextToken
	}
	return policy.Group{}, false, fmt.Errorf("read group %s: %w", name, malformed("more than %d pages", maxPages))
}

// convertGroup puts AWS's group into policy's words.
func convertGroup(a *types.AutoScalingGroup) (policy.Group, error) {
	g := policy.Group{
		Name: aws.ToString(a.AutoScalingGroupName), ARN: aws.ToString(a.AutoScalingGroupARN),
		Desired:  int(aws.ToInt32(a.DesiredCapacity)),
		Deleting: aws.ToString(a.Status) == "Delete in progress",
		Weighted: countsUnits(a),
	}
	if g.ARN == "" || a.DesiredCapacity == nil || g.Desired < 0 {
		return policy.Group{}, malformed("group without ARN or desired capacity")
	}
	for _, p := range a.SuspendedProcesses {
		g.LaunchSuspended = g.LaunchSuspended || aws.ToString(p.ProcessName) == "Launch"
	}
	for _, t := range a.Tags {
		if aws.ToString(t.Key) == ClusterTag {
			g.ClusterTag = aws.ToString(t.Value)
		}
	}
	for _, i := range a.Instances {
		e := policy.GroupInstance{ID: policy.InstanceID(aws.ToString(i.InstanceId)),
			State: policy.LifecycleState(i.LifecycleState)}
		if !instanceID.MatchString(string(e.ID)) || e.State == "" {
			return policy.Group{}, malformed("instance %.64q in state %.64q", e.ID, e.State)
		}
		g.Weighted = g.Weighted || aws.ToString(i.WeightedCapacity) != ""
		g.Instances = append(g.Instances, e)
	}
	sortInstances(g.Instances)
	for i := 1; i < len(g.Instances); i++ {
		if g.Instances[i].ID == g.Instances[i-1].ID {
			return policy.Group{}, malformed("instance %s is listed twice", g.Instances[i].ID)
		}
	}
	return g, nil
}

func sortInstances(all []policy.GroupInstance) {
	slices.SortFunc(all, func(a, b policy.GroupInstance) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// countsUnits reports whether the desired capacity counts something else than
// instances: vCPUs or memory, or weights that instance types have.
func countsUnits(a *types.AutoScalingGroup) bool {
	if t := aws.ToString(a.DesiredCapacityType); t != "" && t != "units" {
		return true
	}
	if a.MixedInstancesPolicy == nil || a.MixedInstancesPolicy.LaunchTemplate == nil {
		return false
	}
	return slices.ContainsFunc(a.MixedInstancesPolicy.LaunchTemplate.Overrides, func(o types.LaunchTemplateOverrides) bool {
		return aws.ToString(o.WeightedCapacity) != ""
	})
}
