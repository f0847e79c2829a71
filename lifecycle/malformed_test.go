package lifecycle_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
)

const (
	me    = "i-0123456789abcdef0"
	other = "i-0fedcba9876543210"
)

// script is an API server that answers by action; an action it has no word for fails the test.
type script struct {
	t       *testing.T
	mu      sync.Mutex
	answers map[string][]string // the last one is repeated
	asked   []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := r.FormValue("Action")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, strings.TrimSpace(action+" "+r.FormValue("NextToken")))
	of := s.answers[action]
	if len(of) == 0 {
		s.t.Errorf("unexpected call of %s", action)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if len(of) > 1 {
		s.answers[action] = of[1:]
	}
	_, _ = w.Write([]byte(of[0]))
}

// scripted makes an adapter in front of a script with an ordinary group of one, where
// answers replace the ordinary ones.
func scripted(t *testing.T, answers map[string][]string) (*lifecycle.Fleet, *script) {
	t.Helper()
	s := &script{t: t, answers: map[string][]string{
		"DescribeAutoScalingInstances": {result("DescribeAutoScalingInstances", inGroup(me))},
		"DescribeAutoScalingGroups":    {result("DescribeAutoScalingGroups", groups(groupXML(member(me, "InService"))))},
		"DescribeLifecycleHooks":       {result("DescribeLifecycleHooks", "<LifecycleHooks/>")},
		"DescribeInstances":            {described(me, "running")},
	}}
	for k, v := range answers {
		s.answers[k] = v
	}
	return at(t, s.ServeHTTP), s
}

func result(action, body string) string {
	return fmt.Sprintf("<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", action, body)
}

func inGroup(id string) string {
	return "<AutoScalingInstances><member><InstanceId>" + id + "</InstanceId><AutoScalingGroupName>etcd</AutoScalingGroupName>" +
		"</member></AutoScalingInstances>"
}

func groups(g ...string) string {
	return "<AutoScalingGroups>" + strings.Join(g, "") + "</AutoScalingGroups>"
}

func groupXML(members string, more ...string) string {
	return "<member><AutoScalingGroupName>etcd</AutoScalingGroupName><AutoScalingGroupARN>arn</AutoScalingGroupARN>" +
		"<DesiredCapacity>1</DesiredCapacity><Instances>" + members + "</Instances>" + strings.Join(more, "") + "</member>"
}

func member(id, state string, more ...string) string {
	return "<member><InstanceId>" + id + "</InstanceId><LifecycleState>" + state + "</LifecycleState>" + strings.Join(more, "") + "</member>"
}

func hookOf(name string) string {
	return "<LifecycleHooks><member><LifecycleHookName>" + name + "</LifecycleHookName><HeartbeatTimeout>3600</HeartbeatTimeout>" +
		"<LifecycleTransition>autoscaling:EC2_INSTANCE_TERMINATING</LifecycleTransition></member></LifecycleHooks>"
}

func described(id, state string, more ...string) string {
	return "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>" + id + "</instanceId>" +
		"<instanceState><code>16</code><name>" + state + "</name></instanceState></item></instancesSet></item></reservationSet>" +
		strings.Join(more, "") + "</DescribeInstancesResponse>"
}

// noAnswers are bodies with status 200 that are no answer of any service.
var noAnswers = map[string]string{
	"empty":       "",
	"a page":      "<html><body>please log in</body></html>",
	"a document":  "<?xml version='1.0'?><Nothing/>",
	"text":        "OK",
	"JSON":        `{"AutoScalingGroups":[]}`,
	"binary":      "\x00\x01\x02",
	"cut short":   "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups>",
	"cut shorter": "<DescribeInstancesResponse><reservationSet/",
}

// What is no answer of AWS is an error of every call, above all of those whose empty
// result would mean that something is gone.
func TestNoAnswer(t *testing.T) {
	for name, body := range noAnswers {
		for _, action := range []string{"DescribeAutoScalingInstances", "DescribeAutoScalingGroups", "DescribeLifecycleHooks"} {
			f, _ := scripted(t, map[string][]string{action: {body}})
			if g, err := f.Group(t.Context()); !errors.Is(err, lifecycle.ErrMalformed) {
				t.Errorf("%s from %s: got %+v, %v", name, action, g, err)
			}
		}
		for _, action := range []string{"RecordLifecycleActionHeartbeat", "CompleteLifecycleAction", "CreateOrUpdateTags", "DescribeInstances"} {
			f, _ := scripted(t, map[string][]string{action: {body}})
			var err error
			switch action {
			case "RecordLifecycleActionHeartbeat":
				err = f.Heartbeat(t.Context(), "join")
			case "CompleteLifecycleAction":
				err = f.Complete(t.Context(), "join", policy.Continue)
			case "CreateOrUpdateTags":
				err = f.WriteTag(t.Context(), "c0ffee")
			default:
				_, err = f.Instances(t.Context(), []policy.InstanceID{me})
			}
			if !errors.Is(err, lifecycle.ErrMalformed) {
				t.Errorf("%s from %s: %v", name, action, err)
			}
		}
	}
}

