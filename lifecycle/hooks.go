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

// ChooseHook gives the hook of a transition that this agent serves: the configured one,
// else the only one on the transition, else the only one whose name starts with
// quorumd. Otherwise the error is an [ErrNoHook] that names all there are.
func ChooseHook(hooks []policy.Hook, t policy.Transition, configured string) (policy.Hook, error) {
	var on, fit []policy.Hook
	for _, h := range hooks {
		if h.Transition == t {
			on = append(on, h)
		}
	}
	why := "name one in the configuration"
	switch {
	case configured != "":
		why = "there is no " + configured
		fit = named(on, func(name string) bool { return name == configured })
	case len(on) > 1:
		fit = named(on, func(name string) bool { return strings.HasPrefix(name, "quorumd") })
	default:
		fit = on
	}
	if len(fit) == 1 {
		return fit[0], nil
	}
	if len(on) == 0 {
		return policy.Hook{}, fmt.Errorf("%w: the group has none on %s", ErrNoHook, t)
	}
	var names []string
	for _, h := range on {
		names = append(names, h.Name)
	}
	slices.Sort(names)
	return policy.Hook{}, fmt.Errorf("%w: the group has %s on %s: %s", ErrNoHook, strings.Join(names, ", "), t, why)
}

func named(hooks []policy.Hook, match func(string) bool) []policy.Hook {
	return slices.DeleteFunc(slices.Clone(hooks), func(h policy.Hook) bool { return !match(h.Name) })
}

// HeartbeatInterval is how often a hook must get a heartbeat: a third of its timeout, so
// that two may be lost.
func HeartbeatInterval(h policy.Hook) time.Duration { return h.Timeout / 3 }

// OpenTransition gives the transition whose hooks are open in a lifecycle state, empty
// for none. An instance that goes back to a warm pool waits in Warmed:Pending:Wait
// for a terminating hook.
func OpenTransition(s policy.LifecycleState) policy.Transition {
	switch s {
	case policy.StatePendingWait:
		return policy.Launching
	case policy.StateTerminatingWait, policy.StateWarmedPendingWait, policy.StateWarmedTermWait:
		return policy.Terminating
	}
	return ""
}

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
	t := OpenTransition(self.State)
	if t == "" {
		return true
	}
	configured := f.cfg.TerminateHook
	if t == policy.Launching {
		configured = f.cfg.LaunchHook
	}
	_, err := ChooseHook(known, t, configured)
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
			h.Global = min(48*time.Hour, 100*h.Timeout) // what AWS documents
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
