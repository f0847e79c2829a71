package fakeaws

import (
	"time"
)

// step is one call, written once for all clients, and what must come of it. "#n" in the
// parameters stands for the id of the n-th instance launched.
type step struct {
	call string // "service Action", or "Action" of autoscaling
	with string // the parameters, as the API's documentation names them
	err  string // "Code: a part of the message", or "" for success

	// get selects from the answer, or from another call's ("Action: path"), what want lists: the
	// values at a path, those of lists one after another. Ids are written "#n".
	get, want string

	target string // what metadata shows of instances afterwards: "#1 Standby, #2 InService"
	cli    bool   // also by the aws command, which takes most of a second to start
	wait   time.Duration
}

const (
	inGroup   = `{"AutoScalingGroupName":"etcd"}`
	states    = "AutoScalingGroups.Instances.LifecycleState"
	desired   = "AutoScalingGroups.DesiredCapacity"
	poolState = "Instances.LifecycleState"
)

// complete is a completed lifecycle action.
func complete(instance, hook, result string) step {
	return step{call: "CompleteLifecycleAction", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"` + hook +
		`","InstanceId":"` + instance + `","LifecycleActionResult":"` + result + `"}`}
}

// groupIs looks at the group.
func groupIs(path, want string) step {
	return step{call: "DescribeAutoScalingGroups", with: `{"AutoScalingGroupNames":["etcd"]}`, get: path, want: want}
}

func poolIs(path, want string) step {
	return step{call: "DescribeWarmPool", with: inGroup, get: path, want: want}
}

func (s step) byCLI() step { s.cli = true; return s }

// suite is one life of a group: three of 1 to 5, with hooks of a minute.
func suite() []step {
	var all []step
	for _, part := range [][]step{suiteStart, suiteHooks, suiteStandby, suiteDetach, suiteProcesses, suiteUpdate,
		suiteWarmPool, suiteRefresh, suiteTags, suiteRefusals, suiteWeights} {
		all = append(all, part...)
	}
	return all
}

var suiteStart = []step{
	groupIs(states, "Pending:Wait Pending:Wait Pending:Wait").byCLI(),
	{call: "DescribeLifecycleHooks", with: inGroup, get: "LifecycleHooks.LifecycleHookName", want: "join leave"},
	complete("#1", "join", "CONTINUE").byCLI(), complete("#2", "join", "CONTINUE"), complete("#3", "join", "CONTINUE"),
	{call: "CompleteLifecycleAction", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"join","InstanceId":"#1","LifecycleActionResult":"CONTINUE"}`,
		err: "ValidationError: No active Lifecycle Action found with instance ID #1", cli: true},
	{call: "RecordLifecycleActionHeartbeat", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"leave","InstanceId":"#1"}`,
		err: "ValidationError: No active Lifecycle Action found with instance ID #1"},
	groupIs(states, "InService InService InService"),
	{call: "DescribeAutoScalingInstances", with: `{"InstanceIds":["#2"]}`, get: "AutoScalingInstances.HealthStatus", want: "HEALTHY", cli: true},
	{call: "ec2 DescribeInstances", with: `{"InstanceIds":["#1","#2"]}`, get: "Reservations.Instances.State.Name", want: "running running", cli: true},
}