func TestMalformedGroup(t *testing.T) {
	good := groupXML(member(me, "InService"))
	for name, g := range map[string]string{
		"no ARN":               strings.Replace(good, "<AutoScalingGroupARN>arn</AutoScalingGroupARN>", "", 1),
		"no desired capacity":  strings.Replace(good, "<DesiredCapacity>1</DesiredCapacity>", "", 1),
		"desired is no number": strings.Replace(good, "<DesiredCapacity>1<", "<DesiredCapacity>many<", 1),
		"desired is negative":  strings.Replace(good, "<DesiredCapacity>1<", "<DesiredCapacity>-1<", 1),
		"instance without id":  groupXML(member(me, "InService") + member("", "InService")),
		"odd instance id":      groupXML(member(me, "InService") + member("../etc", "InService")),
		"instance, no state":   groupXML(member(me, "")),
		"instance twice":       groupXML(member(me, "InService") + member(me, "Terminating")),
	} {
		f, _ := scripted(t, map[string][]string{"DescribeAutoScalingGroups": {result("DescribeAutoScalingGroups", groups(g))}})
		if g, err := f.Group(t.Context()); err == nil {
			t.Errorf("%s: got %+v", name, g)
		}
	}
	for name, h := range map[string]string{
		"no name":       "<LifecycleTransition>t</LifecycleTransition><HeartbeatTimeout>60</HeartbeatTimeout>",
		"no transition": "<LifecycleHookName>n</LifecycleHookName><HeartbeatTimeout>60</HeartbeatTimeout>",
		"no timeout":    "<LifecycleHookName>n</LifecycleHookName><LifecycleTransition>t</LifecycleTransition>",
	} {
		f, _ := scripted(t, map[string][]string{"DescribeLifecycleHooks": {
			result("DescribeLifecycleHooks", "<LifecycleHooks><member>"+h+"</member></LifecycleHooks>")}})
		if g, err := f.Group(t.Context()); !errors.Is(err, lifecycle.ErrMalformed) {
			t.Errorf("hook with %s: got %+v, %v", name, g, err)
		}
	}
}

