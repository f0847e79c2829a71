package fakeaws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

// motoStep is a call that moto, an emulator by others, really has. Its answer must agree
// with ours where this says so, and nothing of ours may be unknown to it.
type motoStep struct {
	call, with string
	same       []string // paths at which both have the same values
}

// What moto leaves out: its hooks wait for nothing, its warm pool stays empty, and its
// groups do not mind the health of an instance. So there are no hooks here while instances
// come and go, and an instance is set unhealthy where nothing comes of it.
var motoSteps = []motoStep{
	{"DescribeAutoScalingGroups", `{"AutoScalingGroupNames":["etcd"]}`, []string{states, desired, "AutoScalingGroups.MinSize", "AutoScalingGroups.MaxSize",
		"AutoScalingGroups.DefaultCooldown", "AutoScalingGroups.HealthCheckType", "AutoScalingGroups.LaunchTemplate.Version",
		"AutoScalingGroups.Instances.HealthStatus", "AutoScalingGroups.Instances.InstanceType", "AutoScalingGroups.Instances.ProtectedFromScaleIn"}},
	{"DescribeAutoScalingInstances", `{"InstanceIds":["#2"]}`, []string{"AutoScalingInstances.LifecycleState", "AutoScalingInstances.AutoScalingGroupName",
		"AutoScalingInstances.LaunchTemplate.LaunchTemplateName"}},
	{"ec2 DescribeInstances", `{"InstanceIds":["#1"]}`, []string{"Reservations.Instances.State.Name", "Reservations.Instances.State.Code",
		"Reservations.OwnerId", "Reservations.Instances.InstanceType"}},
	{"ec2 DescribeInstances", `{"InstanceIds":["i-00000000000000001"]}`, nil},
	{"SuspendProcesses", `{"AutoScalingGroupName":"etcd","ScalingProcesses":["ReplaceUnhealthy"]}`, nil},
	{"SetInstanceHealth", `{"InstanceId":"#1","HealthStatus":"Unhealthy"}`, nil},
	{"DescribeAutoScalingGroups", `{}`, []string{"AutoScalingGroups.Instances.HealthStatus", "AutoScalingGroups.SuspendedProcesses.ProcessName"}},
	{"SetInstanceHealth", `{"InstanceId":"#1","HealthStatus":"Healthy"}`, nil},
	{"ResumeProcesses", inGroup, nil},
	{"DescribeAutoScalingGroups", `{}`, []string{"AutoScalingGroups.Instances.HealthStatus", "AutoScalingGroups.SuspendedProcesses.ProcessName"}},
	{"EnterStandby", `{"AutoScalingGroupName":"etcd","InstanceIds":["#1"],"ShouldDecrementDesiredCapacity":true}`,
		[]string{"Activities.StatusCode", "Activities.Progress", "Activities.AutoScalingGroupName"}},
	{"DescribeAutoScalingGroups", `{}`, []string{states, desired}},
	{"ExitStandby", `{"AutoScalingGroupName":"etcd","InstanceIds":["#1"]}`, []string{"Activities.StatusCode", "Activities.Progress"}},
	{"DescribeAutoScalingGroups", `{}`, []string{states, desired}},
	{"UpdateAutoScalingGroup", `{"AutoScalingGroupName":"etcd","MinSize":2,"MaxSize":6}`, nil},
	{"UpdateAutoScalingGroup", `{"AutoScalingGroupName":"nobody","MinSize":2}`, nil},
	{"SetDesiredCapacity", `{"AutoScalingGroupName":"etcd","DesiredCapacity":4}`, nil},
	{"DescribeAutoScalingGroups", `{}`, []string{states, desired, "AutoScalingGroups.MinSize", "AutoScalingGroups.MaxSize"}},
	{"DetachInstances", `{"AutoScalingGroupName":"etcd","InstanceIds":["#1"],"ShouldDecrementDesiredCapacity":true}`,
		[]string{"Activities.StatusCode", "Activities.Description"}},
	{"DescribeAutoScalingInstances", `{"InstanceIds":["#1"]}`, []string{"AutoScalingInstances.InstanceId"}},
	{"DescribeAutoScalingGroups", `{}`, []string{states, desired}},
	{"AttachInstances", `{"AutoScalingGroupName":"etcd","InstanceIds":["#1"]}`, nil},
	{"DescribeAutoScalingGroups", `{}`, []string{states, desired}},
	{"DetachInstances", `{"AutoScalingGroupName":"etcd","InstanceIds":["#1"],"ShouldDecrementDesiredCapacity":true}`, nil},
	{"ec2 StopInstances", `{"InstanceIds":["#1"]}`, []string{"StoppingInstances.CurrentState.Code", "StoppingInstances.PreviousState.Name"}},
	{"ec2 StartInstances", `{"InstanceIds":["#1"]}`, []string{"StartingInstances.CurrentState.Code", "StartingInstances.PreviousState.Name"}},
	{"ec2 TerminateInstances", `{"InstanceIds":["#1"]}`, []string{"TerminatingInstances.CurrentState.Code", "TerminatingInstances.PreviousState.Name"}},
	{"ec2 DescribeInstances", `{"InstanceIds":["#1"]}`, []string{"Reservations.Instances.State.Name", "Reservations.Instances.State.Code"}},
	{"PutLifecycleHook", `{"AutoScalingGroupName":"etcd","LifecycleHookName":"leave","LifecycleTransition":"autoscaling:EC2_INSTANCE_TERMINATING","HeartbeatTimeout":60,"DefaultResult":"CONTINUE"}`, nil},
	{"DescribeLifecycleHooks", inGroup, []string{"LifecycleHooks.LifecycleHookName", "LifecycleHooks.LifecycleTransition",
		"LifecycleHooks.HeartbeatTimeout", "LifecycleHooks.DefaultResult"}},
	{"DeleteLifecycleHook", `{"AutoScalingGroupName":"etcd","LifecycleHookName":"leave"}`, nil},
	{"DescribeLifecycleHooks", inGroup, []string{"LifecycleHooks.LifecycleHookName"}},
	{"PutWarmPool", `{"AutoScalingGroupName":"etcd","MinSize":0,"MaxGroupPreparedCapacity":2,"PoolState":"Running","InstanceReusePolicy":{"ReuseOnScaleIn":true}}`, nil},
	{"DescribeWarmPool", inGroup, []string{"WarmPoolConfiguration.MinSize", "WarmPoolConfiguration.PoolState", "WarmPoolConfiguration.InstanceReusePolicy.ReuseOnScaleIn"}},
	{"DescribeAutoScalingGroups", `{}`, []string{"AutoScalingGroups.WarmPoolConfiguration.PoolState"}},
	{"DeleteWarmPool", inGroup, nil},
	{"DescribeWarmPool", inGroup, []string{"WarmPoolConfiguration.PoolState"}},
	{"CreateOrUpdateTags", `{"Tags":[{"ResourceId":"etcd","ResourceType":"auto-scaling-group","Key":"team","Value":"a","PropagateAtLaunch":true}]}`, nil},
	{"DescribeTags", `{"Filters":[{"Name":"auto-scaling-group","Values":["etcd"]}]}`, []string{"Tags.Key", "Tags.Value", "Tags.ResourceId", "Tags.ResourceType", "Tags.PropagateAtLaunch"}},
	{"DescribeAutoScalingGroups", `{"Filters":[{"Name":"tag:team","Values":["a"]}]}`, []string{"AutoScalingGroups.AutoScalingGroupName", "AutoScalingGroups.Tags.Value"}},
	{"DescribeAutoScalingGroups", `{"Filters":[{"Name":"tag:team","Values":["b"]}]}`, []string{"AutoScalingGroups.AutoScalingGroupName"}},
	{"DeleteTags", `{"Tags":[{"ResourceId":"etcd","ResourceType":"auto-scaling-group","Key":"team"}]}`, nil},
	{"TerminateInstanceInAutoScalingGroup", `{"InstanceId":"#2","ShouldDecrementDesiredCapacity":true}`, []string{"Activity.StatusCode", "Activity.Description"}},
	{"DescribeAutoScalingGroups", `{}`, []string{states, desired}},
}