var suiteHooks = []step{
	{call: "PutLifecycleHook", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"audit"}`, err: "ValidationError: must be specified"},
	{call: "PutLifecycleHook", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"audit","LifecycleTransition":"autoscaling:EC2_INSTANCE_TERMINATING","HeartbeatTimeout":29}`,
		err: "ValidationError: Heartbeat Timeout"},
	{call: "PutLifecycleHook", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"audit","LifecycleTransition":"autoscaling:EC2_INSTANCE_SLEEPING"}`,
		err: "ValidationError: EC2_INSTANCE_SLEEPING"},
	{call: "PutLifecycleHook", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"audit","LifecycleTransition":"autoscaling:EC2_INSTANCE_LAUNCHING",` +
		`"HeartbeatTimeout":30,"DefaultResult":"CONTINUE","NotificationMetadata":"who"}`, cli: true},
	{call: "DescribeLifecycleHooks", with: `{"AutoScalingGroupName":"etcd","LifecycleHookNames":["audit"]}`,
		get: "LifecycleHooks.GlobalTimeout", want: "3000"},
	{call: "PutLifecycleHook", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"audit","HeartbeatTimeout":7200}`},
	{call: "DescribeLifecycleHooks", with: `{"AutoScalingGroupName":"etcd","LifecycleHookNames":["audit"]}`,
		get: "LifecycleHooks.GlobalTimeout", want: "172800"},
	{call: "SetDesiredCapacity", with: `{"AutoScalingGroupName":"etcd","DesiredCapacity":4}`},
	complete("#4", "join", "CONTINUE"),
	groupIs(states, "InService InService InService Pending:Wait"), // for the other hook
	// A hook that is deleted abandons a launch: the next instance has only one to wait for.
	{call: "DeleteLifecycleHook", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"audit"}`, cli: true},
	{call: "DeleteLifecycleHook", with: `{"AutoScalingGroupName":"etcd","LifecycleHookName":"audit"}`, err: "ValidationError: No Lifecycle Hook found"},
	complete("#5", "join", "CONTINUE"),
	groupIs(states, "InService InService InService InService"),
	{call: "SetDesiredCapacity", with: `{"AutoScalingGroupName":"etcd","DesiredCapacity":3}`}, // the oldest goes
	complete("#1", "leave", "CONTINUE"),
	groupIs("AutoScalingGroups.Instances.InstanceId", "#2 #3 #5"),
}

var suiteStandby = []step{
	{call: "EnterStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#2"],"ShouldDecrementDesiredCapacity":true}`,
		get: "Activities.Description", want: "Moving EC2 instance to Standby: #2", target: "#2 Standby, #3 InService", cli: true},
	groupIs(states, "Standby InService InService"), groupIs(desired, "2"),
	{call: "EnterStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#2"],"ShouldDecrementDesiredCapacity":true}`,
		err: "ValidationError: The instance #2 is not in InService.", cli: true},
	{call: "EnterStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3","#5"],"ShouldDecrementDesiredCapacity":true}`,
		err: "ValidationError: has min-size=1, max-size=5, and desired-size=2. To place into standby 2 instances"},
	// Nobody minds the health of an instance in standby: it may be stopped.
	{call: "ec2 StopInstances", with: `{"InstanceIds":["#2"]}`, get: "StoppingInstances.CurrentState.Name", want: "stopping", cli: true},
	{call: "ec2 DescribeInstances", with: `{"InstanceIds":["#2"]}`, get: "Reservations.Instances.State.Name", want: "stopped"},
	groupIs(states, "Standby InService InService"),
	{call: "ec2 StartInstances", with: `{"InstanceIds":["#2"]}`, get: "StartingInstances.PreviousState.Name", want: "stopped", target: "#2 Standby"},
	{call: "ExitStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3"]}`, err: "ValidationError: The instance #3 is not in Standby."},
	{call: "ExitStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#2"]}`,
		get: "Activities.Description", want: "Moving EC2 instance out of Standby: #2", target: "#2 InService", cli: true},
	groupIs(states, "InService InService InService"), groupIs(desired, "3"),
	// Without decrement another one comes.
	{call: "EnterStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3"],"ShouldDecrementDesiredCapacity":false}`},
	complete("#6", "join", "CONTINUE"),
	groupIs(states, "InService Standby InService InService"), groupIs(desired, "3"),
}

