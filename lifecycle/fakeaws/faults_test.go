package fakeaws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/google/go-cmp/cmp"
)

func (r *rig) fault(f Fault) string {
	r.t.Helper()
	id, err := r.cloud.AddFault(f)
	ok(r.t, err)
	return id
}

func (r *rig) describeGroups() error {
	_, err := r.asg.DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
	return err
}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		fault      Fault
		asg, ec2   string // error codes, "" for none, "?" for an error that is not an answer
		asgStatus  int
		ec2Status  int
		completion string
	}{
		{Fault{Kind: Outage}, "InternalFailure", "InternalError", 500, 500, "InternalFailure"},
		{Fault{Kind: Outage, Status: 503}, "ServiceUnavailable", "Unavailable", 503, 503, "ServiceUnavailable"},
		{Fault{Kind: Throttling}, "Throttling", "RequestLimitExceeded", 400, 503, "Throttling"},
		{Fault{Kind: AccessDenied}, "AccessDenied", "UnauthorizedOperation", 403, 403, "AccessDenied"},
		{Fault{Kind: AccessDenied, Action: "CompleteLifecycleAction"}, "", "", 200, 200, "AccessDenied"},
		{Fault{Kind: Outage, Service: "ec2"}, "", "InternalError", 200, 500, ""},
		{Fault{Kind: Outage, Service: "imds"}, "", "", 200, 200, ""},
		{Fault{Kind: Outage, Instance: "i-someone"}, "", "", 200, 200, ""},
		{Fault{Kind: Malformed}, "?", "?", 200, 200, "?"},
		{Fault{Kind: Cut}, "?", "?", 0, 0, "?"},
	} {
		t.Run(fmt.Sprintf("%s %s %s %d", tc.fault.Kind, tc.fault.Service, tc.fault.Action, tc.fault.Status), func(t *testing.T) {
			r := newRig(t, Config{}, hooked(1))
			id := r.fault(tc.fault)
			check := func(err error, code string) {
				t.Helper()
				switch code {
				case "":
					ok(t, err)
				case "?":
					if err == nil {
						t.Fatal("no error")
					}
				default:
					wantCode(t, err, code, "")
				}
			}
			check(r.describeGroups(), tc.asg)
			_, err := r.describe()
			check(err, tc.ec2)
			check(r.complete(1, "join", Continue), tc.completion)
			var status []int
			for _, call := range r.cloud.Calls()[:2] {
				status = append(status, call.Status)
			}
			if diff := cmp.Diff([]int{tc.asgStatus, tc.ec2Status}, status); diff != "" {
				t.Errorf("status of the answers (-want +got):\n%s", diff)
			}
			if !r.cloud.RemoveFault(id) {
				t.Error("no such fault")
			}
			if tc.completion != "" { // it had no effect
				r.wantStates("#1 Pending:Wait")
				ok(t, r.complete(1, "join", Continue))
			}
			r.wantStates("#1 InService")
		})
	}
}

func TestLostAnswer(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	r.fault(Fault{Kind: LostAnswer, Times: 1})
	if err := r.complete(1, "join", Continue); err == nil {
		t.Error("the answer was not lost")
	}
	r.wantStates("#1 InService")
}

func TestFaultEndsByItself(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	r.fault(Fault{Kind: Throttling, Times: 2})
	for range 2 {
		wantCode(t, r.describeGroups(), "Throttling", "Rate exceeded")
	}
	ok(t, r.describeGroups())
	if fs := r.cloud.Faults(); len(fs) != 0 {
		t.Errorf("left: %v", fs)
	}
	if _, err := r.cloud.AddFault(Fault{Kind: "weather"}); err == nil {
		t.Error("an unknown kind was taken")
	}
}

func TestFirstFaultDecides(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	first := r.fault(Fault{Kind: Throttling})
	r.fault(Fault{Kind: AccessDenied, Times: 1})
	wantCode(t, r.describeGroups(), "Throttling", "")
	r.cloud.RemoveFault(first)
	wantCode(t, r.describeGroups(), "AccessDenied", "") // not spent while another decided
	ok(t, r.describeGroups())
}