// onlyOurs are members that AWS documents and moto does not have.
var onlyOurs = map[string]bool{
	".AutoScalingGroups.Instances.ImageId": true,
	".AutoScalingGroups.VPCZoneIdentifier": true, // moto: only in a VPC
	".AutoScalingGroups.WarmPoolSize":      true,

	".AutoScalingGroups.SuspendedProcesses.SuspensionReason": true,
	".AutoScalingInstances.ImageId":                          true,
	".Activities.AutoScalingGroupARN":                        true,
	".Activities.Details":                                    true,
	".Activity.AutoScalingGroupARN":                          true,
	".Activity.Details":                                      true,
	".LifecycleHooks.NotificationMetadata":                   true,
	".Reservations.Instances.Placement.Tenancy":              true,
	".Reservations.Instances.StateTransitionReason":          true,
}

// TestMoto makes the same calls of both emulators: the error codes, the named values and
// the shape of the answers must be the same.
func TestMoto(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes: not with -short")
	}
	g := bare(3)
	g.Min, g.Max = 1, 5
	ours := newRig(t, Config{}, g)
	theirs := &rig{t: t, ctx: t.Context()}
	theirs.asg, theirs.ec2 = clients(startMoto(t), "eu-central-1", "AKIAOPERATOR", nil)
	theirs.setUpMoto()
	a, b := ours.others(), theirs.others()
	for i, s := range motoSteps {
		t.Run(fmt.Sprintf("%d %s", i+1, s.call), func(t *testing.T) {
			want, wantErr := b.make(t, s)
			got, gotErr := a.make(t, s)
			if gotErr != wantErr {
				t.Fatalf("error %q, moto %q", gotErr, wantErr)
			}
			for _, path := range s.same {
				if diff := cmp.Diff(want.at(path, b), got.at(path, a)); diff != "" {
					t.Errorf("%s (-moto +ours):\n%s", path, diff)
				}
			}
			known := want.shape()
			for path, kind := range got.shape() {
				switch theirKind, ok := known[path]; {
				case !ok && !onlyOurs[path] && !strings.Contains(path, ".Tags"):
					t.Errorf("%s (%s) is not in moto's answer", path, kind)
				case ok && theirKind != kind:
					t.Errorf("%s is a %s, moto's a %s", path, kind, theirKind)
				}
			}
		})
	}
}

