package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
)

func TestAWS(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		root := newRoot()
		root.SetArgs([]string{"aws", "--group", "g", "--desired", "2", "--boot", "0s", "--tag", "role=etcd", "--terminate-hook", ""})
		root.SetOut(write)
		ended <- root.ExecuteContext(ctx)
		write.Close()
	}()

	// Read until both instances wait, collecting what was printed.
	env, metadata := map[string]string{}, map[string]string{}
	lines := bufio.NewScanner(read)
	for waiting := 0; waiting < 2; {
		if !lines.Scan() {
			t.Fatalf("output ended early: %v", <-ended)
		}
		line := lines.Text()
		if kv, found := strings.CutPrefix(line, "export "); found {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = v
		}
		if id, url, found := strings.Cut(line, ": AWS_EC2_METADATA_SERVICE_ENDPOINT="); found {
			metadata[strings.TrimPrefix(id, "# ")] = url
		}
		if strings.Contains(line, "hook-opened quorumd-launch") {
			waiting++
		}
	}
	go io.Copy(io.Discard, read)

	asg := autoscaling.New(autoscaling.Options{
		Region: env["AWS_REGION"], BaseEndpoint: aws.String(env["AWS_ENDPOINT_URL"]),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]}, nil
		}),
	})
	out, err := asg.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.AutoScalingInstances) != 2 {
		t.Fatalf("%d instances, want 2", len(out.AutoScalingInstances))
	}
	for _, i := range out.AutoScalingInstances {
		if *i.LifecycleState != "Pending:Wait" || *i.AutoScalingGroupName != "g" {
			t.Errorf("%s is %s in %s", *i.InstanceId, *i.LifecycleState, *i.AutoScalingGroupName)
		}
		doc, err := imds.New(imds.Options{Endpoint: metadata[*i.InstanceId]}).GetInstanceIdentityDocument(ctx, nil)
		if err != nil || doc.InstanceID != *i.InstanceId {
			t.Errorf("metadata at %s: %v", metadata[*i.InstanceId], err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAWSBadFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--listen", "nowhere"}, {"--replace", "never"}, {"--desired", "10"}, {"--default-result", "PERHAPS"}, {"--nonsense"}, {"extra"},
	} {
		root := newRoot()
		root.SetArgs(append([]string{"aws"}, args...))
		root.SetOut(io.Discard)
		if err := root.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