func TestLatency(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	r.fault(Fault{Kind: Delay, Latency: 3 * time.Second})
	r.fault(Fault{Kind: Throttling, Latency: 2 * time.Second})
	done := make(chan error, 1)
	go func() { done <- r.describeGroups() }()
	ok(t, r.clock.AwaitTimers(r.ctx, 1))
	r.clock.Advance(5*time.Second - 1)
	select {
	case err := <-done:
		t.Fatalf("answered too soon: %v", err)
	default:
	}
	r.clock.Advance(1)
	wantCode(t, <-done, "Throttling", "")

	ctx, cancel := context.WithCancel(r.ctx)
	go func() {
		_, err := r.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
		done <- err
	}()
	ok(t, r.clock.AwaitTimers(r.ctx, 1))
	cancel() // a caller that gives up is let go
	if err := <-done; err == nil {
		t.Error("no error after cancellation")
	}
}

func TestMetadataFaults(t *testing.T) {
	r := newRig(t, Config{}, bare(2))
	one, two := metadataClient(r.metadataURL(1)), metadataClient(r.metadataURL(2))
	const path = "instance-id"
	for _, c := range []*imds.Client{one, two} { // fetch the tokens: the SDK hides the status where that fails
		_, err := r.read(c, path)
		ok(t, err)
	}
	for _, c := range []struct {
		fault  Fault
		status int
	}{
		{Fault{Kind: Outage}, 500}, {Fault{Kind: Outage, Status: 503}, 503},
		{Fault{Kind: Throttling}, 429}, {Fault{Kind: AccessDenied}, 403}, {Fault{Kind: Cut}, 0},
	} {
		c.fault.Service, c.fault.Instance = "imds", r.id(1)
		id := r.fault(c.fault)
		if _, err := r.read(one, path); err == nil || (c.status != 0 && !isStatus(err, c.status)) {
			t.Errorf("%s: got %v, want %d", c.fault.Kind, err, c.status)
		}
		if _, err := r.read(two, path); err != nil {
			t.Errorf("%s: the other instance: %v", c.fault.Kind, err)
		}
		r.cloud.RemoveFault(id)
	}
	r.fault(Fault{Kind: Malformed, Service: "imds", Action: "/latest/meta-data/"})
	if got, err := r.read(one, path); err != nil || !strings.Contains(got, "<html") {
		t.Errorf("malformed: %q, %v", got, err)
	}
	r.cloud.ClearFaults()
	if got, err := r.read(one, path); err != nil || got != r.id(1) {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

func TestStaleness(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	r.cloud.SetStaleness(10 * time.Second)
	out, err := r.asg.DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
	ok(t, err)
	if len(out.AutoScalingGroups) != 0 {
		t.Error("a group is seen before it was made")
	}
	_, err = r.describe(r.id(1))
	wantCode(t, err, "InvalidInstanceID.NotFound", "")
	r.clock.Advance(20 * time.Second)
	r.wantStates("#1 Pending:Wait")
	ok(t, r.complete(1, "join", Continue)) // takes effect at once all the same
	r.clock.Advance(10*time.Second - 1)
	r.wantStates("#1 Pending:Wait")
	wantCode(t, r.complete(1, "join", Continue), "ValidationError", "No active Lifecycle Action")
	r.clock.Advance(1)
	r.wantStates("#1 InService")

	ok(t, r.ec2Terminate(r.id(1)))
	r.wantEC2("#1 running")
	r.cloud.SetStaleness(0)
	r.wantEC2("#1 terminated", "#2 running")
	r.clock.Advance(Visible)
	r.cloud.SetStaleness(time.Second) // also the end of the hour is seen late
	r.clock.Advance(time.Second - 1)
	_, err = r.describe(r.id(1))
	ok(t, err)
	r.clock.Advance(1)
	_, err = r.describe(r.id(1))
	wantCode(t, err, "InvalidInstanceID.NotFound", "")
}

func TestCalls(t *testing.T) {
	r := newRig(t, Config{MaxCalls: 3}, hooked(1))
	for range 3 {
		ok(t, r.describeGroups())
		r.clock.Advance(time.Second)
	}
	wantCode(t, r.complete(1, "leave", Continue), "ValidationError", "")
	calls := r.cloud.Calls()
	if len(calls) != 3 {
		t.Fatalf("%d calls kept, want 3", len(calls))
	}
	want := Call{At: epoch.Add(3 * time.Second), Service: "autoscaling", Action: "CompleteLifecycleAction", Group: "etcd",
		AccessKey: "AKIAOPERATOR", Status: 400, Code: "ValidationError"}
	if diff := cmp.Diff(want, calls[2]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAdmin(t *testing.T) {
	r := newRig(t, Config{}, hooked(2))
	do := func(want int, method, path, body string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(r.ctx, method, r.url+"/_fake/"+path, bytes.NewBufferString(body))
		ok(t, err)
		resp, err := http.DefaultClient.Do(req)
		ok(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		ok(t, err)
		if resp.StatusCode != want {
			t.Errorf("%s %s: status %d, want %d: %s", method, path, resp.StatusCode, want, b)
		}
		return string(b)
	}
	do(200, "POST", "groups/etcd/limits", `{"min": 0, "max": 4}`)
	do(200, "POST", "groups/etcd/desired", `{"desired": 3}`)
	do(400, "POST", "groups/etcd/desired", `{"desired": 5}`)
	do(400, "POST", "groups/etcd/desired", `{"wanted": 3}`)
	do(400, "POST", "groups/other/desired", `{"desired": 3}`)
	do(200, "POST", "groups/etcd/suspend", `{"processes": ["Launch"]}`)
	do(200, "POST", "instances/"+r.id(1)+"/terminate", `{"decrement": true}`)
	do(200, "POST", "instances/"+r.id(2)+"/terminate", `{"via": "ec2"}`)
	do(200, "POST", "instances/"+r.id(3)+"/terminate", `{"via": "spot", "in": "2m"}`)
	do(400, "POST", "instances/"+r.id(3)+"/terminate", `{"via": "axe"}`)
	r.wantStates("#1 Terminating:Wait", "#3 Pending:Wait")
	do(200, "POST", "groups/etcd/resume", ``)
	r.wantStates("#1 Terminating:Wait", "#3 Pending:Wait", "#4 Pending:Wait")

	do(200, "POST", "instances/"+r.id(3)+"/metadata", `{"path": "events/recommendations/rebalance", "value": "{}"}`)
	if got, err := r.read(metadataClient(r.metadataURL(3)), "events/recommendations/rebalance"); got != "{}" {
		t.Errorf("metadata: %q, %v", got, err)
	}
	do(200, "DELETE", "instances/"+r.id(3)+"/metadata?path=events/recommendations/rebalance", "")

	var added map[string]string
	ok(t, json.Unmarshal([]byte(do(200, "POST", "faults", `{"kind": "throttling", "action": "SetDesiredCapacity", "latency": "0s"}`)), &added))
	wantCode(t, r.desire(1), "Throttling", "")
	if list := do(200, "GET", "faults", ""); !strings.Contains(list, `"action": "SetDesiredCapacity"`) {
		t.Errorf("faults: %s", list)
	}
	do(200, "DELETE", "faults/"+added["id"], "")
	do(404, "DELETE", "faults/"+added["id"], "")
	do(400, "POST", "faults", `{"kind": "weather"}`)
	do(200, "POST", "faults", `{"kind": "outage"}`)
	do(200, "DELETE", "faults", "")
	ok(t, r.describeGroups())

	do(200, "POST", "staleness", `{"delay": "1m"}`)
	r.clock.Advance(30 * time.Second)
	ok(t, r.complete(3, "join", Continue))
	r.clock.Advance(30 * time.Second)
	if got := r.states()[1]; got != "#3 Pending:Wait" {
		t.Errorf("stale: %s", got)
	}
	if table := do(200, "GET", "timeline", ""); !strings.Contains(table, "+30.000s  etcd   "+r.id(3)+"  hook-completed") {
		t.Errorf("timeline:\n%s", table)
	}
	var events []Event
	ok(t, json.Unmarshal([]byte(do(200, "GET", "events?since=3", "")), &events))
	if events[0].Seq != 4 {
		t.Errorf("events since 3 begin with %d", events[0].Seq)
	}
	for _, path := range []string{"state", "calls", ""} {
		do(200, "GET", path, "")
	}
	do(200, "DELETE", "groups/etcd?force=true", "")
	if len(r.cloud.Groups()) != 0 {
		t.Error("the group is still there")
	}
}
