package fakeaws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Config describes a Cloud. The zero value is usable.
type Config struct {
	Region    string   // default eu-central-1
	Zones     []string // default the region's a, b and c; instances are spread over them
	AccountID string   // default 123456789012

	// Seed makes instance ids, hook tokens and request ids repeat from run to run.
	Seed uint64

	Clock  Clock  // default RealClock{}
	Timing Timing // default: everything at once

	// IPs hands out private addresses; default: 10.0.0.10 to 10.0.255.254, never reused.
	IPs IPAllocator

	// Driver makes machines of instances; nil: instances are only records.
	Driver Driver

	// ListenMetadata, if set, opens the listener of an instance's metadata service
	// before Driver.Start is called. The Cloud serves on it and closes it when the
	// machine is gone.
	ListenMetadata func(ctx context.Context, inst Instance) (net.Listener, error)

	// StopTimeout bounds one call of Driver.Stop; default 30 s.
	StopTimeout time.Duration

	// MaxCalls bounds the log of API calls; the oldest are dropped. Default 100000.
	MaxCalls int
}

// Timing says how long AWS takes. Zero means at once.
type Timing struct {
	Launch       time.Duration // from the group's decision to the instance's existence
	Boot         time.Duration // pending to running, in addition to Driver.Start
	Proceed      time.Duration // spent in Pending:Proceed and in Terminating:Proceed
	ShutDown     time.Duration // shutting-down to terminated, in addition to Driver.Stop
	Leave        time.Duration // terminated until the group no longer lists the instance
	HealthCheck  time.Duration // until the group notices an instance that was terminated behind its back
	TargetFilled time.Duration // after launch, until metadata has target-lifecycle-state (404 before)
	Retry        time.Duration // until a failed launch or stop is tried again; default 5 s
}

// Visible is how long EC2 shows a terminated instance.
const Visible = time.Hour

func (c *Config) setDefaults() {
	if c.Region == "" {
		c.Region = "eu-central-1"
	}
	if len(c.Zones) == 0 {
		c.Zones = []string{c.Region + "a", c.Region + "b", c.Region + "c"}
	}
	if c.AccountID == "" {
		c.AccountID = "123456789012"
	}
	if c.Clock == nil {
		c.Clock = RealClock{}
	}
	if c.Timing.Retry <= 0 {
		c.Timing.Retry = 5 * time.Second
	}
	if c.IPs == nil {
		c.IPs = defaultPool()
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = 30 * time.Second
	}
	if c.MaxCalls <= 0 {
		c.MaxCalls = 100_000
	}
}

// Replace says when a group replaces an instance that it told to go.
type Replace int

const (
	// ReplaceAtOnce launches while the old instance is still in Terminating:Wait.
	ReplaceAtOnce Replace = iota
	// ReplaceAfterTermination launches when the old instance has left the group.
	ReplaceAfterTermination
)

func (r Replace) String() string {
	if r == ReplaceAfterTermination {
		return "after-termination"
	}
	return "at-once"
}

// ParseReplace is the inverse of Replace.String.
func ParseReplace(s string) (Replace, error) {
	for _, r := range []Replace{ReplaceAtOnce, ReplaceAfterTermination} {
		if s == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("unknown replacement behaviour %q (at-once or after-termination)", s)
}

// Transition is what a lifecycle hook holds up; the values are AWS's.
type Transition string

const (
	Launching   Transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
	Terminating Transition = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// Results of a hook; the values are AWS's.
const (
	Continue = "CONTINUE"
	Abandon  = "ABANDON"
)

// Hook is a lifecycle hook declared inside its group (LifecycleHookSpecificationList),
// so that it also holds the group's first instances.
type Hook struct {
	Name       string
	Transition Transition
	// HeartbeatTimeout defaults to 1 h. AWS allows 30 s to 2 h; any positive
	// duration is accepted here, so that tests on the real clock can be short.
	HeartbeatTimeout time.Duration
	// GlobalTimeout overrides AWS's limit of min(48 h, 100 x HeartbeatTimeout).
	GlobalTimeout time.Duration
	DefaultResult string // of a hook that runs out; default ABANDON
	Metadata      string // NotificationMetadata, only shown
}

func (h *Hook) setDefaults() error {
	if h.Name == "" {
		return errors.New("hook without a name")
	}
	if h.Transition != Launching && h.Transition != Terminating {
		return fmt.Errorf("hook %s: unknown transition %q", h.Name, h.Transition)
	}
	if h.HeartbeatTimeout <= 0 {
		h.HeartbeatTimeout = time.Hour
	}
	if h.GlobalTimeout <= 0 {
		h.GlobalTimeout = min(48*time.Hour, 100*h.HeartbeatTimeout)
	}
	if h.DefaultResult == "" {
		h.DefaultResult = Abandon
	}
	if h.DefaultResult != Continue && h.DefaultResult != Abandon {
		return fmt.Errorf("hook %s: unknown default result %q", h.Name, h.DefaultResult)
	}
	return nil
}

// Tag is a tag of a group.
type Tag struct {
	Key, Value        string
	PropagateAtLaunch bool
}

// GroupConfig describes an auto scaling group.
type GroupConfig struct {
	Name              string
	Min, Max, Desired int // Max 0: the larger of Min and Desired
	Hooks             []Hook
	Tags              []Tag
	Replace           Replace

	// ScaleIn picks the instance to terminate when there are too many; the candidates
	// are live, oldest first, never empty. Nil: the oldest. It must not call the Cloud.
	ScaleIn func(candidates []Instance) (id string)

	// HookAbandonedLaunch sends an instance whose launch was abandoned through the
	// terminating hooks. Default: it is terminated without.
	HookAbandonedLaunch bool

	// HookDeadInstance opens the terminating hooks also for an instance that was
	// terminated behind the group's back. Nobody is left to complete them, so the
	// group lists it until they run out. Default: no hooks.
	HookDeadInstance bool

	// WarmPool is the group's warm pool, if it has one from the start.
	WarmPool *WarmPool

	// GracePeriod is how long an instance is in service before it can be set unhealthy
	// by a call that respects this.
	GracePeriod time.Duration

	ImageID      string // default ami-0fa4eaa5000000001
	InstanceType string // default m7g.medium

	// Overrides make it a group of a mixed instances policy, which launches the first of them.
	Overrides []Override
}

func (g *GroupConfig) setDefaults() error {
	if g.Name == "" {
		return errors.New("group without a name")
	}
	if g.Max == 0 {
		g.Max = max(g.Min, g.Desired)
	}
	if g.Min < 0 || g.Desired < g.Min || g.Desired > g.Max {
		return fmt.Errorf("group %s: desired capacity %d must be between the specified min size %d and max size %d",
			g.Name, g.Desired, g.Min, g.Max)
	}
	if err := checkOverrides(g.Overrides); err != nil {
		return fmt.Errorf("group %s: %w", g.Name, err)
	}
	seen := map[string]bool{}
	for i := range g.Hooks {
		if err := g.Hooks[i].setDefaults(); err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
		if seen[g.Hooks[i].Name] {
			return fmt.Errorf("group %s: two hooks named %s", g.Name, g.Hooks[i].Name)
		}
		seen[g.Hooks[i].Name] = true
	}
	if g.WarmPool != nil {
		pool, err := g.WarmPool.withDefaults()
		if err != nil {
			return fmt.Errorf("group %s: %w", g.Name, err)
		}
		g.WarmPool = &pool
	}
	if g.ImageID == "" {
		g.ImageID = "ami-0fa4eaa5000000001"
	}
	if g.InstanceType == "" {
		g.InstanceType = "m7g.medium"
	}
	return nil
}
