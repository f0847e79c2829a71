package fakeaws

// members is a list as Auto Scaling writes it. An empty one is an empty element: with
// no element at all, some clients answer no list instead of an empty one.
type members[T any] struct {
	Member []T `xml:"member"`
}

func (l *members[T]) add(v T) { l.Member = append(l.Member, v) }

// items is a list as EC2 writes it.
type items[T any] struct {
	Item []T `xml:"item"`
}

func (l *items[T]) add(v T) { l.Item = append(l.Item, v) }

type xmlGroups struct {
	Groups    members[xmlGroup] `xml:"AutoScalingGroups"`
	NextToken string            `xml:",omitempty"`
}

type xmlGroup struct {
	Name               string `xml:"AutoScalingGroupName"`
	ARN                string `xml:"AutoScalingGroupARN"`
	LaunchTemplate     xmlLaunchTemplate
	MinSize            int
	MaxSize            int
	DesiredCapacity    int
	DefaultCooldown    int
	Zones              members[string] `xml:"AvailabilityZones"`
	HealthCheckType    string          `xml:"HealthCheckType"`
	GracePeriod        int             `xml:"HealthCheckGracePeriod"`
	Instances          members[xmlGroupInstance]
	CreatedTime        string
	SuspendedProcesses members[xmlSuspension]
	VPCZoneIdentifier  string
	Status             string `xml:",omitempty"`
	Tags               members[xmlTag]
	Policies           members[string] `xml:"TerminationPolicies"`
	Protected          bool            `xml:"NewInstancesProtectedFromScaleIn"`
}

type xmlLaunchTemplate struct {
	ID      string `xml:"LaunchTemplateId"`
	Name    string `xml:"LaunchTemplateName"`
	Version string
}

type xmlGroupInstance struct {
	ID             string `xml:"InstanceId"`
	Group          string `xml:"AutoScalingGroupName,omitempty"`
	Type           string `xml:"InstanceType"`
	Zone           string `xml:"AvailabilityZone"`
	LifecycleState string
	HealthStatus   string
	LaunchTemplate xmlLaunchTemplate
	ImageID        string `xml:"ImageId"`
	Protected      bool   `xml:"ProtectedFromScaleIn"`
}

type xmlSuspension struct {
	Process string `xml:"ProcessName"`
	Reason  string `xml:"SuspensionReason"`
}

type xmlTag struct {
	Group     string `xml:"ResourceId"`
	Type      string `xml:"ResourceType"`
	Key       string
	Value     string
	Propagate bool `xml:"PropagateAtLaunch"`
}

type xmlHook struct {
	Name             string `xml:"LifecycleHookName"`
	Group            string `xml:"AutoScalingGroupName"`
	Transition       string `xml:"LifecycleTransition"`
	HeartbeatTimeout int
	GlobalTimeout    int
	DefaultResult    string
}

type xmlActivity struct {
	ID          string `xml:"ActivityId"`
	Group       string `xml:"AutoScalingGroupName"`
	Description string
	Cause       string
	StartTime   string
	StatusCode  string
	Progress    int
	Details     string
}

func launchTemplate(group string) xmlLaunchTemplate {
	return xmlLaunchTemplate{ID: "lt-0fa4eaa5000000001", Name: group, Version: "1"}
}

func (c *Cloud) xmlGroup(g groupView) xmlGroup {
	x := xmlGroup{
		Name: g.Name, ARN: g.arn, LaunchTemplate: launchTemplate(g.Name),
		MinSize: g.Min, MaxSize: g.Max, DesiredCapacity: g.Desired,
		DefaultCooldown: 300, Zones: members[string]{c.cfg.Zones}, HealthCheckType: "EC2",
		CreatedTime: timestamp(g.createdAt), VPCZoneIdentifier: "subnet-0fa4eaa5000000001",
		Policies: members[string]{[]string{"Default"}},
	}
	if g.deleting {
		x.Status = "Delete in progress"
	}
	for _, m := range g.members {
		x.Instances.add(newXMLGroupInstance(m))
	}
	for _, p := range g.suspended {
		x.SuspendedProcesses.add(xmlSuspension{p, "User suspended"})
	}
	for _, t := range g.Tags {
		x.Tags.add(newXMLTag(g.Name, t))
	}
	return x
}

func newXMLGroupInstance(m Instance) xmlGroupInstance {
	health := "Healthy"
	if !m.Healthy {
		health = "Unhealthy"
	}
	return xmlGroupInstance{ID: m.ID, Type: m.Type, Zone: m.Zone, LifecycleState: m.Lifecycle,
		HealthStatus: health, LaunchTemplate: launchTemplate(m.Group), ImageID: m.ImageID}
}

func newXMLTag(group string, t Tag) xmlTag {
	return xmlTag{Group: group, Type: tagResource, Key: t.Key, Value: t.Value, Propagate: t.PropagateAtLaunch}
}
