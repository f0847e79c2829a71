package imdsmock

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

var (
	epoch     = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	spotTime  = epoch.Add(2 * time.Minute)
	notBefore = epoch.Add(72 * time.Hour)
	notAfter  = epoch.Add(74 * time.Hour)
)

const eventID = "instance-event-1234567890abcdef0" // the mock's default

// scenario is something that metadata says, made in either service, and what must be read
// from both.
type scenario struct {
	name  string
	mock  []string // arguments of the mock, besides quiet's
	ours  func(c *fakeaws.Cloud, id string) error
	check func(t *testing.T, s service)
}

var scenarios = []scenario{
	{"nothing to tell", nil, nil, func(t *testing.T, s service) {
		s.wantTarget(t, policy.TargetInService)
		s.wantSpot(t, policy.Notice{})
		s.wantScheduled(t)
		id, err := s.client.Identity(t.Context())
		if err != nil || id.Region == "" || id.AZ == "" || !id.PrivateIP.IsPrivate() || id.AccountID == "" {
			t.Errorf("identity %+v, %v", id, err)
		}
	}},
	{"told to go", []string{"--asg-termination-delay-sec", "0"},
		func(c *fakeaws.Cloud, id string) error { return c.TerminateInGroup(id, false) },
		func(t *testing.T, s service) { s.wantTarget(t, policy.TargetTerminated) }},
	{"Spot interruption", []string{"spot", "--mock-delay-sec", "0", "--action", "terminate", "--time", spotTime.Format(time.RFC3339)},
		func(c *fakeaws.Cloud, id string) error { return c.InterruptSpot(id, spotTime.Sub(epoch)) },
		func(t *testing.T, s service) { s.wantSpot(t, policy.Notice{Action: "terminate", Time: spotTime}) }},
	{"scheduled reboot", events("system-reboot", "active"), schedule("system-reboot"), func(t *testing.T, s service) {
		s.wantScheduled(t, lifecycle.ScheduledEvent{ID: eventID, Code: lifecycle.SystemReboot, NotBefore: notBefore, NotAfter: notAfter})
	}},
	{"scheduled retirement", events("instance-retirement", "active"), schedule("instance-retirement"), func(t *testing.T, s service) {
		s.wantScheduled(t, lifecycle.ScheduledEvent{ID: eventID, Code: "instance-retirement", NotBefore: notBefore, NotAfter: notAfter})
	}},
	{"cancelled reboot", events("system-reboot", "canceled"), func(c *fakeaws.Cloud, id string) error {
		if err := schedule("system-reboot")(c, id); err != nil {
			return err
		}
		return c.EndScheduled(id, eventID, "canceled")
	}, func(t *testing.T, s service) { s.wantScheduled(t) }},
	// A recommendation is no notice: the agent reads what it read before.
	{"rebalance recommendation", []string{"--rebalance-delay-sec", "0"},
		func(c *fakeaws.Cloud, id string) error { return c.RecommendRebalance(id) },
		func(t *testing.T, s service) {
			if status, body := s.read(t, "meta-data/events/recommendations/rebalance"); status != 200 || !strings.Contains(body, "noticeTime") {
				t.Errorf("recommendation: %d %s", status, body)
			}
			s.wantSpot(t, policy.Notice{})
			s.wantScheduled(t)
			s.wantTarget(t, policy.TargetInService)
		}},
}

// quiet keeps the mock from telling anything by itself.
var quiet = []string{"--mock-delay-sec", "86400", "--rebalance-delay-sec", "86400", "--asg-termination-delay-sec", "86400"}

func events(code, state string) []string {
	return []string{"events", "--mock-delay-sec", "0", "--code", code, "--state", state,
		"--not-before", notBefore.Format(time.RFC3339), "--not-after", notAfter.Format(time.RFC3339)}
}

func schedule(code string) func(*fakeaws.Cloud, string) error {
	return func(c *fakeaws.Cloud, id string) error {
		return c.Schedule(id, fakeaws.ScheduledEvent{ID: eventID, Code: code, NotBefore: notBefore, NotAfter: notAfter})
	}
}