func TestMalformedInstances(t *testing.T) {
	for name, body := range map[string]string{
		"nobody":         "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>",
		"another":        described(other, "running"),
		"without state":  strings.Replace(described(me, "running"), "<name>running</name>", "", 1),
		"without id":     described("", "running"),
		"endless tokens": described(me, "running", "<nextToken>more</nextToken>"),
	} {
		f, _ := scripted(t, map[string][]string{"DescribeInstances": {body}})
		if got, err := f.Instances(t.Context(), []policy.InstanceID{me}); !errors.Is(err, lifecycle.ErrMalformed) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

// Where Auto Scaling does not say the global limit, it is the documented one.
func TestGlobalLimit(t *testing.T) {
	f, _ := scripted(t, map[string][]string{"DescribeLifecycleHooks": {result("DescribeLifecycleHooks", hookOf("leave"))}})
	g, err := f.Group(t.Context())
	want := []policy.Hook{{Name: "leave", Transition: policy.Terminating, Timeout: time.Hour, Global: 48 * time.Hour}}
	if diff := cmp.Diff(want, g.Hooks); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// States that nobody has heard of are passed on as they are.
func TestUnknownStates(t *testing.T) {
	f, _ := scripted(t, map[string][]string{
		"DescribeAutoScalingGroups": {result("DescribeAutoScalingGroups", groups(groupXML(member(me, "Warmed:Frozen:Wait"))))},
		"DescribeInstances":         {described(me, "levitating")},
	})
	g, err := f.Group(t.Context())
	if diff := cmp.Diff([]policy.GroupInstance{{ID: me, State: "Warmed:Frozen:Wait"}}, g.Instances); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	got, err := f.Instances(t.Context(), []policy.InstanceID{me})
	if diff := cmp.Diff(map[policy.InstanceID]policy.Instance{me: {State: "levitating"}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestWeighted(t *testing.T) {
	override := func(s string) string {
		return "<MixedInstancesPolicy><LaunchTemplate><Overrides><member>" + s + "</member></Overrides></LaunchTemplate></MixedInstancesPolicy>"
	}
	one := member(me, "InService")
	for name, c := range map[string]struct {
		group string
		want  bool
	}{
		"plain":                {groupXML(one), false},
		"units":                {groupXML(one, "<DesiredCapacityType>units</DesiredCapacityType>"), false},
		"types without weight": {groupXML(one, override("<InstanceType>m7g.medium</InstanceType>")), false},
		"weighted instance":    {groupXML(member(me, "InService", "<WeightedCapacity>2</WeightedCapacity>")), true},
		"weighted type":        {groupXML(one, override("<WeightedCapacity>2</WeightedCapacity>")), true},
		"counts vCPUs":         {groupXML(one, "<DesiredCapacityType>vcpu</DesiredCapacityType>"), true},
	} {
		f, _ := scripted(t, map[string][]string{"DescribeAutoScalingGroups": {result("DescribeAutoScalingGroups", groups(c.group))}})
		if g, err := f.Group(t.Context()); g.Weighted != c.want || err != nil {
			t.Errorf("%s: got %v, %v", name, g.Weighted, err)
		}
	}
}

// Pages are followed until the answer is there, and not for ever.
func TestPages(t *testing.T) {
	const next = "<NextToken>page2</NextToken>"
	f, s := scripted(t, map[string][]string{
		"DescribeAutoScalingInstances": {result("DescribeAutoScalingInstances", inGroup(other)+next),
			result("DescribeAutoScalingInstances", inGroup(me))},
		"DescribeAutoScalingGroups": {result("DescribeAutoScalingGroups", groups()+next),
			result("DescribeAutoScalingGroups", groups(groupXML(member(other, "InService")+member(me, "InService"))))},
		"DescribeInstances": {described(other, "running", "<nextToken>page2</nextToken>"), described(me, "running")},
	})
	g, err := f.Group(t.Context())
	if err != nil || len(g.Instances) != 2 || g.Instances[0].ID != me {
		t.Errorf("got %+v, %v", g, err)
	}
	got, err := f.Instances(t.Context(), []policy.InstanceID{other})
	if diff := cmp.Diff(map[policy.InstanceID]policy.Instance{other: {State: "running"}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	want := []string{"DescribeAutoScalingInstances", "DescribeAutoScalingInstances page2", "DescribeAutoScalingGroups",
		"DescribeAutoScalingGroups page2", "DescribeLifecycleHooks", "DescribeInstances", "DescribeInstances page2"}
	if diff := cmp.Diff(want, s.asked); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}

	for _, action := range []string{"DescribeAutoScalingInstances", "DescribeAutoScalingGroups"} {
		f, s := scripted(t, map[string][]string{action: {result(action, next)}})
		if g, err := f.Group(t.Context()); !errors.Is(err, lifecycle.ErrMalformed) || len(s.asked) > 102 {
			t.Errorf("endless %s: got %+v, %v after %d calls", action, g, err, len(s.asked))
		}
	}
}

// An instance that was moved to another group follows it, and its hooks.
func TestMovedToAnotherGroup(t *testing.T) {
	moved := strings.ReplaceAll(groupXML(member(me, "InService")), ">etcd<", ">etcd2<")
	f, _ := scripted(t, map[string][]string{
		"DescribeAutoScalingInstances": {result("DescribeAutoScalingInstances", inGroup(me)),
			result("DescribeAutoScalingInstances", strings.ReplaceAll(inGroup(me), ">etcd<", ">etcd2<"))},
		"DescribeAutoScalingGroups": {result("DescribeAutoScalingGroups", groups(groupXML(member(me, "InService")))),
			result("DescribeAutoScalingGroups", groups(groupXML(member(other, "InService")))),
			result("DescribeAutoScalingGroups", groups(moved))},
		"DescribeLifecycleHooks": {result("DescribeLifecycleHooks", hookOf("old")), result("DescribeLifecycleHooks", hookOf("new"))},
	})
	for _, want := range []struct{ group, hook string }{{"etcd", "old"}, {"etcd2", "new"}, {"etcd2", "new"}} {
		g, err := f.Group(t.Context())
		if g.Name != want.group || err != nil || len(g.Hooks) != 1 || g.Hooks[0].Name != want.hook {
			t.Errorf("got %+v, %v; want %v", g, err, want)
		}
	}
}

// Too large an answer is refused, not swallowed; a redirect is not followed.
func TestBoundsOfAnswers(t *testing.T) {
	f, _ := scripted(t, map[string][]string{"DescribeInstances": {described(me, "running") + strings.Repeat(" ", 16<<20)}})
	if _, err := f.Instances(t.Context(), []policy.InstanceID{me}); !errors.Is(err, lifecycle.ErrMalformed) {
		t.Errorf("17 MB: %v", err)
	}
	n := 0
	f = at(t, func(w http.ResponseWriter, r *http.Request) {
		n++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if _, err := f.Instances(t.Context(), []policy.InstanceID{me}); err == nil || n != 1 {
		t.Errorf("redirect: %v after %d calls", err, n)
	}
}

func TestNewFleetRefuses(t *testing.T) {
	for _, c := range []lifecycle.FleetConfig{{}, {Instance: me}, {Region: "eu-central-1"}, {Instance: "infra0", Region: "eu-central-1"}} {
		if _, err := lifecycle.NewFleet(t.Context(), c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// Methods are called by observers and actions at the same time.
func TestConcurrentUse(t *testing.T) {
	r := newRig(t, hooked(3))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, o := range []int{0, 1, 2} {
				if err := operations[o].do(r, r.fleet); err != nil {
					t.Errorf("%s: %v", operations[o].name, err)
				}
			}
			if _, err := r.meta.Target(r.ctx); err != nil {
				t.Error(err)
			}
			if _, err := r.meta.Spot(r.ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