// other is one of the two emulators, with the instances that its group began with.
type other struct {
	call client
	ids  []string
}

func (r *rig) others() other {
	r.t.Helper()
	out, err := r.asg.DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
	ok(r.t, err)
	o := other{call: r.sdk()}
	for _, i := range out.AutoScalingGroups[0].Instances {
		o.ids = append(o.ids, *i.InstanceId)
	}
	return o
}

func (o other) fill(s string) string {
	for i, id := range o.ids {
		s = strings.ReplaceAll(s, fmt.Sprintf("#%d", i+1), id)
	}
	return s
}

func (o other) shorten(s string) string {
	for i, id := range o.ids {
		s = strings.ReplaceAll(s, id, fmt.Sprintf("#%d", i+1))
	}
	return s
}

func (o other) make(t *testing.T, s motoStep) (parsed, string) {
	t.Helper()
	service, action, found := strings.Cut(s.call, " ")
	if !found {
		service, action = serviceAutoScaling, s.call
	}
	answer, code, _, err := o.call(service, action, json.RawMessage(o.fill(s.with)))
	ok(t, err)
	if code != "" {
		return parsed{}, code
	}
	var p parsed
	ok(t, json.Unmarshal(answer, &p.v))
	p.v = strip(p.v)
	return p, ""
}

// parsed is an answer.
type parsed struct{ v any }

func (p parsed) at(path string, o other) string {
	return o.shorten(strings.Join(pick(p.v, strings.Split(path, ".")), " "))
}

// shape lists the members of an answer with their kinds.
func (p parsed) shape() map[string]string {
	out := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(path+"."+k, v[k])
			}
		case []any:
			for _, e := range v {
				walk(path, e)
			}
		default:
			out[path] = fmt.Sprintf("%T", v)
		}
	}
	walk("", p.v)
	return out
}

// startMoto runs moto_server on loopback for as long as the test.
func startMoto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed")
	}
	ln := listen(t)
	addr := ln.Addr().(*net.TCPAddr)
	ok(t, ln.Close()) // moto cannot be given a listener
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, path, "-H", "127.0.0.1", "-p", fmt.Sprint(addr.Port))
	cmd.Env = awsEnv("http://127.0.0.1:9") // no AWS but itself
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not run: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel() // kills it
		<-ended
		if t.Failed() {
			t.Logf("moto_server: %s", log.String())
		}
	})
	url := "http://" + addr.String()
	deadline := time.After(time.Minute)
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", url+"/moto-api/data.json", nil)
		ok(t, err)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			return url
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("moto_server ended: %v", err)
		case <-deadline:
			t.Fatalf("moto_server does not answer: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// setUpMoto makes the group that newRig makes of ours.
func (r *rig) setUpMoto() {
	r.t.Helper()
	_, err := r.ec2.CreateLaunchTemplate(r.ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("etcd"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0b301ce3ce347599c"), InstanceType: "m7g.medium"}})
	ok(r.t, err)
	_, err = r.asg.CreateAutoScalingGroup(r.ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("etcd"),
		MinSize: aws.Int32(1), MaxSize: aws.Int32(5), DesiredCapacity: aws.Int32(3), AvailabilityZones: []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"},
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("etcd"), Version: aws.String("1")}})
	ok(r.t, err)
}
