package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrNoHook: no hook of a transition can be chosen.
var ErrNoHook = errors.New("no lifecycle hook to use")

// ChooseHook gives the hook of a transition that this agent serves: the configured one,
// else the only one on the transition, else the only one whose name starts with
// quorumd. Otherwise the error is an [ErrNoHook] that names all there are.
func ChooseHook(hooks []Hook, t Transition, configured string) (Hook, error) {
	var on, fit []Hook
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
		return Hook{}, fmt.Errorf("%w: the group has none on %s", ErrNoHook, t)
	}
	var names []string
	for _, h := range on {
		names = append(names, h.Name)
	}
	slices.Sort(names)
	return Hook{}, fmt.Errorf("%w: the group has %s on %s: %s", ErrNoHook, strings.Join(names, ", "), t, why)
}

func named(hooks []Hook, match func(string) bool) []Hook {
	return slices.DeleteFunc(slices.Clone(hooks), func(h Hook) bool { return !match(h.Name) })
}

// HeartbeatInterval is how often a hook must get a heartbeat: a third of its timeout, so
// that two may be lost.
func HeartbeatInterval(h Hook) time.Duration { return h.Timeout / 3 }

// OpenTransition gives the transition whose hooks are open in a lifecycle state, empty
// for none. An instance that goes back to a warm pool waits in Warmed:Pending:Wait for a
// terminating hook, one that is launched into it in the same state for a launch hook: see
// poolHook.
func OpenTransition(s LifecycleState) Transition {
	switch s {
	case StatePendingWait:
		return Launching
	case StateTerminatingWait, StateWarmedPendingWait, StateWarmedTermWait:
		return Terminating
	}
	return ""
}
