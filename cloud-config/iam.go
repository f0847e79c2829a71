package cloudconfig

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/quorumd/quorumd/lifecycle"
)

// scope is how far AWS lets a policy narrow an action down.
type scope int

const (
	// unscoped: AWS knows no resource and no condition of the group for it. These
	// only read. The region is all that can be asked for.
	unscoped scope = iota + 1
	// oneGroup: the action names its group. AWS cannot narrow it further, to the
	// instance that calls: a machine of the group could complete another's hook.
	oneGroup
	// oneTag: the group, and the only tag that may be written or deleted.
	oneTag
)

// scopes tells for each of [lifecycle.Permissions] how it is scoped; from AWS's
// service authorization reference, "Actions, resources, and condition keys" for
// Amazon EC2 Auto Scaling and Amazon EC2.
func scopes() map[string]scope {
	return map[string]scope{
		"autoscaling:DescribeAutoScalingGroups":      unscoped,
		"autoscaling:DescribeAutoScalingInstances":   unscoped,
		"autoscaling:DescribeLifecycleHooks":         unscoped,
		"ec2:DescribeInstances":                      unscoped,
		"autoscaling:CompleteLifecycleAction":        oneGroup,
		"autoscaling:RecordLifecycleActionHeartbeat": oneGroup,
		"autoscaling:CreateOrUpdateTags":             oneTag,
		"autoscaling:DeleteTags":                     oneTag,
	}
}

// rolePolicy is the least that the agent's role must be allowed. group is the ARN
// of the group and region its region, each a text or CloudFormation's way to make
// one; an empty region is none.
//
// The Sids say in JSON, which has no comments, what the comments say in YAML.
func rolePolicy(group, region any) (object, error) {
	actions := map[scope][]string{}
	known := scopes()
	for _, a := range lifecycle.Permissions() {
		s, ok := known[a]
		if !ok {
			return nil, fmt.Errorf("no scope is known for the permission %s", a)
		}
		actions[s] = append(actions[s], a)
	}
	read := object{
		{key: "Sid", value: "ReadOnlyWhichAWSCannotScope",
			note: "AWS knows no resource for these: they read all groups and instances of the\nregion, or nothing."},
		{key: "Effect", value: "Allow"}, {key: "Action", value: actions[unscoped]}, {key: "Resource", value: "*"},
	}
	if region != "" {
		read = append(read, pair{key: "Condition", value: object{
			{key: "StringEquals", value: object{{key: "aws:RequestedRegion", value: region}}}}})
	}
	hooks := object{
		{key: "Sid", value: "HooksOfThisGroup",
			note: "AWS cannot scope these to the instance that calls, only to its group."},
		{key: "Effect", value: "Allow"}, {key: "Action", value: actions[oneGroup]}, {key: "Resource", value: group},
	}
	tag := object{
		{key: "Sid", value: "OneTagOfThisGroup"},
		{key: "Effect", value: "Allow"}, {key: "Action", value: actions[oneTag]}, {key: "Resource", value: group},
		{key: "Condition", value: object{
			{key: "ForAllValues:StringEquals", value: object{{key: "aws:TagKeys", value: []string{lifecycle.ClusterTag}}}},
			{key: "Null", value: object{{key: "aws:TagKeys", value: "false"}},
				note: "A request that names no tag satisfies ForAllValues."},
		}},
	}
	return object{
		{key: "Version", value: "2012-10-17"},
		{key: "Statement", value: []object{read, hooks, tag}},
	}, nil
}

// groupARN is the group's ARN, with * for what was not said. The star between is an
// id that AWS makes up.
func groupARN(o Options) string {
	partition := "aws"
	switch {
	case strings.HasPrefix(o.Region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(o.Region, "us-gov-"):
		partition = "aws-us-gov"
	case o.Region == "":
		partition = "*"
	}
	return fmt.Sprintf("arn:%s:autoscaling:%s:%s:autoScalingGroup:*:autoScalingGroupName/%s",
		partition, cmp.Or(o.Region, "*"), cmp.Or(o.Account, "*"), o.Group)
}
