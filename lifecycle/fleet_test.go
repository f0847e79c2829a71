package lifecycle_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

// operations are all of Fleet's, each with the IAM actions it needs and in this order.
var operations = []struct {
	name string
	do   func(*rig, *lifecycle.Fleet) error
}{
	{"group", func(r *rig, f *lifecycle.Fleet) error { _, err := f.Group(r.ctx); return err }},
	{"instances", func(r *rig, f *lifecycle.Fleet) error { _, err := f.Instances(r.ctx, r.ids()); return err }},
	{"heartbeat", func(r *rig, f *lifecycle.Fleet) error { return f.Heartbeat(r.ctx, "join") }},
	{"write tag", func(r *rig, f *lifecycle.Fleet) error { return f.WriteTag(r.ctx, "c0ffee") }},
	{"delete tag", func(r *rig, f *lifecycle.Fleet) error { return f.DeleteTag(r.ctx, "c0ffee") }},
	{"complete", func(r *rig, f *lifecycle.Fleet) error { return f.Complete(r.ctx, "join", policy.Continue) }},
}

func TestGroup(t *testing.T) {
	g := hooked(3)
	g.Tags = []fakeaws.Tag{{Key: "quorumd:cluster-id", Value: "c0ffee"}, {Key: "cluster-id", Value: "x"}}
	r := newRig(t, g)
	r.ok(r.cloud.CompleteHook(group, "join", string(r.self), "CONTINUE", "test"))
	r.ok(r.cloud.Suspend(group, "AZRebalance"))
	want := policy.Group{
		Name: group, Desired: 3, ClusterTag: "c0ffee",
		Hooks: []policy.Hook{
			{Name: "join", Transition: policy.Launching, Timeout: time.Minute, Global: 100 * time.Minute},
			{Name: "leave", Transition: policy.Terminating, Timeout: 2 * time.Minute, Global: 200 * time.Minute},
		},
	}
	for _, id := range r.ids() {
		state := policy.StatePendingWait
		if id == r.self {
			state = policy.StateInService
		}
		want.Instances = append(want.Instances, policy.GroupInstance{ID: id, State: state})
	}
	slices.SortFunc(want.Instances, func(a, b policy.GroupInstance) int { return strings.Compare(string(a.ID), string(b.ID)) })

	check := func(name string) {
		t.Helper()
		got, err := r.fleet.Group(r.ctx)
		r.ok(err)
		if !strings.HasPrefix(got.ARN, "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:") {
			t.Errorf("%s: ARN %q", name, got.ARN)
		}
		got.ARN = ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	check("first")
	if diff := cmp.Diff([]string{"DescribeAutoScalingInstances", "DescribeAutoScalingGroups", "DescribeLifecycleHooks"}, r.calls()); diff != "" {
		t.Errorf("calls of the first time (-want +got):\n%s", diff)
	}

	r.ok(r.cloud.Suspend(group, "Launch"))
	want.LaunchSuspended = true
	check("launch suspended")
	if diff := cmp.Diff([]string{"DescribeAutoScalingGroups"}, r.calls()); diff != "" {
		t.Errorf("calls of the second time (-want +got):\n%s", diff)
	}

	r.ok(r.cloud.TerminateInGroup(string(r.self), true))
	for i := range want.Instances {
		if want.Instances[i].ID == r.self {
			want.Instances[i].State = policy.StateTerminatingWait
		}
	}
	want.Desired = 2
	check("told to go")
	r.ok(r.cloud.DeleteGroup(group, false))
	want.Desired, want.Deleting = 0, true
	for i := range want.Instances {
		want.Instances[i].State = policy.StateTerminatingWait
	}
	check("group is being deleted")
}

// Hooks are asked for every 10 min, and early when this instance waits for one that is
// not known, as when the hook was made after the group.
func TestHooksAreCached(t *testing.T) {
	r := newRig(t, bare(1))
	hooksRead := func(name string, want bool) {
		t.Helper()
		r.calls()
		_, err := r.fleet.Group(r.ctx)
		r.ok(err)
		if got := slices.Contains(r.calls(), "DescribeLifecycleHooks"); got != want {
			t.Errorf("%s: hooks read: %v, want %v", name, got, want)
		}
	}
	hooksRead("first", true)
	hooksRead("at once", false)
	r.clock.Advance(10*time.Minute - time.Nanosecond)
	hooksRead("just before 10 min", false)
	r.clock.Advance(time.Nanosecond)
	hooksRead("after 10 min", true)

	r = newRig(t, hooked(1))
	_, other := r.adapter(func(c *lifecycle.FleetConfig) { c.LaunchHook = "made-later" })
	r.fleet = other
	hooksRead("first, unknown hook", true)
	hooksRead("unknown hook, at once", false)
	r.clock.Advance(10 * time.Second)
	hooksRead("unknown hook, after 10 s", true)
}

func TestNoGroup(t *testing.T) {
	r := newRig(t, bare(2))
	_, stranger := r.adapter(asStranger)
	if g, err := stranger.Group(r.ctx); !errors.Is(err, lifecycle.ErrNoGroup) {
		t.Errorf("got %v, %v", g, err)
	}
	if err := stranger.Heartbeat(r.ctx, "join"); !errors.Is(err, lifecycle.ErrNoGroup) {
		t.Errorf("heartbeat: %v", err)
	}
	if err := stranger.Complete(r.ctx, "join", policy.Continue); !errors.Is(err, lifecycle.ErrNoGroup) {
		t.Errorf("complete: %v", err)
	}

	// An instance that the group lists no longer goes on seeing its group, until that is gone.
	_, err := r.fleet.Group(r.ctx)
	r.ok(err)
	r.ok(r.cloud.TerminateInGroup(string(r.self), true))
	g, err := r.fleet.Group(r.ctx)
	r.ok(err)
	if _, listed := g.Find(r.self); listed || len(g.Instances) != 1 || g.Name != group {
		t.Errorf("after having left: %+v", g)
	}
	r.ok(r.cloud.DeleteGroup(group, true))
	if g, err := r.fleet.Group(r.ctx); !errors.Is(err, lifecycle.ErrNoGroup) {
		t.Errorf("deleted group: got %v, %v", g, err)
	}
}

// Each right that is missing is named exactly, and nothing else is needed.
func TestMissingPermission(t *testing.T) {
	for _, action := range lifecycle.Permissions() {
		t.Run(action, func(t *testing.T) {
			r := newRig(t, hooked(1))
			service, operation, _ := strings.Cut(action, ":")
			r.fault(fakeaws.Fault{Kind: fakeaws.AccessDenied, Service: service, Action: operation})
			if operation == "DescribeLifecycleHooks" {
				// The rest of the group is as good without its hooks.
				g, err := r.fleet.Group(r.ctx)
				if err != nil || !strings.Contains(g.HooksErr, action) || len(g.Instances) == 0 {
					t.Errorf("group %+v, %v", g, err)
				}
				return
			}
			named := 0
			for _, o := range operations {
				r.seen.take()
				err := o.do(r, r.fleet)
				if err == nil {
					continue
				}
				var missing *lifecycle.MissingPermission
				if !errors.As(err, &missing) || missing.Action != action || !strings.Contains(err.Error(), action) {
					t.Errorf("%s: %v", o.name, err)
				}
				if said := r.seen.take(); len(said) == 0 || said[len(said)-1] != service+" "+operation+" denied" {
					t.Errorf("%s: observed %v", o.name, said)
				}
				named++
				break
			}
			if named == 0 {
				t.Errorf("no operation needs %s", action)
			}
		})
	}
}

// With all rights every operation succeeds, and uses no call that Permissions does not list.
func TestPermissionsAreComplete(t *testing.T) {
	r := newRig(t, hooked(1))
	for _, o := range operations {
		if err := o.do(r, r.fleet); err != nil {
			t.Errorf("%s: %v", o.name, err)
		}
	}
	used := map[string]bool{}
	for _, s := range r.seen.take() {
		f := strings.Fields(s)
		if f[2] != "ok" {
			t.Errorf("observed %s", s)
		}
		used[f[0]+":"+f[1]] = true
	}
	for _, p := range lifecycle.Permissions() {
		if !used[p] {
			t.Errorf("%s was not used", p)
		}
		delete(used, p)
	}
	if len(used) != 0 {
		t.Errorf("not listed: %v", used)
	}
}

// Faults of AWS are errors of every operation, told apart, and leave nothing behind.
func TestFaults(t *testing.T) {
	r := newRig(t, hooked(1))
	for _, c := range []struct {
		fault  fakeaws.Fault
		result string
		is     error // nil: none in particular
	}{
		{fakeaws.Fault{Kind: fakeaws.Throttling}, lifecycle.ResultThrottled, lifecycle.ErrThrottled},
		{fakeaws.Fault{Kind: fakeaws.Outage}, lifecycle.ResultServer, nil},
		{fakeaws.Fault{Kind: fakeaws.Outage, Status: 503}, lifecycle.ResultServer, nil},
		{fakeaws.Fault{Kind: fakeaws.Malformed}, lifecycle.ResultMalformed, lifecycle.ErrMalformed},
		{fakeaws.Fault{Kind: fakeaws.Cut}, lifecycle.ResultNoAnswer, nil},
	} {
		for _, service := range []string{"autoscaling", "ec2"} {
			c.fault.Service = service
			r.fault(c.fault)
		}
		for _, o := range operations {
			r.seen.take()
			err := o.do(r, r.fleet)
			said := r.seen.take()
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s during %s: %v", o.name, c.fault.Kind, err)
			}
			if len(said) != 1 || !strings.HasSuffix(said[0], " "+c.result) {
				t.Errorf("%s during %s: observed %v, want %s", o.name, c.fault.Kind, said, c.result)
			}
		}
		r.cloud.ClearFaults()
	}
	for _, o := range operations {
		if err := o.do(r, r.fleet); err != nil {
			t.Errorf("%s after all: %v", o.name, err)
		}
	}
}

