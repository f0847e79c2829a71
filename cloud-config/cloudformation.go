package cloudconfig

import (
	"cmp"
	"slices"

	"github.com/quorumd/quorumd/agent/config"
)

// The hooks' names, unless the configuration has others.
const (
	launchHook    = "quorumd-launch"
	terminateHook = "quorumd-terminate"
	// hookTimeout is in seconds. The agent extends it at a third; AWS's limit is a
	// hundred times this, or 48 hours.
	hookTimeout = 300
)

// AWS's functions in a template.
func ref(name string) object { return object{{key: "Ref", value: name}} }
func sub(text string) object { return object{{key: "Fn::Sub", value: text}} }
func getAtt(name, attr string) object {
	return object{{key: "Fn::GetAtt", value: []string{name, attr}}}
}
func findInMap(m, second string) object {
	return object{{key: "Fn::FindInMap", value: []any{m, ref("Size"), second}}}
}

// renderCloudFormation writes the template of a whole group: everything that a
// cluster needs in a VPC that exists. The user-data is a plain text in it, without
// Fn::Sub, so nothing in it can be taken for a variable.
func renderCloudFormation(f Format, userData string, c config.Config) ([]byte, error) {
	policy, err := rolePolicy(
		sub("arn:${AWS::Partition}:autoscaling:${AWS::Region}:${AWS::AccountId}:autoScalingGroup:*:autoScalingGroupName/${ClusterName}"),
		ref("AWS::Region"))
	if err != nil {
		return nil, err
	}
	resources := object{
		{key: "Role", value: role(policy)},
		{key: "InstanceProfile", value: resource("AWS::IAM::InstanceProfile", object{{key: "Roles", value: []any{ref("Role")}}})},
		{key: "MembersSecurityGroup", value: resource("AWS::EC2::SecurityGroup", object{
			{key: "GroupDescription", value: "etcd members and their agents, between themselves"},
			{key: "VpcId", value: ref("Vpc")},
		}), note: "Clients get in by a group of their own, or by another rule for this one."},
	}
	resources = append(resources, ingress(c)...)
	resources = append(resources,
		pair{key: "LaunchTemplate", value: launchTemplate(userData)},
		pair{key: "Group", value: group(c)})
	out, err := yamlOf(object{
		{key: "AWSTemplateFormatVersion", value: "2010-09-09"},
		{key: "Description", value: "An etcd cluster in an auto scaling group, kept in agreement by quorumd"},
		{key: "Parameters", value: parameters(f)},
		{key: "Mappings", value: mappings(), note: "One machine more than the size, so that a replacement comes before the old one\ngoes. The percentages round to the same."},
		{key: "Resources", value: resources},
		{key: "Outputs", value: object{
			{key: "GroupName", value: object{{key: "Value", value: ref("Group")}}},
			{key: "SecurityGroup", value: object{{key: "Value", value: getAtt("MembersSecurityGroup", "GroupId")}}},
		}},
	})
	return slices.Concat([]byte("# aws cloudformation deploy --capabilities CAPABILITY_IAM --template-file ...\n"), out), err
}

func resource(kind string, properties object) object {
	return object{{key: "Type", value: kind}, {key: "Properties", value: properties}}
}

func parameters(f Format) object {
	image := "AMI of a systemd Linux with cloud-init"
	switch f.system() {
	case flatcar:
		image = "AMI of Flatcar Container Linux"
	case fedoraCoreOS:
		image = "AMI of Fedora CoreOS"
	}
	parameter := func(kind, words string, more ...pair) object {
		return append(object{{key: "Type", value: kind}, {key: "Description", value: words}}, more...)
	}
	return object{
		{key: "ClusterName", value: parameter("String", "Name of the group, and of the cluster in it",
			pair{key: "AllowedPattern", value: groupPattern.String()})},
		{key: "Size", value: parameter("Number", "How many members; an even number would only add one more that can fail",
			pair{key: "Default", value: 3}, pair{key: "AllowedValues", value: []int{1, 3, 5, 7}})},
		{key: "Vpc", value: parameter("AWS::EC2::VPC::Id", "Where the members are")},
		{key: "Subnets", value: parameter("List<AWS::EC2::Subnet::Id>", "In three availability zones, so that losing one leaves a majority; with a way out to AWS's API")},
		{key: "Image", value: parameter("AWS::EC2::Image::Id", image)},
		{key: "InstanceType", value: parameter("String", "etcd wants a disk that syncs quickly, and CPU time that is not taken away",
			pair{key: "Default", value: "m7i.large"})},
	}
}

func mappings() object {
	size := func(surge, percent int) object {
		return object{{key: "Surge", value: surge}, {key: "Percent", value: percent}}
	}
	return object{{key: "Sizes", value: object{
		{key: "1", value: size(2, 200)}, {key: "3", value: size(4, 134)},
		{key: "5", value: size(6, 120)}, {key: "7", value: size(8, 115)},
	}}}
}

