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
	LaunchTemplate     *xmlLaunchTemplate
	Mixed              *xmlMixed `xml:"MixedInstancesPolicy"`
	MinSize            int
	MaxSize            int
	DesiredCapacity    int
	DefaultCooldown    int
	Zones              members[string] `xml:"AvailabilityZones"`
	HealthCheckType    string          `xml:"HealthCheckType"`
	GracePeriod        int             `xml:"HealthCheckGracePeriod"`
	WarmPool           *xmlWarmPool    `xml:"WarmPoolConfiguration"`
	WarmPoolSize       *int            `xml:"WarmPoolSize"`
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
	Weight         string `xml:"WeightedCapacity,omitempty"`
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
	Metadata         string `xml:"NotificationMetadata,omitempty"`
}

type xmlActivity struct {
	ID            string `xml:"ActivityId"`
	Group         string `xml:"AutoScalingGroupName"`
	ARN           string `xml:"AutoScalingGroupARN"`
	Description   string
	Cause         string
	StartTime     string
	EndTime       string `xml:",omitempty"`
	StatusCode    string
	StatusMessage string `xml:",omitempty"`
	Progress      int
	Details       string
}

type xmlWarmPool struct {
	MaxPrepared *int `xml:"MaxGroupPreparedCapacity"`
	MinSize     int
	PoolState   string
	Status      string `xml:",omitempty"`
	Reuse       bool   `xml:"InstanceReusePolicy>ReuseOnScaleIn"`
}

func newXMLWarmPool(g groupView) *xmlWarmPool {
	if g.WarmPool == nil {
		return nil
	}
	x := &xmlWarmPool{MinSize: g.WarmPool.MinSize, PoolState: g.WarmPool.State, Reuse: g.WarmPool.Reuse}
	if n := g.WarmPool.MaxPrepared; n != NoPreparedCapacity {
		x.MaxPrepared = &n
	}
	if g.poolEnds {
		x.Status = "PendingDelete"
	}
	return x
}

type xmlRefresh struct {
	ID         string `xml:"InstanceRefreshId"`
	Group      string `xml:"AutoScalingGroupName"`
	Status     string
	Reason     string `xml:"StatusReason,omitempty"`
	StartTime  string
	EndTime    string `xml:",omitempty"`
	Percent    int    `xml:"PercentageComplete"`
	Remaining  int    `xml:"InstancesToUpdate"`
	MinHealthy int    `xml:"Preferences>MinHealthyPercentage"`
	MaxHealthy int    `xml:"Preferences>MaxHealthyPercentage"`
	Warmup     int    `xml:"Preferences>InstanceWarmup"`
	Skip       bool   `xml:"Preferences>SkipMatching"`
	Strategy   string
}

func newXMLRefresh(r Refresh) xmlRefresh {
	x := xmlRefresh{ID: r.ID, Group: r.Group, Status: r.Status, Reason: r.Reason, StartTime: timestamp(r.Start),
		Percent: r.Percent, Remaining: r.Remaining, MinHealthy: r.MinHealthy, MaxHealthy: r.MaxHealthy,
		Warmup: int(r.Warmup.Seconds()), Skip: r.Skip, Strategy: "Rolling"}
	if !r.End.IsZero() {
		x.EndTime = timestamp(r.End)
	}
	return x
}

func launchTemplate(group, version string) xmlLaunchTemplate {
	return xmlLaunchTemplate{ID: "lt-0fa4eaa5000000001", Name: group, Version: version}
}

func (c *Cloud) xmlGroup(g groupView) xmlGroup {
	x := xmlGroup{
		Name: g.Name, ARN: g.arn,
		MinSize: g.Min, MaxSize: g.Max, DesiredCapacity: g.Desired,
		DefaultCooldown: 300, Zones: members[string]{c.cfg.Zones}, HealthCheckType: "EC2",
		CreatedTime: timestamp(g.createdAt), VPCZoneIdentifier: "subnet-0fa4eaa5000000001",
		Policies:    members[string]{[]string{"Default"}},
		GracePeriod: int(g.GracePeriod.Seconds()), WarmPool: newXMLWarmPool(g),
	}
	if template := launchTemplate(g.Name, g.version); g.Overrides != nil {
		x.Mixed = newXMLMixed(g.Overrides, template)
	} else {
		x.LaunchTemplate = &template
	}
	if g.WarmPool != nil {
		n := len(g.listed(true))
		x.WarmPoolSize = &n
	}
	if g.deleting {
		x.Status = "Delete in progress"
	}
	for _, m := range g.listed(false) {
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
		HealthStatus: health, LaunchTemplate: launchTemplate(m.Group, m.TemplateVersion), ImageID: m.ImageID, Weight: weightWord(m.Weight)}
}

func newXMLTag(group string, t Tag) xmlTag {
	return xmlTag{Group: group, Type: tagResource, Key: t.Key, Value: t.Value, Propagate: t.PropagateAtLaunch}
}
