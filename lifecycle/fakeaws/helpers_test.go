package fakeaws

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

var epoch = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// rig is a Cloud on a manual clock, served on loopback, with real SDK clients.
type rig struct {
	t     *testing.T
	ctx   context.Context
	clock *ManualClock
	cloud *Cloud
	url   string
	asg   *autoscaling.Client
	ec2   *ec2.Client
}

func newRig(t *testing.T, cfg Config, groups ...GroupConfig) *rig {
	t.Helper()
	clock := NewManualClock(epoch)
	cfg.Clock, cfg.Seed = clock, 1
	cloud, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	url, err := cloud.Serve(listen(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, ctx: t.Context(), clock: clock, cloud: cloud, url: url}
	r.asg, r.ec2 = clients(url, cloud.Region(), "AKIAOPERATOR", nil)
	for _, g := range groups {
		if err := cloud.AddGroup(g); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func clients(url, region, key string, client *http.Client) (*autoscaling.Client, *ec2.Client) {
	cfg := aws.Config{
		Region: region, BaseEndpoint: &url, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: "fake"}, nil
		}),
	}
	if client != nil {
		cfg.HTTPClient = client
	}
	return autoscaling.NewFromConfig(cfg), ec2.NewFromConfig(cfg)
}

// hooked is a group with a hook on each transition, both of 60 s.
func hooked(desired int) GroupConfig {
	return GroupConfig{Name: "etcd", Max: 9, Desired: desired, Hooks: []Hook{
		{Name: "join", Transition: Launching, HeartbeatTimeout: time.Minute},
		{Name: "leave", Transition: Terminating, HeartbeatTimeout: time.Minute},
	}}
}

// bare is a group without hooks.
func bare(desired int) GroupConfig { return GroupConfig{Name: "etcd", Max: 9, Desired: desired} }

// states lists the group over the wire, oldest first: "#1 InService".
func (r *rig) states() []string {
	r.t.Helper()
	out, err := r.asg.DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{
		AutoScalingGroupNames: []string{"etcd"}})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(out.AutoScalingGroups) != 1 {
		r.t.Fatalf("got %d groups, want 1", len(out.AutoScalingGroups))
	}
	states := []string{}
	for _, i := range out.AutoScalingGroups[0].Instances {
		states = append(states, r.name(*i.InstanceId)+" "+string(i.LifecycleState))
	}
	return states
}

func (r *rig) wantStates(want ...string) {
	r.t.Helper()
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, r.states()); diff != "" {
		r.t.Fatalf("lifecycle states at +%s (-want +got):\n%s", r.clock.Now().Sub(epoch), diff)
	}
}

// wantEC2 compares EC2's word for all instances, asked by the group's tag.
func (r *rig) wantEC2(want ...string) {
	r.t.Helper()
	out, err := r.ec2.DescribeInstances(r.ctx, groupFilter("etcd"))
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, res := range out.Reservations {
		for _, i := range res.Instances {
			got = append(got, r.name(*i.InstanceId)+" "+string(i.State.Name))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Fatalf("EC2 states at +%s (-want +got):\n%s", r.clock.Now().Sub(epoch), diff)
	}
}

// name is "#n" for the instance launched n-th.
func (r *rig) name(id string) string {
	n := 0
	for _, e := range r.cloud.Events() {
		if e.Kind == Launched {
			n++
			if e.Instance == id {
				return "#" + strconv.Itoa(n)
			}
		}
	}
	return id
}

// id is the instance launched n-th.
func (r *rig) id(n int) string {
	r.t.Helper()
	for _, e := range r.cloud.Events() {
		if e.Kind == Launched {
			if n--; n == 0 {
				return e.Instance
			}
		}
	}
	r.t.Fatal("no such instance")
	return ""
}

// happened renders the events from the seq-th on, which it drops from the next call.
func (r *rig) happened(from *int) []string {
	var out []string
	for _, e := range r.cloud.Events()[*from:] {
		*from = e.Seq
		words := []string{"+" + e.At.Sub(epoch).String(), string(e.Kind)}
		for _, w := range []string{r.name(e.Instance), e.Hook, e.Result, e.By} {
			if w != "" {
				words = append(words, w)
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func (r *rig) wantHappened(from *int, want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.happened(from)); diff != "" {
		r.t.Fatalf("events (-want +got):\n%s", diff)
	}
}

func (r *rig) complete(n int, hook, result string) error {
	_, err := r.asg.CompleteLifecycleAction(r.ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String("etcd"), LifecycleHookName: &hook,
		InstanceId: aws.String(r.id(n)), LifecycleActionResult: &result})
	return err
}

func (r *rig) beat(n int, hook string) error {
	_, err := r.asg.RecordLifecycleActionHeartbeat(r.ctx, &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: aws.String("etcd"), LifecycleHookName: &hook, InstanceId: aws.String(r.id(n))})
	return err
}

func (r *rig) terminate(n int, decrement bool) error {
	_, err := r.asg.TerminateInstanceInAutoScalingGroup(r.ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: aws.String(r.id(n)), ShouldDecrementDesiredCapacity: &decrement})
	return err
}

func (r *rig) desire(n int32) error {
	_, err := r.asg.SetDesiredCapacity(r.ctx, &autoscaling.SetDesiredCapacityInput{
		AutoScalingGroupName: aws.String("etcd"), DesiredCapacity: &n})
	return err
}

func groupFilter(name string) *ec2.DescribeInstancesInput {
	return &ec2.DescribeInstancesInput{Filters: filterOf("tag:aws:autoscaling:groupName", name)}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantCode checks an SDK's error: its code, and a part of its message.
func wantCode(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want an API error %s", err, code)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Fatalf("got %s: %s, want %s: ...%s...", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

// newRequest is a request with one header.
func newRequest(ctx context.Context, method, url, header, value string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err == nil {
		req.Header.Set(header, value)
	}
	return req, err
}
