package fakeaws

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/google/go-cmp/cmp"
)

// metadataURL serves the metadata of the n-th instance on loopback.
func (r *rig) metadataURL(n int) string {
	r.t.Helper()
	url, err := r.cloud.ServeMetadata(r.id(n), listen(r.t))
	ok(r.t, err)
	return url
}

// metadataClient is an SDK client that neither retries nor falls back to IMDSv1.
func metadataClient(url string) *imds.Client {
	return imds.New(imds.Options{Endpoint: url, Retryer: aws.NopRetryer{}, EnableFallback: aws.FalseTernary})
}

func (r *rig) read(c *imds.Client, path string) (string, error) {
	out, err := c.GetMetadata(r.ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", err
	}
	defer out.Content.Close()
	b, err := io.ReadAll(out.Content)
	return string(b), err
}

// raw makes one request without a client's help; headers are "Name: value".
func (r *rig) raw(method, url string, headers ...string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.ctx, method, url, nil)
	ok(r.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ok(r.t, err)
	return resp.StatusCode, string(b)
}

func (r *rig) wantStatus(want int, method, url string, headers ...string) string {
	r.t.Helper()
	got, body := r.raw(method, url, headers...)
	if got != want {
		r.t.Errorf("%s %s %v: status %d, want %d: %s", method, url, headers, got, want, body)
	}
	return body
}

func TestMetadata(t *testing.T) {
	g := bare(1)
	g.Tags = []Tag{{Key: "role", Value: "etcd", PropagateAtLaunch: true}}
	r := newRig(t, Config{}, g)
	c := metadataClient(r.metadataURL(1))
	for path, want := range map[string]string{
		"instance-id":                        r.id(1),
		"local-ipv4":                         "10.0.0.10",
		"placement/region":                   "eu-central-1",
		"placement/availability-zone":        "eu-central-1a",
		"ami-id":                             "ami-0fa4eaa5000000001",
		"instance-type":                      "m7g.medium",
		"autoscaling/target-lifecycle-state": "InService",
		"tags/instance/":                     "aws:autoscaling:groupName\nrole",
		"tags/instance/role":                 "etcd",
		"iam/security-credentials/":          InstanceRole,
		"placement":                          "availability-zone\nregion",
	} {
		got, err := r.read(c, path)
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", path, got, err, want)
		}
	}
	doc, err := c.GetInstanceIdentityDocument(r.ctx, nil)
	ok(t, err)
	want := imds.InstanceIdentityDocument{AvailabilityZone: "eu-central-1a", PrivateIP: "10.0.0.10", Version: "2017-09-30",
		Region: "eu-central-1", InstanceID: r.id(1), InstanceType: "m7g.medium", AccountID: "123456789012",
		PendingTime: epoch, ImageID: "ami-0fa4eaa5000000001", Architecture: "arm64"}
	if diff := cmp.Diff(want, doc.InstanceIdentityDocument); diff != "" {
		t.Errorf("identity document (-want +got):\n%s", diff)
	}
	if _, err := r.read(c, "spot/instance-action"); !isStatus(err, 404) {
		t.Errorf("spot/instance-action: got %v, want 404", err)
	}
	if _, err := c.GetUserData(r.ctx, nil); !isStatus(err, 404) {
		t.Errorf("user-data: got %v, want 404", err)
	}
}

func TestTargetState(t *testing.T) {
	g := hooked(1)
	r := newRig(t, Config{Timing: Timing{TargetFilled: 3 * time.Second}}, g)
	c := metadataClient(r.metadataURL(1))
	const path = "autoscaling/target-lifecycle-state"
	if _, err := r.read(c, path); !isStatus(err, 404) {
		t.Errorf("before it is filled: got %v, want 404", err)
	}
	r.clock.Advance(3 * time.Second)
	target := func(want string) {
		t.Helper()
		if got, err := r.read(c, path); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	target("InService") // the target, not the state: that is Pending:Wait
	ok(t, r.complete(1, "join", Continue))
	target("InService")
	ok(t, r.terminate(1, true))
	target("Terminated")
	ok(t, r.cloud.SetMetadata(r.id(1), path, "Standby"))
	target("Standby")
	ok(t, r.cloud.HideMetadata(r.id(1), path))
	if _, err := r.read(c, path); !isStatus(err, 404) {
		t.Errorf("hidden: got %v, want 404", err)
	}
	ok(t, r.cloud.ResetMetadata(r.id(1), path))
	target("Terminated")
	ok(t, r.complete(1, "leave", Continue))
	if _, err := r.read(c, path); err == nil {
		t.Error("the metadata of a terminated instance still answers")
	}
}

func TestMetadataTokens(t *testing.T) {
	r := newRig(t, Config{}, bare(2))
	url := r.metadataURL(1)
	token, data := url+"/latest/api/token", url+"/latest/meta-data/instance-id"
	const ttl = "X-aws-ec2-metadata-token-ttl-seconds: "
	const with = "X-aws-ec2-metadata-token: "
	for _, bad := range []string{"0", "21601", "-1", "soon", ""} {
		r.wantStatus(400, "PUT", token, ttl+bad)
	}
	r.wantStatus(400, "PUT", token)
	r.wantStatus(403, "PUT", token, ttl+"60", "X-Forwarded-For: 10.0.0.1")
	r.wantStatus(405, "GET", token)
	r.wantStatus(401, "GET", data)
	r.wantStatus(401, "GET", data, with+"nonsense")

	long := r.wantStatus(200, "PUT", token, ttl+"21600")
	short := r.wantStatus(200, "PUT", token, ttl+"1")
	r.wantStatus(200, "GET", data, with+short)
	r.wantStatus(401, "GET", r.metadataURL(2)+"/latest/meta-data/instance-id", with+long) // another instance's
	r.wantStatus(405, "POST", data, with+long)
	r.clock.Advance(time.Second)
	r.wantStatus(401, "GET", data, with+short)
	r.clock.Advance(21599*time.Second - 1)
	r.wantStatus(200, "GET", data, with+long)
	r.clock.Advance(1)
	r.wantStatus(401, "GET", data, with+long)
}

// The SDK's default chain finds credentials in metadata, and they tell who calls.
func TestInstanceCredentials(t *testing.T) {
	r := newRig(t, Config{}, bare(2))
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", r.metadataURL(2))
	t.Setenv("AWS_ENDPOINT_URL", r.url)
	cfg, err := config.LoadDefaultConfig(r.ctx, config.WithEC2IMDSRegion())
	ok(t, err)
	r.cloud.ResetCalls()
	_, err = autoscaling.NewFromConfig(cfg).DescribeAutoScalingGroups(r.ctx,
		&autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"etcd"}})
	ok(t, err)
	calls := r.cloud.Calls()
	want := Call{At: epoch, Service: "autoscaling", Action: "DescribeAutoScalingGroups", Group: "etcd", Instance: r.id(2),
		AccessKey: accessKey(r.id(2)), Status: 200}
	if diff := cmp.Diff(want, calls[len(calls)-1]); diff != "" {
		t.Errorf("last call (-want +got):\n%s", diff)
	}
}
