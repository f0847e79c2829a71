package fakeaws

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// powerHost is a Driver whose machines can be turned off and on.
type powerHost struct {
	host
	failOn int
}

func (h *powerHost) PowerOff(ctx context.Context, id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, "off "+id)
	return ctx.Err()
}

func (h *powerHost) PowerOn(ctx context.Context, inst Instance) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = append(h.log, "on "+inst.ID)
	if h.failOn > 0 {
		h.failOn--
		return errors.New("no power")
	}
	return ctx.Err()
}

func TestPowerDriver(t *testing.T) {
	h := &powerHost{}
	g := bare(1)
	g.WarmPool = &WarmPool{MaxPrepared: 2, Reuse: true}
	r := newRig(t, Config{Driver: h}, g)
	r.await(EnteredPool, "")
	warm := r.id(2)
	ok(t, r.desire(2))
	r.await(InService, warm) // said when the machine runs, not when it was asked to
	ok(t, r.cloud.EnterStandby("etcd", []string{warm}, true))
	ok(t, r.cloud.StopInstance(warm))
	r.awaitAfter(BecameStopped, warm, LeftPool)
	if inst, _ := r.cloud.Instance(warm); inst.State != Stopped || inst.Lifecycle != LifecycleStandby {
		t.Errorf("%s, %s", inst.State, inst.Lifecycle)
	}
	ok(t, r.cloud.TerminateInstance(warm))
	r.await(LeftGroup, warm)
	var got []string
	for _, l := range h.seen() {
		if what, id := l[:len(l)-len(warm)], l[len(l)-len(warm):]; id == warm {
			got = append(got, what)
		}
	}
	if want := []string{"start ", "off ", "on ", "off ", "stop "}; !slices.Equal(got, want) {
		t.Errorf("the driver was asked to %q, want %q", got, want)
	}
}

// awaitAfter waits for an event of an instance that comes after another.
func (r *rig) awaitAfter(kind EventKind, instance string, after EventKind) {
	r.t.Helper()
	_, err := r.cloud.AwaitEvent(r.ctx, func(e Event) bool {
		return e.Kind == kind && e.Instance == instance && slices.ContainsFunc(r.cloud.Events()[:e.Seq], func(o Event) bool {
			return o.Kind == after && o.Instance == instance
		})
	})
	ok(r.t, err)
}

// A machine that does not come up again is terminated, and another one comes.
func TestPowerOnFails(t *testing.T) {
	h := &powerHost{failOn: 1}
	g := bare(0)
	g.WarmPool = &WarmPool{MaxPrepared: 1}
	r := newRig(t, Config{Driver: h}, g)
	r.await(EnteredPool, r.id(1))
	ok(t, r.desire(1))
	r.await(LeftGroup, r.id(1))
	r.await(InService, r.id(2))
}

func TestNoPowerDriver(t *testing.T) {
	r := newRig(t, Config{Driver: &host{}}, bare(1))
	r.await(InService, r.id(1))
	wantCode := func(err error) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || e.Code != "UnsupportedOperation" {
			t.Errorf("got %v", err)
		}
	}
	wantCode(r.cloud.StopInstance(r.id(1)))
	wantCode(r.cloud.PutWarmPool("etcd", WarmPool{MaxPrepared: 2}))
	wantCode(r.cloud.AddGroup(GroupConfig{Name: "other", WarmPool: &WarmPool{}}))
	ok(t, r.cloud.PutWarmPool("etcd", WarmPool{MaxPrepared: 2, State: PoolRunning}))
	r.await(EnteredPool, r.id(2))
}
