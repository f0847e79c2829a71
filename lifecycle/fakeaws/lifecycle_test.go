package fakeaws

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
)

// Every arrow of the diagram takes a time of its own here, so that each state is seen.
func TestEveryState(t *testing.T) {
	r := newRig(t, Config{Timing: Timing{
		Launch: 1 * time.Second, Boot: 2 * time.Second, Proceed: 3 * time.Second,
		ShutDown: 4 * time.Second, Leave: 5 * time.Second,
	}}, hooked(1))
	r.wantStates()
	r.clock.Advance(1 * time.Second)
	r.wantStates("#1 Pending")
	r.wantEC2("#1 pending")
	r.clock.Advance(2 * time.Second)
	r.wantStates("#1 Pending:Wait")
	r.wantEC2("#1 running")
	ok(t, r.complete(1, "join", Continue))
	r.wantStates("#1 Pending:Proceed")
	r.clock.Advance(3 * time.Second)
	r.wantStates("#1 InService")

	ok(t, r.terminate(1, true))
	r.wantStates("#1 Terminating:Wait")
	r.wantEC2("#1 running")
	ok(t, r.complete(1, "leave", Continue))
	r.wantStates("#1 Terminating:Proceed")
	r.wantEC2("#1 running")
	r.clock.Advance(3 * time.Second)
	r.wantEC2("#1 shutting-down")
	r.clock.Advance(4 * time.Second)
	r.wantEC2("#1 terminated")
	r.wantStates("#1 Terminated")
	r.clock.Advance(5 * time.Second)
	r.wantStates()
	r.wantEC2("#1 terminated")

	seen := 0
	r.wantHappened(&seen,
		"+0s group-created",
		"+1s launched #1", "+3s running #1", "+3s hook-opened #1 join",
		"+3s hook-completed #1 join CONTINUE AKIAOPERATOR", "+6s in-service #1",
		"+6s notice #1", "+6s hook-opened #1 leave", "+6s desired-changed",
		"+6s hook-completed #1 leave CONTINUE AKIAOPERATOR",
		"+9s shutting-down #1", "+13s terminated #1", "+18s left-group #1")
}

func TestNoHooks(t *testing.T) {
	r := newRig(t, Config{}, bare(2))
	r.wantStates("#1 InService", "#2 InService")
	ok(t, r.terminate(1, true))
	r.wantStates("#2 InService")
	seen := 5
	r.wantHappened(&seen, "+0s running #2", "+0s in-service #2",
		"+0s notice #1", "+0s shutting-down #1", "+0s desired-changed", "+0s terminated #1", "+0s left-group #1")
}

func TestHookExpires(t *testing.T) {
	for _, result := range []string{Continue, Abandon} {
		t.Run(result, func(t *testing.T) {
			g := hooked(1)
			g.Hooks[0].DefaultResult, g.Hooks[1].DefaultResult = result, result
			r := newRig(t, Config{}, g)
			r.clock.Advance(time.Minute - 1)
			r.wantStates("#1 Pending:Wait")
			seen := len(r.cloud.Events())
			r.clock.Advance(1)
			if result == Abandon {
				r.wantStates("#2 Pending:Wait")
				r.wantHappened(&seen, "+1m0s hook-completed #1 join ABANDON expired", "+1m0s notice #1",
					"+1m0s shutting-down #1", "+1m0s terminated #1", "+1m0s left-group #1",
					"+1m0s launched #2", "+1m0s running #2", "+1m0s hook-opened #2 join")
				return
			}
			r.wantStates("#1 InService")
			ok(t, r.terminate(1, true))
			r.clock.Advance(time.Minute - 1)
			r.wantStates("#1 Terminating:Wait")
			r.clock.Advance(1)
			r.wantStates()
		})
	}
}

// A termination goes on whatever its result; ABANDON only skips the other hooks.
func TestTerminationGoesOn(t *testing.T) {
	for _, result := range []string{Continue, Abandon} {
		t.Run(result, func(t *testing.T) {
			g := hooked(1)
			g.Hooks[0].DefaultResult = Continue
			g.Hooks = append(g.Hooks, Hook{Name: "also", Transition: Terminating, HeartbeatTimeout: 90 * time.Second})
			r := newRig(t, Config{}, g)
			r.clock.Advance(time.Minute)
			ok(t, r.terminate(1, true))
			seen := len(r.cloud.Events())
			ok(t, r.complete(1, "leave", result))
			if result == Abandon {
				r.wantHappened(&seen, "+1m0s hook-completed #1 leave ABANDON AKIAOPERATOR",
					"+1m0s hook-cancelled #1 also", "+1m0s shutting-down #1", "+1m0s terminated #1", "+1m0s left-group #1")
				return
			}
			r.wantStates("#1 Terminating:Wait")
			ok(t, r.complete(1, "also", Continue))
			r.wantStates()
		})
	}
}

