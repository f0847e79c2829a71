package fakeaws

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

func filterOf(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: &name, Values: values}}
}

func (r *rig) describe(ids ...string) ([]types.Instance, error) {
	out, err := r.ec2.DescribeInstances(r.ctx, &ec2.DescribeInstancesInput{InstanceIds: ids})
	if err != nil {
		return nil, err
	}
	var all []types.Instance
	for _, res := range out.Reservations {
		all = append(all, res.Instances...)
	}
	return all, nil
}

func (r *rig) ec2Terminate(ids ...string) error {
	_, err := r.ec2.TerminateInstances(r.ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	return err
}

func TestDescribeInstances(t *testing.T) {
	g := bare(1)
	g.Tags = []Tag{{Key: "role", Value: "etcd", PropagateAtLaunch: true}, {Key: "secret", Value: "x"}}
	r := newRig(t, Config{}, g)
	got, err := r.describe(r.id(1))
	ok(t, err)
	if len(got) != 1 {
		t.Fatalf("got %d instances", len(got))
	}
	i := got[0]
	tags := map[string]string{}
	for _, tag := range i.Tags {
		tags[*tag.Key] = *tag.Value
	}
	type facts struct {
		ID, IP, Zone, Type, State string
		Code                      int32
		Launched                  time.Time
		Tags                      map[string]string
	}
	want := facts{r.id(1), "10.0.0.10", "eu-central-1a", "m7g.medium", "running", 16, epoch,
		map[string]string{"aws:autoscaling:groupName": "etcd", "role": "etcd"}}
	have := facts{*i.InstanceId, aws.ToString(i.PrivateIpAddress), *i.Placement.AvailabilityZone, string(i.InstanceType),
		string(i.State.Name), *i.State.Code, *i.LaunchTime, tags}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestInstanceFilters(t *testing.T) {
	r := newRig(t, Config{}, bare(3))
	ok(t, r.terminate(1, true))
	for _, tc := range []struct {
		name   string
		values []string
		want   int
	}{
		{"instance-state-name", []string{"running"}, 2},
		{"instance-state-name", []string{"running", "terminated"}, 3},
		{"private-ip-address", []string{"10.0.0.11"}, 1},
		{"private-ip-address", []string{"10.0.0.10"}, 0}, // terminated: it has no address any more
		{"availability-zone", []string{"eu-central-1b"}, 1},
		{"instance-id", []string{r.id(2)}, 1},
		{"tag:aws:autoscaling:groupName", []string{"et*"}, 3},
		{"tag:aws:autoscaling:groupName", []string{"et?"}, 0},
		{"tag:missing", []string{"*"}, 0},
		{"tag-key", []string{"aws:*"}, 3},
	} {
		out, err := r.ec2.DescribeInstances(r.ctx, &ec2.DescribeInstancesInput{Filters: filterOf(tc.name, tc.values...)})
		ok(t, err)
		if len(out.Reservations) != tc.want {
			t.Errorf("%s=%v: got %d, want %d", tc.name, tc.values, len(out.Reservations), tc.want)
		}
	}
	_, err := r.ec2.DescribeInstances(r.ctx, &ec2.DescribeInstancesInput{Filters: filterOf("colour", "red")})
	wantCode(t, err, "InvalidParameterValue", "The filter 'colour' is invalid")
}

// Terminated in EC2: no hook, and the group replaces it when it notices.
func TestTerminateBehindTheGroup(t *testing.T) {
	r := newRig(t, Config{Timing: Timing{ShutDown: time.Second, HealthCheck: 10 * time.Second}}, hooked(1))
	ok(t, r.complete(1, "join", Continue))
	seen := len(r.cloud.Events())
	ok(t, r.ec2Terminate(r.id(1)))
	r.wantEC2("#1 shutting-down")
	r.wantStates("#1 InService") // not noticed yet
	r.clock.Advance(9 * time.Second)
	r.wantEC2("#1 terminated")
	r.wantStates("#1 InService")
	r.clock.Advance(time.Second)
	r.wantStates("#2 Pending:Wait")
	r.wantHappened(&seen, "+0s shutting-down #1", "+1s terminated #1", "+10s notice #1", "+10s left-group #1",
		"+10s launched #2", "+10s running #2", "+10s hook-opened #2 join")
}

func TestTerminateEndsAWaitingHook(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	ok(t, r.complete(1, "join", Continue))
	ok(t, r.terminate(1, true))
	seen := len(r.cloud.Events())
	ok(t, r.ec2Terminate(r.id(1)))
	r.wantStates()
	r.wantHappened(&seen, "+0s hook-cancelled #1 leave", "+0s shutting-down #1", "+0s terminated #1", "+0s left-group #1")
}

func TestHookForADeadInstance(t *testing.T) {
	g := hooked(1)
	g.HookDeadInstance = true
	r := newRig(t, Config{}, g)
	ok(t, r.complete(1, "join", Continue))
	ok(t, r.ec2Terminate(r.id(1)))
	r.wantEC2("#1 terminated", "#2 running")
	r.wantStates("#1 Terminating:Wait", "#2 Pending:Wait")
	r.clock.Advance(time.Minute)
	r.wantStates("#3 Pending:Wait")
}

func TestSuspendedHealthCheck(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	ok(t, r.cloud.Suspend("etcd", ProcessHealthCheck))
	ok(t, r.ec2Terminate(r.id(1)))
	r.wantStates("#1 InService")
	ok(t, r.cloud.Resume("etcd"))
	r.wantStates("#2 InService")
}

func TestTerminatedIsVisibleForAnHour(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	id := r.id(1)
	ok(t, r.ec2Terminate(id))
	r.clock.Advance(Visible - 1)
	got, err := r.describe(id)
	ok(t, err)
	if got[0].State.Name != types.InstanceStateNameTerminated || got[0].PrivateIpAddress != nil {
		t.Errorf("state %s, address %v; want terminated without one", got[0].State.Name, got[0].PrivateIpAddress)
	}
	r.clock.Advance(1)
	_, err = r.describe(id)
	wantCode(t, err, "InvalidInstanceID.NotFound", "The instance ID '"+id+"' does not exist")
	r.wantEC2("#2 running")
}

func TestUnknownInstances(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	const a, b = "i-00000000000000001", "i-00000000000000002"
	_, err := r.describe(r.id(1), a, b)
	wantCode(t, err, "InvalidInstanceID.NotFound", "The instance IDs '"+a+", "+b+"' do not exist")
	_, err = r.describe("i-nonsense")
	wantCode(t, err, "InvalidInstanceID.Malformed", "i-nonsense")
	wantCode(t, r.ec2Terminate(r.id(1), a), "InvalidInstanceID.NotFound", a)
	r.wantEC2("#1 running") // all or nothing
	_, err = r.ec2.TerminateInstances(r.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{r.id(1)}, DryRun: aws.Bool(true)})
	wantCode(t, err, "DryRunOperation", "")
	r.wantEC2("#1 running")
}

func TestTerminateAnswer(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	out, err := r.ec2.TerminateInstances(r.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{r.id(1)}})
	ok(t, err)
	s := out.TerminatingInstances[0]
	if *s.InstanceId != r.id(1) || s.PreviousState.Name != "running" || s.CurrentState.Name != "shutting-down" {
		t.Errorf("got %s: %s to %s", *s.InstanceId, s.PreviousState.Name, s.CurrentState.Name)
	}
}

func TestSpotInterruption(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	ok(t, r.complete(1, "join", Continue))
	ok(t, r.cloud.InterruptSpot(r.id(1), 2*time.Minute))
	ok(t, r.terminate(1, false))
	for range 3 { // the hook does not hold it
		r.clock.Advance(30 * time.Second)
		ok(t, r.beat(1, "leave"))
	}
	r.clock.Advance(30 * time.Second)
	wantCode(t, r.beat(1, "leave"), "ValidationError", "No active Lifecycle Action")
	got, err := r.describe(r.id(1))
	ok(t, err)
	if got[0].State.Name != types.InstanceStateNameTerminated {
		t.Errorf("state %s two minutes after the notice", got[0].State.Name)
	}
}

func TestPagesOfInstances(t *testing.T) {
	r := newRig(t, Config{}, bare(8))
	in := groupFilter("etcd")
	in.MaxResults = aws.Int32(5)
	var sizes []int
	for {
		out, err := r.ec2.DescribeInstances(r.ctx, in)
		ok(t, err)
		sizes = append(sizes, len(out.Reservations))
		if out.NextToken == nil {
			break
		}
		in.NextToken = out.NextToken
	}
	if diff := cmp.Diff([]int{5, 3}, sizes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
