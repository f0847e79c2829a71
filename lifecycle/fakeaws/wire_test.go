package fakeaws

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/google/go-cmp/cmp"
)

func isStatus(err error, want int) bool {
	var resp *smithyhttp.ResponseError
	return errors.As(err, &resp) && resp.HTTPStatusCode() == want
}

// Answers to requests that no SDK would send, byte for byte but for the request id.
func TestErrorShapes(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	const signed = "Authorization: AWS4-HMAC-SHA256 Credential=AKIAX/20261122/eu-central-1/ec2/aws4_request, SignedHeaders=host, Signature=0"
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	for _, tc := range []struct {
		query, header string
		status        int
		want          string
	}{
		{"Action=Describe&Version=2011-01-01", signed, 400, `<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>Could not find operation Describe for version 2011-01-01</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
		{"Action=RunInstances", signed, 400, `<Response><Errors><Error><Code>InvalidAction</Code><Message>The action RunInstances is not valid for this web service.</Message></Error></Errors><RequestID>ID</RequestID></Response>`},
		{"Version=2016-11-15", signed, 400, `<Response><Errors><Error><Code>MissingAction</Code><Message>The request must contain the parameter Action</Message></Error></Errors><RequestID>ID</RequestID></Response>`},
		{"Action=DescribeTags&Version=2011-01-01", "A: b", 403, `<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error><Type>Sender</Type><Code>MissingAuthenticationToken</Code><Message>Missing Authentication Token</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
		{"Action=DescribeLifecycleHooks&Version=2011-01-01", signed, 400, `<ErrorResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><Error><Type>Sender</Type><Code>ValidationError</Code><Message>1 validation error detected: Value null at &#39;autoScalingGroupName&#39; failed to satisfy constraint: Member must not be null</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
	} {
		req, err := http.NewRequestWithContext(r.ctx, "GET", r.url+"/?"+tc.query, nil)
		ok(t, err)
		name, value, _ := strings.Cut(tc.header, ": ")
		req.Header.Set(name, value)
		resp, err := Transport{r.cloud.Handler()}.RoundTrip(req)
		ok(t, err)
		var b strings.Builder
		ok(t, resp.Write(&b))
		_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
		body = strings.ReplaceAll(body, resp.Header.Get("X-Amzn-Requestid"), "ID")
		if resp.StatusCode != tc.status {
			t.Errorf("%s: status %d, want %d", tc.query, resp.StatusCode, tc.status)
		}
		if diff := cmp.Diff(head+tc.want, body); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.query, diff)
		}
	}
}

func TestDescribeGroups(t *testing.T) {
	r := newRig(t, Config{}, hooked(1))
	for _, name := range []string{"b", "c"} {
		ok(t, r.cloud.AddGroup(GroupConfig{Name: name, Tags: []Tag{{Key: "team", Value: name}}}))
	}
	names := func(in autoscaling.DescribeAutoScalingGroupsInput) string {
		t.Helper()
		var all []string
		for {
			out, err := r.asg.DescribeAutoScalingGroups(r.ctx, &in)
			ok(t, err)
			for _, g := range out.AutoScalingGroups {
				all = append(all, *g.AutoScalingGroupName)
			}
			all = append(all, "|")
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return strings.Join(all, " ")
			}
		}
	}
	in := autoscaling.DescribeAutoScalingGroupsInput{}
	for _, tc := range []struct {
		name string
		in   autoscaling.DescribeAutoScalingGroupsInput
		want string
	}{
		{"all", in, "etcd b c |"},
		{"by name", autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"c", "b", "unknown"}}, "b c |"},
		{"in pages", autoscaling.DescribeAutoScalingGroupsInput{MaxRecords: aws.Int32(2)}, "etcd b | c |"},
		{"by tag", autoscaling.DescribeAutoScalingGroupsInput{Filters: []types.Filter{{Name: aws.String("tag:team"), Values: []string{"c"}}}}, "c |"},
		{"by key", autoscaling.DescribeAutoScalingGroupsInput{Filters: []types.Filter{{Name: aws.String("tag-key"), Values: []string{"team"}}}}, "b c |"},
	} {
		if got := names(tc.in); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	_, err := r.asg.DescribeAutoScalingGroups(r.ctx, &autoscaling.DescribeAutoScalingGroupsInput{NextToken: aws.String("nonsense")})
	wantCode(t, err, "InvalidNextToken", "nonsense")
}

func TestDescribeHooksAndInstances(t *testing.T) {
	r := newRig(t, Config{}, hooked(2))
	hooks, err := r.asg.DescribeLifecycleHooks(r.ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("etcd")})
	ok(t, err)
	want := []types.LifecycleHook{
		{AutoScalingGroupName: aws.String("etcd"), LifecycleHookName: aws.String("join"), LifecycleTransition: aws.String(string(Launching)),
			HeartbeatTimeout: aws.Int32(60), GlobalTimeout: aws.Int32(6000), DefaultResult: aws.String("ABANDON")},
		{AutoScalingGroupName: aws.String("etcd"), LifecycleHookName: aws.String("leave"), LifecycleTransition: aws.String(string(Terminating)),
			HeartbeatTimeout: aws.Int32(60), GlobalTimeout: aws.Int32(6000), DefaultResult: aws.String("ABANDON")},
	}
	if diff := cmp.Diff(want, hooks.LifecycleHooks, cmp.AllowUnexported(types.LifecycleHook{}), ignoreDocument); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	_, err = r.asg.DescribeLifecycleHooks(r.ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: aws.String("x")})
	wantCode(t, err, "ValidationError", "AutoScalingGroup name not found")

	out, err := r.asg.DescribeAutoScalingInstances(r.ctx, &autoscaling.DescribeAutoScalingInstancesInput{
		InstanceIds: []string{r.id(2), "i-00000000000000001"}})
	ok(t, err)
	if len(out.AutoScalingInstances) != 1 {
		t.Fatalf("got %d instances, want 1", len(out.AutoScalingInstances))
	}
	i := out.AutoScalingInstances[0]
	if *i.InstanceId != r.id(2) || *i.AutoScalingGroupName != "etcd" || *i.LifecycleState != "Pending:Wait" ||
		*i.HealthStatus != "HEALTHY" || *i.AvailabilityZone != "eu-central-1b" {
		t.Errorf("got %+v", i)
	}
}

// ignoreDocument ignores the SDK's private marker field.
var ignoreDocument = cmp.FilterPath(func(p cmp.Path) bool {
	return p.Last().String() == ".noSmithyDocumentSerde"
}, cmp.Ignore())

func TestTags(t *testing.T) {
	g := bare(1)
	g.Tags = []Tag{{Key: "kept", Value: "1"}}
	r := newRig(t, Config{}, g)
	tag := func(key, value string, propagate bool) types.Tag {
		return types.Tag{Key: &key, Value: &value, PropagateAtLaunch: &propagate,
			ResourceId: aws.String("etcd"), ResourceType: aws.String("auto-scaling-group")}
	}
	put := func(tags ...types.Tag) error {
		_, err := r.asg.CreateOrUpdateTags(r.ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: tags})
		return err
	}
	all := func(filters ...types.Filter) string {
		out, err := r.asg.DescribeTags(r.ctx, &autoscaling.DescribeTagsInput{Filters: filters})
		ok(t, err)
		var got []string
		for _, tag := range out.Tags {
			got = append(got, *tag.Key+"="+*tag.Value)
		}
		return strings.Join(got, " ")
	}
	ok(t, put(tag("quorum:id", "abc", true), tag("other", "2", false)))
	ok(t, put(tag("quorum:id", "def", true)))
	if got, want := all(), "kept=1 quorum:id=def other=2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := all(types.Filter{Name: aws.String("auto-scaling-group"), Values: []string{"etcd"}},
		types.Filter{Name: aws.String("key"), Values: []string{"quorum:id"}}), "quorum:id=def"; got != want {
		t.Errorf("filtered: got %q, want %q", got, want)
	}
	ok(t, r.desire(2))
	inst, _ := r.cloud.Instance(r.id(2))
	if diff := cmp.Diff(map[string]string{"aws:autoscaling:groupName": "etcd", "quorum:id": "def"}, inst.Tags); diff != "" {
		t.Errorf("tags of an instance launched later (-want +got):\n%s", diff)
	}
	del := tag("quorum:id", "", false)
	del.Value = nil
	_, err := r.asg.DeleteTags(r.ctx, &autoscaling.DeleteTagsInput{Tags: []types.Tag{del, tag("other", "not this", false)}})
	ok(t, err)
	if got, want := all(), "kept=1 other=2"; got != want {
		t.Errorf("after deletion: got %q, want %q", got, want)
	}
	wantCode(t, put(tag("aws:x", "1", false)), "ValidationError", "aws:")
	elsewhere := tag("x", "1", false)
	elsewhere.ResourceId = aws.String("unknown")
	wantCode(t, put(tag("y", "1", false), elsewhere), "ValidationError", "name not found")
	if got, want := all(), "kept=1 other=2"; got != want {
		t.Errorf("after refusals: got %q, want %q", got, want)
	}
}

// The aws command line (botocore) reads the same answers with a parser of its own.
func TestCommandLine(t *testing.T) {
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the aws command line is not installed")
	}
	r := newRig(t, Config{}, hooked(1))
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(r.ctx, cli, append(args, "--output", "text")...)
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+r.url, "AWS_DEFAULT_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIACLI",
			"AWS_SECRET_ACCESS_KEY=fake", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := run("--version"); err != nil {
		t.Skipf("the aws command line does not run: %s", out)
	}
	want := func(want string, args ...string) {
		t.Helper()
		if got, err := run(args...); err != nil || got != want {
			t.Errorf("%v: got %q, %v; want %q", args, got, err, want)
		}
	}
	want(r.id(1)+"\tPending:Wait", "autoscaling", "describe-auto-scaling-groups", "--query", "AutoScalingGroups[].Instances[].[InstanceId,LifecycleState]")
	want("", "autoscaling", "complete-lifecycle-action", "--auto-scaling-group-name", "etcd", "--lifecycle-hook-name", "join",
		"--instance-id", r.id(1), "--lifecycle-action-result", "CONTINUE")
	want("running\t10.0.0.10", "ec2", "describe-instances", "--filters", "Name=tag:aws:autoscaling:groupName,Values=etcd",
		"--query", "Reservations[].Instances[].[State.Name,PrivateIpAddress]")
	out, err := run("ec2", "describe-instances", "--instance-ids", "i-00000000000000001")
	if err == nil || !strings.Contains(out, "(InvalidInstanceID.NotFound) when calling the DescribeInstances operation: The instance ID 'i-00000000000000001' does not exist") {
		t.Errorf("unknown instance: %q, %v", out, err)
	}
}