func TestHeartbeatExtends(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	for range 5 {
		r.clock.Advance(50 * time.Second)
		ok(t, r.beat(1, "join"))
	}
	r.wantStates("#1 Pending:Wait")
	inst, _ := r.cloud.Instance(r.id(1))
	if got, want := inst.Hooks[0].Deadline, epoch.Add(250*time.Second+time.Minute); !got.Equal(want) {
		t.Errorf("deadline %s, want %s", got, want)
	}
	r.clock.Advance(time.Minute - 1)
	r.wantStates("#1 Pending:Wait")
	r.clock.Advance(1)
	r.wantStates("#2 Pending:Wait")
}

// No heartbeat carries a hook beyond min(48 h, 100 x timeout).
func TestGlobalLimit(t *testing.T) {
	for _, tc := range []struct{ timeout, limit time.Duration }{
		{time.Minute, 100 * time.Minute},
		{time.Hour, 48 * time.Hour},
	} {
		t.Run(tc.timeout.String(), func(t *testing.T) {
			g := hooked(1)
			g.Hooks[0].HeartbeatTimeout = tc.timeout
			r := newRig(t, Config{}, g)
			step := tc.timeout * 5 / 6
			for r.clock.Now().Add(step).Before(epoch.Add(tc.limit)) {
				r.clock.Advance(step)
				ok(t, r.beat(1, "join"))
			}
			r.clock.Advance(epoch.Add(tc.limit).Sub(r.clock.Now()) - 1)
			r.wantStates("#1 Pending:Wait")
			seen := len(r.cloud.Events())
			r.clock.Advance(1)
			if got, want := r.happened(&seen)[0], "+"+tc.limit.String()+
				" hook-completed #1 join ABANDON expired at the global limit"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestNoActiveAction(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	id := r.id(1)
	inst, _ := r.cloud.Instance(id)
	byToken := func(token string) error {
		_, err := r.asg.CompleteLifecycleAction(r.ctx, &autoscaling.CompleteLifecycleActionInput{
			AutoScalingGroupName: aws.String("etcd"), LifecycleHookName: aws.String("join"),
			LifecycleActionToken: &token, LifecycleActionResult: aws.String(Continue)})
		return err
	}
	wantCode(t, byToken("nonsense"), "ValidationError", "No active Lifecycle Action found with token nonsense")
	wantCode(t, r.complete(1, "leave", Continue), "ValidationError", "No active Lifecycle Action found with instance ID "+id)
	wantCode(t, r.complete(1, "unknown", Continue), "ValidationError", "unknown")
	wantCode(t, r.complete(1, "join", "PERHAPS"), "ValidationError", "CONTINUE")
	ok(t, byToken(inst.Hooks[0].Token))
	r.wantStates("#1 InService")
	wantCode(t, r.complete(1, "join", Continue), "ValidationError", "No active Lifecycle Action found with instance ID "+id)
	wantCode(t, r.beat(1, "join"), "ValidationError", "No active Lifecycle Action found with instance ID "+id)
	_, err := r.asg.CompleteLifecycleAction(r.ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String("other"), LifecycleHookName: aws.String("join"),
		InstanceId: &id, LifecycleActionResult: aws.String(Continue)})
	wantCode(t, err, "ValidationError", "AutoScalingGroup name not found")
}

func TestAbandonedLaunchWithTerminatingHook(t *testing.T) {
	g := hooked(1)
	g.HookAbandonedLaunch = true
	r := newRig(t, Config{}, g)
	ok(t, r.complete(1, "join", Abandon))
	r.wantStates("#1 Terminating:Wait", "#2 Pending:Wait")
}

func TestReplacement(t *testing.T) {
	for _, tc := range []struct {
		replace             Replace
		waiting, afterwards []string
	}{
		{ReplaceAtOnce, []string{"#1 Terminating:Wait", "#2 InService", "#3 InService"}, []string{"#2 InService", "#3 InService"}},
		{ReplaceAfterTermination, []string{"#1 Terminating:Wait", "#2 InService"}, []string{"#2 InService", "#3 InService"}},
	} {
		t.Run(tc.replace.String(), func(t *testing.T) {
			g := hooked(2)
			g.Replace = tc.replace
			g.Hooks = g.Hooks[1:]
			r := newRig(t, Config{}, g)
			ok(t, r.terminate(1, false))
			r.wantStates(tc.waiting...)
			ok(t, r.terminate(1, false)) // again: nothing more happens
			r.wantStates(tc.waiting...)
			ok(t, r.complete(1, "leave", Continue))
			r.wantStates(tc.afterwards...)
		})
	}
}

// Scale-in while a replacement is still owed takes nobody else.
func TestScaleInWhileReplacementIsDue(t *testing.T) {
	g := hooked(3)
	g.Replace = ReplaceAfterTermination
	g.Hooks = g.Hooks[1:]
	r := newRig(t, Config{}, g)
	ok(t, r.terminate(2, false))
	ok(t, r.desire(2))
	r.wantStates("#1 InService", "#2 Terminating:Wait", "#3 InService")
	ok(t, r.complete(2, "leave", Continue))
	r.wantStates("#1 InService", "#3 InService")
}

// An instance that scale-in chose holds no launch up: none is owed for it.
func TestScaleOutWhileScaleInWaits(t *testing.T) {
	g := hooked(2)
	g.Replace = ReplaceAfterTermination
	g.Hooks = g.Hooks[1:]
	r := newRig(t, Config{}, g)
	ok(t, r.desire(1))
	ok(t, r.desire(2))
	r.wantStates("#1 Terminating:Wait", "#2 InService", "#3 InService")
}

func TestScale(t *testing.T) {
	g := bare(1)
	g.Min, g.Max = 1, 3
	r := newRig(t, Config{}, g)
	ok(t, r.desire(3))
	r.wantStates("#1 InService", "#2 InService", "#3 InService")
	wantCode(t, r.desire(4), "ValidationError", "above max value 3")
	wantCode(t, r.desire(0), "ValidationError", "below min value 1")
	ok(t, r.desire(2))
	r.wantStates("#2 InService", "#3 InService") // the oldest went
	ok(t, r.terminate(3, true))
	r.wantStates("#2 InService")
	wantCode(t, r.terminate(2, true), "ValidationError", "desiredSize equals minSize (1)")
	wantCode(t, r.terminate(1, true), "ValidationError", "No managed instance found for instance ID: "+r.id(1))
	_, err := r.asg.SetDesiredCapacity(r.ctx, &autoscaling.SetDesiredCapacityInput{
		AutoScalingGroupName: aws.String("other"), DesiredCapacity: aws.Int32(1)})
	wantCode(t, err, "ValidationError", "AutoScalingGroup name not found")
	ok(t, r.cloud.SetLimits("etcd", 2, 2))
	r.wantStates("#2 InService", "#4 InService")
}

func TestScaleInPolicy(t *testing.T) {
	g := bare(3)
	g.ScaleIn = func(candidates []Instance) string { return candidates[len(candidates)-1].ID }
	r := newRig(t, Config{}, g)
	ok(t, r.desire(1))
	r.wantStates("#1 InService")
}

func TestScaleInOfAWaitingLaunch(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	seen := len(r.cloud.Events())
	ok(t, r.desire(0))
	r.wantStates("#1 Terminating:Wait")
	r.wantHappened(&seen, "+0s desired-changed", "+0s hook-cancelled #1 join", "+0s notice #1", "+0s hook-opened #1 leave")
	r.clock.Advance(time.Minute)
	r.wantStates()
}

func TestSuspendedProcesses(t *testing.T) {
	r := newRig(t, Config{}, bare(2))
	ok(t, r.cloud.Suspend("etcd", ProcessLaunch, ProcessTerminate))
	out, err := r.asg.DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
	ok(t, err)
	var listed []string
	for _, p := range out.AutoScalingGroups[0].SuspendedProcesses {
		listed = append(listed, *p.ProcessName)
	}
	if got, want := fmt.Sprint(listed), "[Launch Terminate]"; got != want {
		t.Errorf("suspended processes %s, want %s", got, want)
	}
	ok(t, r.terminate(1, false))
	r.wantStates("#2 InService") // no replacement
	ok(t, r.desire(0))
	r.wantStates("#2 InService") // no scale-in
	ok(t, r.desire(2))
	_, err = r.asg.ResumeProcesses(r.ctx, &autoscaling.ResumeProcessesInput{
		AutoScalingGroupName: aws.String("etcd"), ScalingProcesses: []string{"Launch"}})
	ok(t, err)
	r.wantStates("#2 InService", "#3 InService")
}

func TestDeleteGroup(t *testing.T) {
	r := newRig(t, Config{}, hooked(2))
	ok(t, r.cloud.DeleteGroup("etcd", false))
	r.wantStates("#1 Terminating:Wait", "#2 Terminating:Wait")
	out, err := r.asg.DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
	ok(t, err)
	if got := aws.ToString(out.AutoScalingGroups[0].Status); got != "Delete in progress" {
		t.Errorf("status %q", got)
	}
	ok(t, r.complete(1, "leave", Continue))
	ok(t, r.cloud.DeleteGroup("etcd", true)) // the rest by force
	if _, found := r.cloud.Group("etcd"); found {
		t.Error("the group is still there")
	}
	before := *out.AutoScalingGroups[0].AutoScalingGroupARN
	ok(t, r.cloud.AddGroup(hooked(1)))
	again, _ := r.cloud.Group("etcd")
	if again.ARN == before {
		t.Errorf("a new group of the same name has the old ARN %s", before)
	}
	ok(t, r.cloud.CompleteHook(again.ARN, "join", again.Instances[0].ID, Continue, "someone")) // an ARN names it too
}