// A single fault is hidden by the one retry; a second one is not.
func TestRetriesOnce(t *testing.T) {
	r := newRig(t, bare(1))
	_, twice := r.adapter(func(c *lifecycle.FleetConfig) { c.Attempts, c.Backoff = 0, time.Millisecond })
	r.fault(fakeaws.Fault{Kind: fakeaws.Throttling, Action: "DescribeInstances", Times: 1})
	if _, err := twice.Instances(r.ctx, r.ids()); err != nil {
		t.Errorf("one throttled answer: %v", err)
	}
	if diff := cmp.Diff([]string{"DescribeInstances RequestLimitExceeded", "DescribeInstances"}, r.calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	r.fault(fakeaws.Fault{Kind: fakeaws.Throttling, Action: "DescribeInstances"})
	if _, err := twice.Instances(r.ctx, r.ids()); !errors.Is(err, lifecycle.ErrThrottled) {
		t.Errorf("throttled for long: %v", err)
	}
	if diff := cmp.Diff(slices.Repeat([]string{"DescribeInstances RequestLimitExceeded"}, 2), r.calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// A service that does not answer costs the timeout, not more.
func TestTimeout(t *testing.T) {
	r := newRig(t, bare(1))
	_, hasty := r.adapter(func(c *lifecycle.FleetConfig) { c.Timeout = 20 * time.Millisecond })
	r.fault(fakeaws.Fault{Kind: fakeaws.Delay, Latency: time.Hour, Service: "ec2"})
	r.seen.take()
	if _, err := hasty.Instances(r.ctx, r.ids()); err == nil {
		t.Error("got an answer")
	}
	if diff := cmp.Diff([]string{"ec2 DescribeInstances timeout"}, r.seen.take()); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

func TestTags(t *testing.T) {
	r := newRig(t, bare(1))
	tags := func() []fakeaws.Tag { g, _ := r.cloud.Group(group); return g.Tags }
	want := []fakeaws.Tag{{Key: "quorumd:cluster-id", Value: "c0ffee"}}

	r.ok(r.fleet.DeleteTag(r.ctx, "c0ffee")) // there is none: done
	for range 2 {
		r.ok(r.fleet.WriteTag(r.ctx, "c0ffee"))
		if diff := cmp.Diff(want, tags()); diff != "" {
			t.Errorf("after the write (-want +got):\n%s", diff)
		}
	}
	if err := r.fleet.WriteTag(r.ctx, "beef"); !errors.Is(err, lifecycle.ErrTagDiffers) {
		t.Errorf("write over another: %v", err)
	}
	if err := r.fleet.DeleteTag(r.ctx, "beef"); !errors.Is(err, lifecycle.ErrTagDiffers) {
		t.Errorf("delete another: %v", err)
	}
	if err := r.fleet.WriteTag(r.ctx, ""); err == nil {
		t.Error("an empty value was written")
	}
	if diff := cmp.Diff(want, tags()); diff != "" {
		t.Errorf("after the refusals (-want +got):\n%s", diff)
	}
	for range 2 {
		r.ok(r.fleet.DeleteTag(r.ctx, "c0ffee"))
		if len(tags()) != 0 {
			t.Errorf("after the deletion: %v", tags())
		}
	}
}

// The group does not list an instance of its warm pool, which still has to know where it is.
func TestGroupFromTheWarmPool(t *testing.T) {
	r := newRig(t, hooked(1))
	r.ok(r.cloud.CompleteHook(group, "join", string(r.self), fakeaws.Continue, "test"))
	r.ok(r.cloud.PutWarmPool(group, fakeaws.WarmPool{MaxPrepared: 2, Reuse: true}))
	staying := r.self
	g, _ := r.cloud.Group(group)
	r.self = policy.InstanceID(g.Pool[0].ID)
	_, fleet := r.adapter()
	want := []policy.GroupInstance{{ID: staying, State: "InService"}, {ID: r.self, State: "Warmed:Pending:Wait"}}
	slices.SortFunc(want, func(a, b policy.GroupInstance) int { return strings.Compare(string(a.ID), string(b.ID)) })
	got, err := fleet.Group(r.ctx)
	r.ok(err)
	if diff := cmp.Diff(want, got.Instances); diff != "" {
		t.Errorf("seen from the pool (-want +got):\n%s", diff)
	}
	// The terminating hook does not wait for it, and that is as good as completed; the other does.
	r.ok(fleet.Complete(r.ctx, "leave", policy.Continue))
	r.ok(fleet.Complete(r.ctx, "join", policy.Continue))
	if got := r.state(); got != "Warmed:Stopped" {
		t.Errorf("state %s", got)
	}
	got, err = r.fleet.Group(r.ctx)
	r.ok(err)
	if diff := cmp.Diff([]policy.GroupInstance{{ID: staying, State: "InService"}}, got.Instances); diff != "" {
		t.Errorf("seen from the group (-want +got):\n%s", diff)
	}
}
