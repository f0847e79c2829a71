package lifecycle

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/policy"
)

const (
	fuzzSelf  = "i-0123456789abcdef0"
	fuzzOther = "i-0fedcba9876543210"
)

// answers is a network of one answer for each kind of question.
type answers func(r *http.Request) (status int, body string)

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := a(r)
	return &http.Response{StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"21600"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func fuzzEnv(f *testing.F) {
	f.Helper()
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": "http://aws", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://metadata",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_PROFILE": "", "AWS_CA_BUNDLE": "",
		"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "",
	} {
		f.Setenv(k, v)
	}
}

// FuzzMetadata: whatever metadata answers, the client takes it for an answer only if it
// is one. In particular "there is none" is only said by 404.
func FuzzMetadata(f *testing.F) {
	for _, body := range []string{"", "InService", "Warmed:Stopped", "<html>", "\x00", "[]", "null", "{}",
		`{"action":"terminate","time":"2026-11-22T10:02:00Z"}`, `{"action":"stop","time":"0001-01-01T00:00:00Z"}`,
		`[{"NotBefore":"21 Jan 2019 09:00:43 GMT","Code":"system-reboot","Description":"d","EventId":"instance-event-1","NotAfter":"21 Jan 2019 09:17:23 GMT","State":"active"}]`,
		`[{"State":"canceled"},{"State":"active","Code":"x","EventId":"y","NotBefore":"31 Feb 2019 09:00:43 GMT"}]`,
		`{"instanceId":"i-0123456789abcdef0","region":"eu-central-1","availabilityZone":"eu-central-1a","privateIp":"10.0.0.1","accountId":"1"}`} {
		for _, status := range []uint8{0, 1, 2} {
			f.Add(status, body)
		}
	}
	fuzzEnv(f)
	m, err := NewMetadata(f.Context(), MetadataConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind uint8, body string) {
		status := []int{http.StatusOK, http.StatusNotFound, http.StatusInternalServerError}[kind%3]
		m.http.http.Transport = answers(func(r *http.Request) (int, string) {
			if r.Method == http.MethodPut {
				return http.StatusOK, "token"
			}
			return status, body
		})
		target, err := m.Target(t.Context())
		wantAnswer(t, "target", status, err, target == "", isWord(string(target)) && string(target) == body)
		spot, err := m.Spot(t.Context())
		wantAnswer(t, "Spot notice", status, err, spot == policy.Notice{}, isWord(spot.Action) && !spot.Time.IsZero())
		events, err := m.Scheduled(t.Context())
		wantAnswer(t, "scheduled events", status, err, events == nil, len(events) <= maxScheduled &&
			!slices.ContainsFunc(events, func(e ScheduledEvent) bool { return !isWord(e.ID) || !isWord(e.Code) }))
		id, err := m.Identity(t.Context())
		if err == nil && (status != http.StatusOK || !instanceID.MatchString(string(id.InstanceID)) || !isWord(id.Region) || !id.PrivateIP.Is4()) {
			t.Errorf("status %d, %q: identity %+v", status, body, id)
		}
	})
}

// wantAnswer: an error and nothing, or, by 404, no error and nothing, or a sound value.
func wantAnswer(t *testing.T, what string, status int, err error, nothing, sound bool) {
	t.Helper()
	switch {
	case err != nil && !nothing:
		t.Errorf("%s: a value beside the error %v", what, err)
	case status == http.StatusNotFound && (err != nil || !nothing):
		t.Errorf("%s: not found, but %v", what, err)
	case status == http.StatusInternalServerError && err == nil:
		t.Errorf("%s: an answer from status %d", what, status)
	case status == http.StatusOK && err == nil && !sound:
		t.Errorf("%s: taken for an answer", what)
	}
}