func TestBoth(t *testing.T) {
	mock := buildMock(t)
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			var docs [2]map[string]string
			t.Run("mock", func(t *testing.T) {
				s := startMock(t, mock, sc.mock...)
				sc.check(t, s)
				docs[0] = s.documents(t)
			})
			t.Run("ours", func(t *testing.T) {
				s, _, _ := startOurs(t, sc.ours)
				sc.check(t, s)
				docs[1] = s.documents(t)
			})
			compareDocuments(t, docs[0], docs[1])
		})
	}
}

// The level changes under the eyes of a client that keeps its token and its connection.
func TestTargetChanges(t *testing.T) {
	mock := buildMock(t)
	follow := func(t *testing.T, s service, change func()) {
		var seen []policy.Target
		for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			got, err := s.client.Target(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(seen) == 0 || seen[len(seen)-1] != got {
				seen = append(seen, got)
			}
			if len(seen) == 1 {
				change()
			}
			if got == policy.TargetTerminated {
				break
			}
		}
		if diff := cmp.Diff([]policy.Target{policy.TargetInService, policy.TargetTerminated}, seen); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
	}
	t.Run("mock", func(t *testing.T) {
		// The mock counts from its own start and can be told nothing afterwards. Where it
		// took longer than that to answer, it has to be given more time.
		for _, delay := range []int{2, 5, 15, 60} {
			s := startMock(t, mock, "--asg-termination-delay-sec", fmt.Sprint(delay))
			if first, err := s.client.Target(t.Context()); err == nil && first == policy.TargetInService {
				follow(t, s, func() {})
				return
			}
		}
		t.Error("the mock says Terminated from the start, whatever its delay")
	})
	t.Run("ours", func(t *testing.T) {
		s, c, id := startOurs(t, nil)
		follow(t, s, func() {
			if err := c.TerminateInGroup(id, false); err != nil {
				t.Error(err)
			}
		})
	})
}

// What is asked without a token, or with a wrong one, is refused alike.
func TestTokens(t *testing.T) {
	mock := buildMock(t)
	check := func(t *testing.T, s service) {
		const ttl, token = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"
		for _, c := range []struct {
			method, path, header, value string
			want                        int
		}{
			{"GET", "meta-data/instance-id", "", "", 401},
			{"GET", "meta-data/instance-id", token, "nonsense", 401},
			{"PUT", "api/token", ttl, "0", 400},
			{"PUT", "api/token", ttl, "21601", 400},
			{"PUT", "api/token", ttl, "soon", 400},
			{"PUT", "api/token", "", "", 400},
			{"PUT", "api/token", ttl, "21600", 200},
			{"PUT", "api/token", ttl, "1", 200},
		} {
			if got, body := s.ask(t, c.method, c.path, c.header, c.value); got != c.want {
				t.Errorf("%s %s, %s %s: status %d, want %d: %s", c.method, c.path, c.header, c.value, got, c.want, body)
			}
		}
		if status, _ := s.read(t, "meta-data/no/such/path"); status != 404 {
			t.Errorf("no such path: status %d, want 404", status)
		}
	}
	t.Run("mock", func(t *testing.T) { check(t, startMock(t, mock)) })
	t.Run("ours", func(t *testing.T) {
		s, _, _ := startOurs(t, nil)
		check(t, s)
	})
}

// compareDocuments: what ours says in JSON, the mock says with the same members.
func compareDocuments(t *testing.T, mock, ours map[string]string) {
	t.Helper()
	for path, doc := range ours {
		theirs, ok := mock[path]
		if !ok || doc == "" {
			continue
		}
		have := members(t, theirs)
		for _, name := range members(t, doc) {
			if !slices.Contains(have, name) {
				t.Errorf("%s: member %s is not in the mock's, which has %s", path, name, have)
			}
		}
	}
}