var suiteDetach = []step{
	{call: "DetachInstances", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3"],"ShouldDecrementDesiredCapacity":true}`,
		get: "Activities.Description", want: "Detaching EC2 instance: #3", target: "#3 Detached, #5 InService", cli: true},
	groupIs("AutoScalingGroups.Instances.InstanceId", "#2 #5 #6"), groupIs(desired, "3"), // standby was not counted
	{call: "DescribeAutoScalingInstances", with: `{"InstanceIds":["#3"]}`, get: "AutoScalingInstances.LifecycleState", want: ""},
	{call: "ec2 DescribeInstances", with: `{"InstanceIds":["#3"]}`, get: "Reservations.Instances.State.Name", want: "running"},
	{call: "DetachInstances", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3"],"ShouldDecrementDesiredCapacity":true}`,
		err: "ValidationError: The instance #3 is not part of Auto Scaling group etcd"},
	{call: "AttachInstances", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3"]}`, target: "#3 InService", cli: true},
	{call: "AttachInstances", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3"]}`,
		err: "ValidationError: Instance #3 is already part of AutoScalingGroup:etcd"},
	groupIs(states, "InService InService InService InService"), groupIs(desired, "4"),
	{call: "DetachInstances", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#3"],"ShouldDecrementDesiredCapacity":true}`},
	groupIs(desired, "3"),
}

var suiteProcesses = []step{
	{call: "SuspendProcesses", with: `{"AutoScalingGroupName":"etcd","ScalingProcesses":["Launch","Sleep"]}`, err: "ValidationError: Sleep"},
	{call: "SuspendProcesses", with: `{"AutoScalingGroupName":"etcd","ScalingProcesses":["Launch","ReplaceUnhealthy"]}`, cli: true},
	groupIs("AutoScalingGroups.SuspendedProcesses.ProcessName", "Launch ReplaceUnhealthy"),
	{call: "TerminateInstanceInAutoScalingGroup", with: `{"InstanceId":"#2","ShouldDecrementDesiredCapacity":false}`,
		get: "Activity.Description", want: "Terminating EC2 instance: #2", target: "#2 Terminated"},
	groupIs(states, "Terminating:Wait InService InService"),
	complete("#2", "leave", "ABANDON"),
	{call: "SetInstanceHealth", with: `{"InstanceId":"#2","HealthStatus":"Unhealthy"}`, err: "ValidationError: No managed instance found for instance ID: #2"},
	{call: "SetInstanceHealth", with: `{"InstanceId":"#5","HealthStatus":"Poorly"}`, err: "ValidationError: Poorly"},
	{call: "SetInstanceHealth", with: `{"InstanceId":"#5","HealthStatus":"Unhealthy"}`, cli: true},
	groupIs("AutoScalingGroups.Instances.HealthStatus", "Unhealthy Healthy"),
	groupIs(states, "InService InService"),
	{call: "ResumeProcesses", with: inGroup},
	groupIs(states, "Terminating:Wait InService Pending:Wait Pending:Wait"),
	complete("#5", "leave", "CONTINUE"), complete("#7", "join", "CONTINUE"), complete("#8", "join", "CONTINUE"),
	groupIs("AutoScalingGroups.Instances.InstanceId", "#6 #7 #8"),
	// A stopped instance is not healthy either; its hook waits for nobody.
	{call: "ec2 StopInstances", with: `{"InstanceIds":["#8"]}`},
	groupIs(states, "InService InService Terminating:Wait Pending:Wait"),
	{call: "DescribeScalingActivities", with: `{"AutoScalingGroupName":"etcd","MaxRecords":2}`, get: "Activities.StatusCode",
		want: "MidLifecycleAction MidLifecycleAction", cli: true},
	complete("#9", "join", "CONTINUE"),
	{call: "DescribeAutoScalingInstances", with: `{"InstanceIds":["#8"]}`, get: "AutoScalingInstances.LifecycleState", want: "", wait: time.Minute},
	{call: "DescribeScalingActivities", with: `{"AutoScalingGroupName":"etcd","MaxRecords":1}`, get: "Activities.Description",
		want: "Launching a new EC2 instance: #9"},
}

var suiteUpdate = []step{
	{call: "UpdateAutoScalingGroup", with: `{"AutoScalingGroupName":"etcd","MinSize":6}`, err: "ValidationError: Max bound, 5, must be greater than or equal to min bound, 6"},
	{call: "UpdateAutoScalingGroup", with: `{"AutoScalingGroupName":"etcd","DesiredCapacity":6}`,
		err: "ValidationError: Desired capacity:6 must be between the specified min size:1 and max size:5"},
	{call: "UpdateAutoScalingGroup", with: `{"AutoScalingGroupName":"etcd","CapacityRebalance":true}`, err: "ValidationError: CapacityRebalance"},
	{call: "UpdateAutoScalingGroup", with: `{"AutoScalingGroupName":"etcd","MinSize":2,"MaxSize":6,"HealthCheckGracePeriod":90}`, cli: true},
	groupIs("AutoScalingGroups.MaxSize", "6"), groupIs("AutoScalingGroups.HealthCheckGracePeriod", "90"), groupIs(desired, "3"),
	{call: "SetInstanceHealth", with: `{"InstanceId":"#9","HealthStatus":"Unhealthy"}`}, // within the grace period
	groupIs("AutoScalingGroups.Instances.HealthStatus", "Healthy Healthy Healthy"),
	{call: "TerminateInstanceInAutoScalingGroup", with: `{"InstanceId":"#1","ShouldDecrementDesiredCapacity":false}`, err: "ValidationError: No managed instance found for instance ID: #1"},
}

var suiteWarmPool = []step{
	{call: "DescribeWarmPool", with: inGroup, get: "WarmPoolConfiguration.PoolState", want: ""},
	{call: "DeleteWarmPool", with: inGroup, err: "ValidationError: No warm pool"},
	{call: "PutWarmPool", with: `{"AutoScalingGroupName":"etcd","PoolState":"Stopped","MinSize":1,"MaxGroupPreparedCapacity":5,"InstanceReusePolicy":{"ReuseOnScaleIn":true}}`,
		target: "#10 Warmed:Stopped, #11 Warmed:Stopped", cli: true},
	poolIs(poolState, "Warmed:Pending:Wait Warmed:Pending:Wait").byCLI(),
	groupIs(states, "InService InService InService"), groupIs("AutoScalingGroups.WarmPoolSize", "2"),
	{call: "DescribeAutoScalingInstances", with: `{"InstanceIds":["#10"]}`, get: "AutoScalingInstances.LifecycleState", want: "Warmed:Pending:Wait"},
	complete("#10", "join", "CONTINUE"), complete("#11", "join", "CONTINUE"),
	poolIs(poolState, "Warmed:Stopped Warmed:Stopped"), poolIs("WarmPoolConfiguration.InstanceReusePolicy.ReuseOnScaleIn", "true"),
	{call: "ec2 DescribeInstances", with: `{"InstanceIds":["#10"]}`, get: "Reservations.Instances.State.Name", want: "stopped"},
	// Out of the pool into service, through the launching hook a second time.
	{call: "SetDesiredCapacity", with: `{"AutoScalingGroupName":"etcd","DesiredCapacity":4}`, target: "#10 InService"},
	groupIs(states, "InService InService InService Pending:Wait"), poolIs(poolState, "Warmed:Stopped"),
	complete("#10", "join", "CONTINUE"),
	// And back, through the terminating one.
	{call: "SetDesiredCapacity", with: `{"AutoScalingGroupName":"etcd","DesiredCapacity":3}`, target: "#6 Warmed:Stopped"},
	groupIs(states, "InService InService InService"), poolIs(poolState, "Warmed:Pending:Wait Warmed:Stopped"),
	complete("#6", "leave", "CONTINUE"),
	poolIs(poolState, "Warmed:Stopped Warmed:Stopped"), poolIs("Instances.InstanceId", "#6 #11"),
	{call: "DeleteWarmPool", with: inGroup, cli: true},
	poolIs(poolState, "Warmed:Terminating:Wait Warmed:Terminating:Wait"), poolIs("WarmPoolConfiguration.Status", "PendingDelete"),
	complete("#6", "leave", "CONTINUE"), complete("#11", "leave", "ABANDON"),
	poolIs(poolState, ""), poolIs("WarmPoolConfiguration.PoolState", ""),
}

var suiteRefresh = []step{
	{call: "CancelInstanceRefresh", with: inGroup, err: "ActiveInstanceRefreshNotFound: "},
	{call: "StartInstanceRefresh", with: `{"AutoScalingGroupName":"etcd","Preferences":{"MaxHealthyPercentage":110}}`, err: "ValidationError: MinHealthyPercentage"},
	{call: "StartInstanceRefresh", with: `{"AutoScalingGroupName":"etcd","Preferences":{"AutoRollback":true}}`, err: "ValidationError: AutoRollback"},
	// One more is launched before one is told to go.
	{call: "StartInstanceRefresh", with: `{"AutoScalingGroupName":"etcd","Preferences":{"MinHealthyPercentage":100,"MaxHealthyPercentage":110,"InstanceWarmup":60,"SkipMatching":true},` +
		`"DesiredConfiguration":{"LaunchTemplate":{"LaunchTemplateName":"etcd","Version":"2"}}}`, cli: true},
	{call: "StartInstanceRefresh", with: inGroup, err: "InstanceRefreshInProgress: "},
	groupIs("AutoScalingGroups.Instances.InstanceId", "#7 #9 #10 #12"), groupIs(states, "InService InService InService Pending:Wait"),
	complete("#12", "join", "CONTINUE"),
	groupIs(states, "InService InService InService InService"), // not warmed up
	{call: "DescribeInstanceRefreshes", with: inGroup, get: "InstanceRefreshes.PercentageComplete", want: "0", wait: time.Minute, cli: true},
	groupIs(states, "Terminating:Wait InService InService InService Pending:Wait"),
	groupIs("AutoScalingGroups.Instances.LaunchTemplate.Version", "1 1 1 2 2"),
	complete("#7", "leave", "CONTINUE"),
	{call: "DescribeInstanceRefreshes", with: inGroup, get: "InstanceRefreshes.InstancesToUpdate", want: "2"},
	{call: "CancelInstanceRefresh", with: inGroup, cli: true},
	{call: "DescribeInstanceRefreshes", with: inGroup, get: "InstanceRefreshes.Status", want: "Cancelled"},
	{call: "DescribeAutoScalingInstances", with: `{"InstanceIds":["#9"]}`, get: "AutoScalingInstances.LifecycleState", want: "Terminating:Wait"}, // one too many
	complete("#9", "leave", "CONTINUE"),
	complete("#13", "join", "CONTINUE"),
	groupIs("AutoScalingGroups.Instances.InstanceId", "#10 #12 #13"), groupIs(states, "InService InService InService"),
	// What is left of the old version, one first told to go.
	{call: "StartInstanceRefresh", with: `{"AutoScalingGroupName":"etcd","Preferences":{"SkipMatching":true}}`},
	groupIs(states, "Terminating:Wait InService InService Pending:Wait"),
	complete("#10", "leave", "CONTINUE"), complete("#14", "join", "CONTINUE"),
	{call: "DescribeInstanceRefreshes", with: inGroup, get: "InstanceRefreshes.Status", want: "Successful Cancelled"},
	{call: "DescribeInstanceRefreshes", with: inGroup, get: "InstanceRefreshes.PercentageComplete", want: "100 33"},
}

var suiteTags = []step{
	{call: "CreateOrUpdateTags", with: `{"Tags":[{"ResourceId":"etcd","ResourceType":"auto-scaling-group","Key":"team","Value":"a","PropagateAtLaunch":true}]}`, cli: true},
	{call: "DescribeTags", with: `{"Filters":[{"Name":"auto-scaling-group","Values":["etcd"]}]}`, get: "Tags.Value", want: "a", cli: true},
	{call: "DescribeAutoScalingGroups", with: `{"Filters":[{"Name":"tag:team","Values":["a"]}]}`, get: desired, want: "3"},
	{call: "DeleteTags", with: `{"Tags":[{"ResourceId":"etcd","ResourceType":"auto-scaling-group","Key":"team"}]}`},
	{call: "DescribeTags", with: `{}`, get: "Tags.Key", want: ""},
}

// suiteRefusals are calls for a group or an instance that is not there, or in no state for it.
var suiteRefusals = func() []step {
	const nobody = `"AutoScalingGroupName":"nobody"`
	var out []step
	for call, more := range map[string]string{
		"SetDesiredCapacity": `,"DesiredCapacity":1`, "SuspendProcesses": "", "ResumeProcesses": "", "UpdateAutoScalingGroup": `,"MinSize":1`,
		"DescribeLifecycleHooks": "", "DescribeWarmPool": "", "PutWarmPool": "", "DeleteWarmPool": "", "StartInstanceRefresh": "",
		"CancelInstanceRefresh": "", "DescribeInstanceRefreshes": "", "DescribeScalingActivities": "",
		"EnterStandby":     `,"InstanceIds":["#14"],"ShouldDecrementDesiredCapacity":true`,
		"ExitStandby":      `,"InstanceIds":["#14"]`,
		"DetachInstances":  `,"InstanceIds":["#14"],"ShouldDecrementDesiredCapacity":true`,
		"AttachInstances":  `,"InstanceIds":["#14"]`,
		"PutLifecycleHook": `,"LifecycleHookName":"x"`, "DeleteLifecycleHook": `,"LifecycleHookName":"x"`,
	} {
		out = append(out, step{call: call, with: "{" + nobody + more + "}", err: "ValidationError: AutoScalingGroup name not found"})
	}
	return append(out,
		step{call: "ec2 TerminateInstances", with: `{"InstanceIds":["#3"]}`, get: "TerminatingInstances.CurrentState.Name", want: "shutting-down"},
		step{call: "ec2 StartInstances", with: `{"InstanceIds":["#3"]}`, err: "IncorrectInstanceState: can be started", cli: true},
		step{call: "ec2 StopInstances", with: `{"InstanceIds":["i-00000000000000001"]}`, err: "InvalidInstanceID.NotFound: i-00000000000000001"},
	)
}()

// Instances that count more than one.
var suiteWeights = func() []step {
	const overrides, weights = "AutoScalingGroups.MixedInstancesPolicy.LaunchTemplate.Overrides.", "AutoScalingGroups.Instances.WeightedCapacity"
	update := func(overrides, more string) string {
		return `{"AutoScalingGroupName":"etcd","MixedInstancesPolicy":{"LaunchTemplate":{"Overrides":[` + overrides + `]}}` + more + `}`
	}
	return []step{
		groupIs(weights, ""),
		{call: "UpdateAutoScalingGroup", with: update(`{"InstanceType":"m7g.medium","WeightedCapacity":"0"}`, ""), err: "ValidationError: WeightedCapacity"},
		{call: "UpdateAutoScalingGroup", with: update(`{"InstanceType":"m7g.medium","WeightedCapacity":"2"},{"InstanceType":"m7g.large"}`, ""),
			err: "ValidationError: all instance types"},
		{call: "UpdateAutoScalingGroup", with: update(`{"InstanceType":"m7g.medium","LaunchTemplateSpecification":{"LaunchTemplateName":"other"}}`, ""),
			err: "ValidationError: LaunchTemplateName"},
		{call: "UpdateAutoScalingGroup", with: update(`{"InstanceType":"m7g.large","WeightedCapacity":"2"},{"InstanceType":"m7g.medium","WeightedCapacity":"1"}`,
			`,"DesiredCapacity":5`), cli: true},
		groupIs(overrides+"InstanceType", "m7g.large m7g.medium"), groupIs(overrides+"WeightedCapacity", "2 1").byCLI(),
		groupIs("AutoScalingGroups.LaunchTemplate.Version", ""),
		groupIs("AutoScalingGroups.Instances.InstanceType", "m7g.medium m7g.medium m7g.medium m7g.large"),
		groupIs(weights, "1 1 1 2"), groupIs(states, "InService InService InService Pending:Wait"),
		complete("#15", "join", "CONTINUE"),
		{call: "DescribeAutoScalingInstances", with: `{"InstanceIds":["#15"]}`, get: "AutoScalingInstances.WeightedCapacity", want: "2", cli: true},
		// Of the large one the desired capacity loses two.
		{call: "EnterStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#15"],"ShouldDecrementDesiredCapacity":true}`},
		groupIs(desired, "3"), groupIs(states, "InService InService InService Standby"),
		{call: "ExitStandby", with: `{"AutoScalingGroupName":"etcd","InstanceIds":["#15"]}`},
		groupIs(desired, "5"), groupIs(states, "InService InService InService InService"),
		// The oldest ones go, as long as no less than is desired is left.
		{call: "SetDesiredCapacity", with: `{"AutoScalingGroupName":"etcd","DesiredCapacity":3}`},
		groupIs(states, "Terminating:Wait Terminating:Wait InService InService"),
	}
}()
