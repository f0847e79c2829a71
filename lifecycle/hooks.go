package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/quorumd/quorumd/agent/policy"
)

// readHooks gives the hooks of a group, read at most every 10 min, or 10 s while this
// instance waits for a hook that is not among them.
func (f *Fleet) readHooks(ctx context.Context, g policy.Group) ([]policy.Hook, error) {
	now := f.cfg.Now()
	f.mu.Lock()
	known, age := f.hooks, now.Sub(f.hooksAt)
	have := f.group == g.Name && !f.hooksAt.IsZero()
	f.mu.Unlock()
	keep := hooksFor
	if !f.servesOpenHook(g, known) {
		keep = hooksAnew
	}
	if have && age >= 0 && age < keep {
		return slices.Clone(known), nil
	}

	in := &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: &g.Name}
	out, err := call(ctx, f, serviceAutoScaling, "DescribeLifecycleHooks", f.asg.DescribeLifecycleHooks, in)
	if err != nil {
		return nil, fmt.Errorf("read lifecycle hooks of %s: %w", g.Name, err)
	}
	hooks, err := convertHooks(out.LifecycleHooks)
	if err != nil {
		return nil, fmt.Errorf("read lifecycle hooks of %s: %w", g.Name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.group == g.Name {
		f.hooks, f.hooksAt = hooks, now
	}
	return slices.Clone(hooks), nil
}

// servesOpenHook reports whether the hook that this instance waits for, if it waits
// for any, is among those known.
func (f *Fleet) servesOpenHook(g policy.Group, known []policy.Hook) bool {
	self, _ := g.Find(f.cfg.Instance)
	t := policy.OpenTransition(self.State)
	if t == "" {
		return true
	}
	configured := f.cfg.TerminateHook
	if t == policy.Launching {
		configured = f.cfg.LaunchHook
	}
	_, err := policy.ChooseHook(known, t, configured)
	return err == nil
}

// convertHooks puts AWS's hooks into policy's words, sorted by name.
func convertHooks(in []types.LifecycleHook) ([]policy.Hook, error) {
	var hooks []policy.Hook
	for _, a := range in {
		h := policy.Hook{
			Name: aws.ToString(a.LifecycleHookName), Transition: policy.Transition(aws.ToString(a.LifecycleTransition)),
			Timeout: seconds(a.HeartbeatTimeout), Global: seconds(a.GlobalTimeout),
		}
		if h.Name == "" || h.Transition == "" || h.Timeout <= 0 {
			return nil, malformed("hook %.64q on %.64q with a timeout of %s", h.Name, h.Transition, h.Timeout)
		}
		if h.Global <= 0 {
			const most = 48 * time.Hour
			h.Global = min(most, 100*min(h.Timeout, most)) // what AWS documents
		}
		hooks = append(hooks, h)
	}
	slices.SortFunc(hooks, func(a, b policy.Hook) int { return strings.Compare(a.Name, b.Name) })
	return hooks, nil
}

func seconds(n *int32) time.Duration { return time.Duration(aws.ToInt32(n)) * time.Second }

// Heartbeat extends a hook that waits for this instance by its timeout, counted from now.
// [ErrNoActiveAction]: the hook no longer waits, and no heartbeat can change that.
func (f *Fleet) Heartbeat(ctx context.Context, hook string) error {
	group, err := f.groupName(ctx)
	if err != nil {
		return fmt.Errorf("heartbeat %s: %w", hook, err)
	}
	in := &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: &group, LifecycleHookName: &hook, InstanceId: aws.String(string(f.cfg.Instance))}
	if _, err := call(ctx, f, serviceAutoScaling, "RecordLifecycleActionHeartbeat", f.asg.RecordLifecycleActionHeartbeat, in); err != nil {
		return fmt.Errorf("heartbeat %s: %w", hook, err)
	}
	return nil
}

// Complete ends a hook that waits for this instance. A hook that no longer waits is
// done, whoever ended it: nil. So it may be repeated after an answer that got lost.
func (f *Fleet) Complete(ctx context.Context, hook string, result policy.HookResult) error {
	group, err := f.groupName(ctx)
	if err != nil {
		return fmt.Errorf("complete %s: %w", hook, err)
	}
	in := &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: &group, LifecycleHookName: &hook, InstanceId: aws.String(string(f.cfg.Instance)),
		LifecycleActionResult: aws.String(string(result))}
	_, err = call(ctx, f, serviceAutoScaling, "CompleteLifecycleAction", f.asg.CompleteLifecycleAction, in)
	if err != nil && !errors.Is(err, ErrNoActiveAction) {
		return fmt.Errorf("complete %s: %w", hook, err)
	}
	return nil
}