// members lists the members of a JSON object, or of the first of a list.
func members(t *testing.T, doc string) []string {
	t.Helper()
	var list []map[string]any
	if json.Unmarshal([]byte(doc), &list) != nil {
		list = make([]map[string]any, 1)
		if err := json.Unmarshal([]byte(doc), &list[0]); err != nil {
			t.Fatalf("%.100s: %v", doc, err)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(list[0]))
}

// service is a metadata service with the agent's client for it.
type service struct {
	url    string
	client *lifecycle.Metadata
}

func newService(t *testing.T, url string) service {
	t.Helper()
	for k, v := range map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_EC2_METADATA_DISABLED": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": ""} {
		t.Setenv(k, v)
	}
	client, err := lifecycle.NewMetadata(t.Context(), lifecycle.MetadataConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return service{url: url, client: client}
}

func (s service) wantTarget(t *testing.T, want policy.Target) {
	t.Helper()
	if got, err := s.client.Target(t.Context()); got != want || err != nil {
		t.Errorf("target %q, %v; want %q", got, err, want)
	}
}

func (s service) wantSpot(t *testing.T, want policy.Notice) {
	t.Helper()
	if got, err := s.client.Spot(t.Context()); got != want || err != nil {
		t.Errorf("Spot notice %v, %v; want %v", got, err, want)
	}
}

func (s service) wantScheduled(t *testing.T, want ...lifecycle.ScheduledEvent) {
	t.Helper()
	got, err := s.client.Scheduled(t.Context())
	for i := range got {
		got[i].Description = ""
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("scheduled events: %v (-want +got):\n%s", err, diff)
	}
}

// documents are all the JSON that the service has at the paths that matter.
func (s service) documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, path := range []string{"meta-data/spot/instance-action", "meta-data/events/maintenance/scheduled",
		"meta-data/events/recommendations/rebalance", "dynamic/instance-identity/document"} {
		if status, body := s.read(t, path); status == 200 {
			out[path] = body
		}
	}
	return out
}

// read asks for a path with a token of its own.
func (s service) read(t *testing.T, path string) (int, string) {
	t.Helper()
	_, token := s.ask(t, "PUT", "api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	return s.ask(t, "GET", path, "X-aws-ec2-metadata-token", token)
}

func (s service) ask(t *testing.T, method, path, header, value string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+"/latest/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != "" {
		req.Header.Set(header, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// startOurs serves the metadata of an instance in service, after change.
func startOurs(t *testing.T, change func(*fakeaws.Cloud, string) error) (service, *fakeaws.Cloud, string) {
	t.Helper()
	cloud, err := fakeaws.New(fakeaws.Config{Clock: fakeaws.NewManualClock(epoch), Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	// A hook, so that who is told to go is still there to be asked.
	err = cloud.AddGroup(fakeaws.GroupConfig{Name: "etcd", Max: 3, Desired: 1,
		Hooks: []fakeaws.Hook{{Name: "leave", Transition: fakeaws.Terminating}}})
	if err != nil {
		t.Fatal(err)
	}
	id := cloud.Instances()[0].ID
	if change != nil {
		if err := change(cloud, id); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url, err := cloud.ServeMetadata(id, ln)
	if err != nil {
		t.Fatal(err)
	}
	return newService(t, url), cloud, id
}

// buildMock gives the mock's binary, which the go command builds and keeps.
func buildMock(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-n", "ec2-metadata-mock")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build the mock: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// startMock runs the mock on loopback for as long as the test.
func startMock(t *testing.T, binary string, args ...string) service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	if err := ln.Close(); err != nil { // the mock cannot be given a listener
		t.Fatal(err)
	}
	all := append([]string{"--imdsv2", "--hostname", "127.0.0.1", "--port", fmt.Sprint(port)}, quiet...)
	cmd := exec.CommandContext(t.Context(), binary, append(all, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // where it looks for its configuration
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("the mock: %s", log.String())
		}
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	for deadline := time.After(20 * time.Second); ; {
		if resp, err := http.Get(url + "/"); err == nil {
			_ = resp.Body.Close()
			return newService(t, url)
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the mock ended: %v: %s", err, log.String())
		case <-deadline:
			t.Fatal("the mock does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
