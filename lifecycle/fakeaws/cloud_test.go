package fakeaws

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/google/go-cmp/cmp"
)

// Under synctest the real clock is the bubble's: an hour's wait costs nothing, and no test
// code moves the time.
func TestRealClockInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud, err := New(Config{Timing: Timing{Boot: 30 * time.Second}})
		ok(t, err)
		g := hooked(1)
		g.Hooks[0].DefaultResult = Continue
		ok(t, cloud.AddGroup(g))
		start := time.Now()
		e, err := cloud.AwaitEvent(t.Context(), func(e Event) bool { return e.Kind == InService })
		ok(t, err)
		if got := e.At.Sub(start); got != 90*time.Second {
			t.Errorf("in service after %s, want 90 s", got)
		}
		asg, _ := clients("http://aws", "eu-central-1", "AKIA", &http.Client{Transport: Transport{cloud.Handler()}})
		_, err = cloud.AddFault(Fault{Kind: Delay, Latency: time.Hour})
		ok(t, err)
		out, err := asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{})
		ok(t, err)
		if got := out.AutoScalingGroups[0].Instances[0].LifecycleState; got != "InService" {
			t.Errorf("got %s", got)
		}
		if got := time.Since(start); got != time.Hour+90*time.Second {
			t.Errorf("answered after %s, want 1 h later", got)
		}
		_, err = cloud.AddFault(Fault{Kind: Cut})
		ok(t, err)
		if _, err := asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{}); err == nil {
			t.Error("no error from a cut connection")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		ok(t, cloud.Close())
	})
}

// host is a Driver that records, and fails on demand.
type host struct {
	mu        sync.Mutex
	log       []string
	failStart int
	failStop  int
	instances []Instance
}

func (h *host) Start(ctx context.Context, inst Instance) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.instances = append(h.instances, inst)
	h.log = append(h.log, "start "+inst.ID)
	if h.failStart > 0 {
		h.failStart--
		return errors.New("no capacity")
	}
	return ctx.Err()
}

func (h *host) Stop(ctx context.Context, id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, "stop "+id)
	if h.failStop > 0 {
		h.failStop--
		return errors.New("stuck")
	}
	return ctx.Err()
}

func (h *host) seen() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.log)
}

func (r *rig) await(kind EventKind, instance string) {
	r.t.Helper()
	_, err := r.cloud.AwaitEvent(r.ctx, func(e Event) bool { return e.Kind == kind && (instance == "" || e.Instance == instance) })
	ok(r.t, err)
}

func TestDriver(t *testing.T) {
	h := &host{}
	var listening sync.Map
	r := newRig(t, Config{Driver: h, ListenMetadata: func(_ context.Context, inst Instance) (net.Listener, error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			listening.Store(inst.ID, "http://"+ln.Addr().String())
		}
		return ln, err
	}}, bare(2))
	one, two := r.id(1), r.id(2)
	r.await(InService, one)
	r.await(InService, two)
	for _, inst := range h.instances {
		if url, _ := listening.Load(inst.ID); inst.MetadataURL != url || inst.PrivateIP.String() == "" || inst.Group != "etcd" {
			t.Errorf("started with %+v, want metadata at %v", inst, url)
		}
	}
	inst, _ := r.cloud.Instance(one)
	if got, err := r.read(metadataClient(inst.MetadataURL), "instance-id"); err != nil || got != one {
		t.Errorf("metadata: %q, %v", got, err)
	}
	ok(t, r.terminate(1, true))
	r.await(LeftGroup, one)
	if _, err := r.read(metadataClient(inst.MetadataURL), "instance-id"); err == nil {
		t.Error("metadata outlives its machine")
	}
	if status, body := r.raw("GET", inst.MetadataURL+"/"); !strings.Contains(body, "connection refused") {
		t.Errorf("the listener outlives its machine: %d %s", status, body)
	}
	if got, want := h.seen()[2:], []string{"stop " + one}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ok(t, r.cloud.Close()) // powers the other off
	if got, want := h.seen()[2:], []string{"stop " + one, "stop " + two}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := r.cloud.AddGroup(GroupConfig{Name: "late"}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}
}

func TestDriverFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &host{failStart: 1, failStop: 2}
		cloud, err := New(Config{Driver: h, Timing: Timing{Retry: 7 * time.Second}})
		ok(t, err)
		start := time.Now()
		ok(t, cloud.AddGroup(bare(1)))
		_, err = cloud.AwaitEvent(t.Context(), func(e Event) bool { return e.Kind == LeftGroup })
		ok(t, err)
		var got []string
		for _, e := range cloud.Events() {
			got = append(got, e.At.Sub(start).String()+" "+string(e.Kind))
		}
		// "terminated" is not said before Stop has succeeded; the relaunch waits its turn.
		want := []string{"0s group-created", "0s launched", "0s launch-failed", "0s notice", "0s shutting-down",
			"0s stop-failed", "7s launched", "7s stop-failed", "7s running", "7s in-service", "14s terminated", "14s left-group"}
		slices.Sort(got)
		slices.Sort(want) // within one instant the two machines' order is free
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		ok(t, cloud.Close())
	})
}

// An instance told to go while its machine still starts is not waited for.
func TestTerminateDuringStart(t *testing.T) {
	started := make(chan struct{})
	h := driverFuncs{
		start: func(ctx context.Context, _ Instance) error { close(started); <-ctx.Done(); return ctx.Err() },
		stop:  func(context.Context, string) error { return nil },
	}
	r := newRig(t, Config{Driver: h}, GroupConfig{Name: "etcd", Max: 1, Desired: 1})
	<-started
	r.wantStates("#1 Pending")
	ok(t, r.terminate(1, true))
	r.await(LeftGroup, r.id(1))
	r.wantStates()
}

type driverFuncs struct {
	start func(context.Context, Instance) error
	stop  func(context.Context, string) error
}

func (d driverFuncs) Start(ctx context.Context, i Instance) error { return d.start(ctx, i) }
func (d driverFuncs) Stop(ctx context.Context, id string) error   { return d.stop(ctx, id) }

func TestAddresses(t *testing.T) {
	first, last := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")
	for _, reuse := range []bool{true, false} {
		r := newRig(t, Config{IPs: NewIPPool(first, last, reuse)}, bare(2))
		ok(t, r.terminate(1, false))
		var live []string
		g, _ := r.cloud.Group("etcd")
		for _, inst := range g.Instances {
			live = append(live, inst.PrivateIP.String())
		}
		want := []string{"127.0.0.3", "127.0.0.2"}
		if !reuse {
			want = want[:1] // exhausted
			r.await(LaunchFailed, "")
		}
		if diff := cmp.Diff(want, live); diff != "" {
			t.Errorf("reuse %v (-want +got):\n%s", reuse, diff)
		}
	}
}

func TestSameSeedSameIDs(t *testing.T) {
	var runs [2][]string
	for i := range runs {
		r := newRig(t, Config{}, hooked(2))
		for range i * 3 { // calls do not change ids
			ok(t, r.describeGroups())
		}
		ok(t, r.desire(3))
		for _, inst := range r.cloud.Instances() {
			runs[i] = append(runs[i], inst.ID+" "+inst.Hooks[0].Token)
			if !instanceID.MatchString(inst.ID) {
				t.Errorf("id %s", inst.ID)
			}
		}
	}
	if diff := cmp.Diff(runs[0], runs[1]); diff != "" {
		t.Error(diff)
	}
}