func role(policy object) object {
	return resource("AWS::IAM::Role", object{
		{key: "AssumeRolePolicyDocument", value: object{
			{key: "Version", value: "2012-10-17"},
			{key: "Statement", value: []object{{
				{key: "Effect", value: "Allow"},
				{key: "Principal", value: object{{key: "Service", value: sub("ec2.${AWS::URLSuffix}")}}},
				{key: "Action", value: "sts:AssumeRole"},
			}}},
		}},
		{key: "Policies", value: []object{{
			{key: "PolicyName", value: "quorumd"},
			{key: "PolicyDocument", value: policy},
		}}, note: "Names the group by ClusterName and not by a reference, which would be a circle:\nthe group needs the launch template, that the profile, that this role."},
	})
}

// ingress opens three ports between members, and to nobody else.
func ingress(c config.Config) object {
	var out object
	for _, p := range []struct {
		name, words string
		port        int
	}{
		{"ClientIngress", "etcd clients: members and agents", c.Etcd.ClientPort},
		{"PeerIngress", "etcd peers", c.Etcd.PeerPort},
		{"AgentIngress", "quorumd agents, read-only", c.Listen.PeerPort()},
	} {
		out = append(out, pair{key: p.name, value: resource("AWS::EC2::SecurityGroupIngress", object{
			{key: "Description", value: p.words},
			{key: "GroupId", value: getAtt("MembersSecurityGroup", "GroupId")},
			{key: "SourceSecurityGroupId", value: getAtt("MembersSecurityGroup", "GroupId")},
			{key: "IpProtocol", value: "tcp"},
			{key: "FromPort", value: p.port},
			{key: "ToPort", value: p.port},
		})})
	}
	return out
}

func launchTemplate(userData string) object {
	return resource("AWS::EC2::LaunchTemplate", object{{key: "LaunchTemplateData", value: object{
		{key: "ImageId", value: ref("Image")},
		{key: "InstanceType", value: ref("InstanceType")},
		{key: "IamInstanceProfile", value: object{{key: "Arn", value: getAtt("InstanceProfile", "Arn")}}},
		{key: "SecurityGroupIds", value: []any{getAtt("MembersSecurityGroup", "GroupId")}},
		{key: "MetadataOptions", value: object{
			{key: "HttpEndpoint", value: "enabled"},
			{key: "HttpTokens", value: "required"},
			{key: "HttpPutResponseHopLimit", value: 1},
		}, note: "IMDSv2 only, and not from containers with a network of their own: who reads\nmetadata has the role's rights."},
		{key: "UserData", value: object{{key: "Fn::Base64", value: userData}}},
	}}})
}

// group is the auto scaling group. Its hooks are declared in it: a hook made after
// the group comes too late for the first instances.
func group(c config.Config) object {
	hook := func(name, transition, otherwise string) object {
		return object{
			{key: "LifecycleHookName", value: name},
			{key: "LifecycleTransition", value: "autoscaling:EC2_INSTANCE_" + transition},
			{key: "HeartbeatTimeout", value: hookTimeout},
			{key: "DefaultResult", value: otherwise},
		}
	}
	properties := object{
		{key: "AutoScalingGroupName", value: ref("ClusterName")},
		{key: "VPCZoneIdentifier", value: ref("Subnets")},
		{key: "LaunchTemplate", value: object{
			{key: "LaunchTemplateId", value: ref("LaunchTemplate")},
			{key: "Version", value: getAtt("LaunchTemplate", "LatestVersionNumber")},
		}},
		{key: "MinSize", value: "0", note: "Not the size: it would forbid Standby, and to detach a member."},
		{key: "DesiredCapacity", value: ref("Size")},
		{key: "MaxSize", value: findInMap("Sizes", "Surge")},
		{key: "HealthCheckType", value: "EC2"},
		{key: "InstanceMaintenancePolicy", value: object{
			{key: "MinHealthyPercentage", value: 100},
			{key: "MaxHealthyPercentage", value: findInMap("Sizes", "Percent")},
		}},
		{key: "LifecycleHookSpecificationList", value: []object{
			hook(cmp.Or(c.Lifecycle.LaunchHook, launchHook), "LAUNCHING", "ABANDON"),
			hook(cmp.Or(c.Lifecycle.TerminateHook, terminateHook), "TERMINATING", "CONTINUE"),
		}},
		{key: "Tags", value: []object{{
			{key: "Key", value: "Name"}, {key: "Value", value: ref("ClusterName")}, {key: "PropagateAtLaunch", value: true}}}},
	}
	return append(resource("AWS::AutoScaling::AutoScalingGroup", properties), pair{
		key: "UpdatePolicy",
		value: object{{key: "AutoScalingRollingUpdate", value: object{
			{key: "MinInstancesInService", value: ref("Size")},
			{key: "MaxBatchSize", value: 1},
			{key: "PauseTime", value: "PT0S"},
			{key: "WaitOnResourceSignals", value: false},
			{key: "SuspendProcesses", value: []string{"AlarmNotification", "AZRebalance", "ScheduledActions"}},
		}}},
		note: "One at a time, the new one first. The launch hook ends when the new member votes,\nso the update goes as fast as etcd can take it: no pause, no signals.",
	})
}