func fuzzFleet(f *testing.F) *Fleet {
	f.Helper()
	fuzzEnv(f)
	fleet, err := NewFleet(f.Context(), FleetConfig{Instance: fuzzSelf, Region: "eu-central-1", Attempts: 1,
		Now: func() time.Time { return time.Unix(1, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	return fleet
}

// actionOf reads a request's action, and leaves it as it was.
func actionOf(r *http.Request) string {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	for _, p := range strings.Split(string(b), "&") {
		if action, ok := strings.CutPrefix(p, "Action="); ok {
			return action
		}
	}
	return ""
}

const (
	fuzzGroups = `<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups><member>` +
		`<AutoScalingGroupName>etcd</AutoScalingGroupName><AutoScalingGroupARN>arn</AutoScalingGroupARN><DesiredCapacity>3</DesiredCapacity>` +
		`<Instances><member><InstanceId>` + fuzzSelf + `</InstanceId><LifecycleState>InService</LifecycleState></member></Instances>` +
		`<Tags><member><Key>quorumd:cluster-id</Key><Value>c0ffee</Value></member></Tags>` +
		`<SuspendedProcesses><member><ProcessName>Launch</ProcessName></member></SuspendedProcesses>` +
		`</member></AutoScalingGroups></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>`
	fuzzMember = `<DescribeAutoScalingInstancesResponse><DescribeAutoScalingInstancesResult><AutoScalingInstances><member><InstanceId>` + fuzzSelf +
		`</InstanceId><AutoScalingGroupName>etcd</AutoScalingGroupName><LifecycleState>Warmed:Pending:Wait</LifecycleState></member></AutoScalingInstances>` +
		`</DescribeAutoScalingInstancesResult></DescribeAutoScalingInstancesResponse>`
	fuzzHooks = `<DescribeLifecycleHooksResponse><DescribeLifecycleHooksResult><LifecycleHooks><member><LifecycleHookName>leave</LifecycleHookName>` +
		`<LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition><HeartbeatTimeout>60</HeartbeatTimeout></member></LifecycleHooks>` +
		`</DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>`
	fuzzRefusal = `<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>No active Lifecycle Action found with instance ID i-1</Message></Error></ErrorResponse>`
)

// FuzzAutoScalingAnswer: one of the group's three answers is anything. What is then
// taken for the group is sound: it names itself, no instance twice, and none without a state.
func FuzzAutoScalingAnswer(f *testing.F) {
	actions := []string{"DescribeAutoScalingGroups", "DescribeAutoScalingInstances", "DescribeLifecycleHooks"}
	for i, good := range []string{fuzzGroups, fuzzMember, fuzzHooks} {
		for _, body := range []string{good, "", "<html/>", good[:len(good)/2], strings.Replace(good, "<member>", "<member/><member>", 1),
			strings.ReplaceAll(good, fuzzSelf, fuzzOther), strings.Replace(good, ">3<", ">-3<", 1), strings.Replace(good, ">60<", ">99999999999<", 1)} {
			f.Add(uint8(i), false, body)
			f.Add(uint8(i), true, body)
		}
		f.Add(uint8(i), true, fuzzRefusal)
	}
	fleet := fuzzFleet(f)
	f.Fuzz(func(t *testing.T, which uint8, refused bool, body string) {
		action := actions[int(which)%len(actions)]
		fleet.http.http.Transport = answers(func(r *http.Request) (int, string) {
			switch got := actionOf(r); {
			case got != action:
				return http.StatusOK, map[string]string{actions[0]: fuzzGroups, actions[1]: fuzzMember, actions[2]: fuzzHooks}[got]
			case refused:
				return http.StatusBadRequest, body
			}
			return http.StatusOK, body
		})
		fleet.group, fleet.hooks, fleet.hooksAt = "", nil, time.Time{}
		g, err := fleet.Group(t.Context())
		if err != nil {
			return
		}
		if refused && (action != actions[2] || g.HooksErr == "") {
			t.Fatalf("%s was refused, and yet %+v", action, g)
		}
		if g.Name == "" || g.ARN == "" || g.Desired < 0 {
			t.Errorf("group %+v", g)
		}
		for i, m := range g.Instances {
			if !instanceID.MatchString(string(m.ID)) || m.State == "" || i > 0 && g.Instances[i-1].ID >= m.ID {
				t.Errorf("instances %+v", g.Instances)
			}
		}
		for _, h := range g.Hooks {
			if h.Name == "" || h.Transition == "" || h.Timeout <= 0 || h.Global <= 0 {
				t.Errorf("hook %+v", h)
			}
		}
	})
}

// FuzzEC2Answer: EC2's first answer is anything, its second is in order. No instance is
// then gone but one that the first refused by its id, and never the one that asks.
func FuzzEC2Answer(f *testing.F) {
	described := func(ids ...string) string {
		s := ""
		for _, id := range ids {
			s += `<item><instancesSet><item><instanceId>` + id + `</instanceId><instanceState><code>16</code><name>running</name></instanceState>` +
				`<privateIpAddress>10.0.0.1</privateIpAddress></item></instancesSet></item>`
		}
		return `<DescribeInstancesResponse><reservationSet>` + s + `</reservationSet></DescribeInstancesResponse>`
	}
	refusal := func(code, message string) string {
		return `<Response><Errors><Error><Code>` + code + `</Code><Message>` + message + `</Message></Error></Errors></Response>`
	}
	const notFound = "InvalidInstanceID.NotFound"
	for _, body := range []string{"", "<html/>", described(), described(fuzzSelf), described(fuzzSelf, fuzzOther), described(fuzzSelf, fuzzOther)[:90],
		strings.Replace(described(fuzzSelf, fuzzOther), "running", "", 1), strings.Replace(described(fuzzSelf), "</res", "<nextToken>x</nextToken></res", 1)} {
		f.Add(false, body)
		f.Add(true, body)
	}
	for _, message := range []string{"", "The instance ID '" + fuzzOther + "' does not exist", "The instance IDs '" + fuzzSelf + ", " + fuzzOther + "' do not exist",
		"The instance ID 'i-00000001' does not exist"} {
		f.Add(true, refusal(notFound, message))
		f.Add(true, refusal("UnauthorizedOperation", message))
	}
	fleet := fuzzFleet(f)
	f.Fuzz(func(t *testing.T, refused bool, body string) {
		first := true
		fleet.http.http.Transport = answers(func(*http.Request) (int, string) {
			if !first {
				return http.StatusOK, described(fuzzSelf)
			}
			first = false
			if refused {
				return http.StatusBadRequest, body
			}
			return http.StatusOK, body
		})
		got, err := fleet.Instances(t.Context(), []policy.InstanceID{fuzzSelf, fuzzOther})
		if err != nil {
			return
		}
		if len(got) != 2 {
			t.Errorf("%v without an error", got)
		}
		for id, i := range got {
			gone := i.State == policy.InstanceNotFound
			named := strings.Contains(body, string(id)) && strings.Contains(body, notFound)
			spelled := strings.ContainsAny(body, "&!?") // perhaps in another way: entities, CDATA
			if i.State == "" || gone && (id == fuzzSelf || !refused || !named && !spelled) {
				t.Errorf("%s is %+v", id, i)
			}
		}
	})
}