func TestSubscribe(t *testing.T) {
	r := newRig(t, Config{}, bare(1))
	got := make(chan EventKind, 100)
	var cancel func()
	cancel = r.cloud.Subscribe(func(e Event) {
		_ = r.cloud.Events() // may be called from here
		if got <- e.Kind; e.Kind == LeftGroup {
			cancel()
		}
	})
	ok(t, r.terminate(1, true))
	var all []string
	for len(all) == 0 || all[len(all)-1] != string(LeftGroup) {
		all = append(all, string(<-got))
	}
	if got, want := strings.Join(all, " "), "group-created launched running in-service notice shutting-down "+
		"desired-changed terminated left-group"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ok(t, r.desire(1))
	ok(t, r.cloud.Close())
	if len(got) != 0 {
		t.Error("called after cancel")
	}
	if _, err := r.cloud.AwaitEvent(r.ctx, func(Event) bool { return false }); !errors.Is(err, ErrClosed) {
		t.Errorf("await on a closed cloud: %v", err)
	}
}

func TestEventString(t *testing.T) {
	e := Event{At: epoch, Kind: HookCompleted, Group: "etcd", Instance: "i-1", Hook: "leave", Result: Continue, By: "i-1"}
	if got, want := e.String(), "10:00:00.000 etcd i-1 hook-completed leave CONTINUE by i-1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e = Event{At: epoch, Kind: HookOpened, Hook: "leave", Deadline: epoch.Add(time.Minute), Note: "why"}
	if got, want := e.String(), "10:00:00.000 hook-opened leave until 10:01:00.000 (why)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestConfigErrors(t *testing.T) {
	r := newRig(t, Config{}, bare(0))
	for _, g := range []GroupConfig{
		{}, {Name: "etcd"}, {Name: "x", Min: 2, Max: 3, Desired: 1}, {Name: "x", Hooks: []Hook{{Name: "h"}}},
		{Name: "x", Hooks: []Hook{{Name: "h", Transition: Launching}, {Name: "h", Transition: Terminating}}},
		{Name: "x", Hooks: []Hook{{Name: "h", Transition: Launching, DefaultResult: "PERHAPS"}}},
	} {
		if err := r.cloud.AddGroup(g); err == nil {
			t.Errorf("%+v was taken", g)
		}
	}
	for _, re := range []Replace{ReplaceAtOnce, ReplaceAfterTermination} {
		if got, err := ParseReplace(re.String()); got != re || err != nil {
			t.Errorf("%s: got %v, %v", re, got, err)
		}
	}
	if _, err := ParseReplace("never"); err == nil {
		t.Error("never was taken")
	}
}

// Many callers at once; the race detector watches.
func TestConcurrentCallers(t *testing.T) {
	r := newRig(t, Config{Driver: &host{}}, hooked(3))
	var wg sync.WaitGroup
	for n := 1; n <= 3; n++ {
		id := r.id(n)
		wg.Go(func() {
			r.await(HookOpened, id)
			_, err := r.asg.CompleteLifecycleAction(r.ctx, &autoscaling.CompleteLifecycleActionInput{
				AutoScalingGroupName: aws.String("etcd"), LifecycleHookName: aws.String("join"),
				InstanceId: &id, LifecycleActionResult: aws.String(Continue)})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := r.describeGroups(); err != nil {
				t.Error(err)
			}
			r.clock.Advance(time.Millisecond)
		})
	}
	wg.Wait()
	r.wantStates("#1 InService", "#2 InService", "#3 InService")
}

func TestManualClock(t *testing.T) {
	c := NewManualClock(epoch)
	var log []string
	note := func(s string) func() {
		return func() { log = append(log, c.Now().Sub(epoch).String()+" "+s) }
	}
	c.AfterFunc(2*time.Second, note("b"))
	c.AfterFunc(time.Second, func() {
		note("a")()
		c.AfterFunc(time.Second, note("c")) // planned later, so called after b
	})
	stopped := c.AfterFunc(time.Second, note("never"))
	if !stopped.Stop() || stopped.Stop() {
		t.Error("Stop must succeed once")
	}
	c.AfterFunc(4*time.Second, note("d"))
	c.Advance(3 * time.Second)
	if diff := cmp.Diff([]string{"1s a", "2s b", "2s c"}, log); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := c.Now().Sub(epoch); got != 3*time.Second || c.Timers() != 1 {
		t.Errorf("at %s with %d timers", got, c.Timers())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.AwaitTimers(ctx, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
