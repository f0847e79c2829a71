//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/fleet"
)

// The agent is SIGKILLed between effect and receipt in bootstrap, join and leave; its
// systemd starts it again. All points, exactly, are the fault matrix's (test/faults):
// this is a sample of them under systemd. Calls to AWS are exact: they take effect,
// the answer is lost, and the agent dies before it asks again. For the rest the kill
// follows the effect within milliseconds, as it is seen from outside, so the answer
// may have reached the agent by then.
func TestKillAgent(t *testing.T) {
	t.Parallel()
	f := New(t, Config{})
	k := &strikes{f: f}
	t.Cleanup(k.tasks.Wait)
	ctx := f.Within(forBootstrap)
	f.loseAnswer("CreateOrUpdateTags", 1)
	f.loseAnswer("CompleteLifecycleAction", 1)
	k.everyone(ctx, "the cluster's tag is written", func(context.Context) bool {
		g, _ := f.Cloud.Group(group)
		for _, tag := range g.Tags {
			if tag.Key == "quorumd:cluster-id" {
				return true
			}
		}
		return false
	})
	k.first(ctx, "etcd runs for the first time", func(context.Context) string {
		for _, inst := range f.Instances() {
			if f.runs(inst.ID, "etcd-member.service") {
				return inst.ID
			}
		}
		return ""
	})
	k.first(ctx, "a launch hook is completed", f.completed("quorumd-launch", 0))
	before := f.Settle(ctx)
	k.all()

	t.Log("the leader replaced")
	ctx = f.Within(forOneChange)
	leader, seen := f.Leader(ctx), len(f.Cloud.Events())
	f.loseAnswer("CompleteLifecycleAction", 2)
	k.first(ctx, "a learner is added", func(ctx context.Context) string {
		m, err := f.Members(ctx)
		for name, member := range m {
			if err == nil && member.IsLearner {
				return f.at(strings.TrimPrefix(name, "unstarted-"))
			}
		}
		return ""
	})
	k.first(ctx, "the hold to leave is acting", func(ctx context.Context) string { return f.acting(ctx, leader) })
	k.first(ctx, "the member is removed", func(ctx context.Context) string {
		if m, err := f.Members(ctx); err == nil && len(m) > 0 && m[leader] == nil {
			return leader
		}
		return ""
	})
	k.first(ctx, "the launch hook is completed", f.completed("quorumd-launch", seen))
	k.first(ctx, "the terminate hook is completed", f.completed("quorumd-terminate", seen))
	f.must(f.Cloud.TerminateInGroup(leader, false))
	f.wantKept(ctx, before, 2)
	k.all()
}

// strikes are waits for an effect, each of which kills agents when it is there.
type strikes struct {
	f     *Fleet
	tasks sync.WaitGroup
	mu    sync.Mutex
	errs  []error
}

// first kills the agent of the instance that effect names.
func (k *strikes) first(ctx context.Context, what string, effect func(context.Context) string) {
	k.when(ctx, what, func(ctx context.Context) []string {
		if id := effect(ctx); id != "" {
			return []string{id}
		}
		return nil
	})
}

// everyone kills all agents.
func (k *strikes) everyone(ctx context.Context, what string, effect func(context.Context) bool) {
	k.when(ctx, what, func(ctx context.Context) (ids []string) {
		if effect(ctx) {
			for _, inst := range k.f.Instances() {
				ids = append(ids, inst.ID)
			}
		}
		return ids
	})
}

func (k *strikes) when(ctx context.Context, what string, effect func(context.Context) []string) {
	k.tasks.Go(func() {
		err := fleet.Until(ctx, 2*time.Millisecond, what, func(ctx context.Context) error {
			ids := effect(ctx)
			if len(ids) == 0 {
				return errors.New("it did not happen")
			}
			killed := 0
			for _, id := range ids {
				n := k.f.hostNow(id).Kill("quorumd.service", syscall.SIGKILL)
				k.f.t.Logf("%s: %s, %d processes killed", what, id, n)
				killed += n
			}
			if killed == 0 {
				return errors.New("no agent runs that could be killed")
			}
			return nil
		})
		k.mu.Lock()
		defer k.mu.Unlock()
		k.errs = append(k.errs, err)
	})
}

// all waits for every strike; one that never found its moment fails the test.
func (k *strikes) all() {
	k.f.t.Helper()
	k.tasks.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.f.must(errors.Join(k.errs...))
	k.errs = nil
}

// loseAnswer lets a call of Auto Scaling take effect and drops its answer.
func (f *Fleet) loseAnswer(action string, times int) {
	f.t.Helper()
	_, err := f.Cloud.AddFault(fakeaws.Fault{Kind: fakeaws.LostAnswer, Service: "autoscaling", Action: action, Times: times})
	f.must(err)
}

// completed finds the first completion of a hook after n events.
func (f *Fleet) completed(hook string, n int) func(context.Context) string {
	return func(context.Context) string {
		for _, e := range f.Since(n, fakeaws.HookCompleted) {
			if e.Hook == hook {
				return e.Instance
			}
		}
		return ""
	}
}

// at is the instance at a peer URL, or what was given.
func (f *Fleet) at(url string) string {
	for _, inst := range f.Cloud.Instances() {
		if inst.State == fakeaws.Running && url == fmt.Sprintf("http://%s:2380", inst.PrivateIP) {
			return inst.ID
		}
	}
	return url
}

// acting is the instance, if its hold of the lock is marked as acting.
func (f *Fleet) acting(ctx context.Context, id string) string {
	client, err := f.client(f.Endpoints()...)
	if err != nil {
		return ""
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found, err := client.Get(ctx, "/quorumd/", clientv3.WithPrefix())
	if err != nil {
		return ""
	}
	for _, kv := range found.Kvs {
		var hold struct{ Instance, Phase string }
		if strings.Contains(string(kv.Key), "/holders/") && json.Unmarshal(kv.Value, &hold) == nil && hold.Instance == id && hold.Phase == "acting" {
			return id
		}
	}
	return ""
}
