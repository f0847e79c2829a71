package units

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// The values of LoadState and ActiveState that quorumd decides on. systemd has
// more.
const (
	LoadStateLoaded   = "loaded"
	LoadStateNotFound = "not-found"
	LoadStateMasked   = "masked"

	ActiveStateActive       = "active"
	ActiveStateActivating   = "activating" // etcd without a leader stays here; so does a unit that waits to be restarted
	ActiveStateDeactivating = "deactivating"
	ActiveStateInactive     = "inactive"
	ActiveStateFailed       = "failed"

	// Not running, systemd starts it again after RestartSec. From 254 on it is
	// "dead-before-auto-restart" or "failed-before-auto-restart" for a moment before.
	SubStateAutoRestart = "auto-restart"
)

// UnitState is what systemd says of one service at one moment. It is a plain
// comparable value: two equal states mean that nothing happened in between.
type UnitState struct {
	Name        string
	LoadState   string // "loaded", "not-found", "masked", "bad-setting" ...
	ActiveState string // "active", "activating", "deactivating", "inactive", "failed" ...
	SubState    string // finer, service specific: "running", "start", "auto-restart", "dead" ...

	// Result of the last run: "success", "exit-code", "signal", "timeout",
	// "protocol", "oom-kill" ...
	Result string

	// ExecMainStatus is the exit status of the main process that ran last, or
	// the number of the signal that killed it; 0 while it runs. See Result for
	// which of the two.
	ExecMainStatus int

	MainPID   int // 0: no process
	NRestarts int // automatic restarts since the last start by hand

	// InvocationID is new with every start, 32 hex digits. It tells one run of
	// a unit from the next where a process id might be reused.
	InvocationID string

	// StateChange is when SubState last changed, by the wall clock of the
	// machine; zero if it never did.
	StateChange time.Time

	// ConditionResult is false if the last start was skipped because a
	// Condition*= of the unit did not hold. systemd counts such a start as
	// done; only this property tells.
	ConditionResult bool

	// JobID is the job in progress or queued for the unit, 0 for none. etcd
	// without a leader has a start job for as long as that lasts.
	JobID uint32

	// StatusText is what the service last said of itself with sd_notify.
	StatusText string
}

// Stopped reports that no process of the unit runs and none is about to by itself: it is
// inactive or failed. A unit waiting for its automatic restart is not stopped. Between the
// two halves of a restart a unit is, with the JobID of that restart.
func (s UnitState) Stopped() bool {
	return (s.ActiveState == ActiveStateInactive || s.ActiveState == ActiveStateFailed) && !strings.HasSuffix(s.SubState, SubStateAutoRestart)
}

// Running reports that the unit has a main process and is not going down. It
// includes an etcd that is still waiting for a leader.
func (s UnitState) Running() bool {
	return s.MainPID != 0 && (s.ActiveState == ActiveStateActive || s.ActiveState == ActiveStateActivating)
}

// State reads the state of unit, which need not exist.
func (c *Conn) State(ctx context.Context, unit string) (UnitState, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	s, err := c.session(ctx)
	if err != nil {
		return UnitState{}, fmt.Errorf("read state of %s: %w", unit, err)
	}
	// One call for all properties of all interfaces: a state put together of
	// several calls may show a combination that never was.
	props, err := s.systemd.GetAllPropertiesContext(ctx, unit)
	if isNoSuchUnit(err) {
		return UnitState{Name: unit, LoadState: LoadStateNotFound, ActiveState: ActiveStateInactive, SubState: "dead"}, nil
	}
	if err != nil {
		return UnitState{}, fmt.Errorf("read state of %s: %w", unit, err)
	}
	st, err := parseState(unit, props)
	if err != nil {
		return UnitState{}, fmt.Errorf("read state of %s: %w", unit, err)
	}
	return st, nil
}

// parseState picks a UnitState out of D-Bus properties. The three states must
// be there; the rest may be missing (a unit that is not a service has no
// MainPID).
func parseState(unit string, props map[string]any) (UnitState, error) {
	st := UnitState{Name: unit}
	for _, f := range []struct {
		property string
		into     *string
	}{{"LoadState", &st.LoadState}, {"ActiveState", &st.ActiveState}, {"SubState", &st.SubState}} {
		v, ok := props[f.property].(string)
		if !ok {
			return UnitState{}, fmt.Errorf("property %s is missing or not a string", f.property)
		}
		*f.into = v
	}
	st.Result, _ = props["Result"].(string)
	st.StatusText, _ = props["StatusText"].(string)
	st.ConditionResult, _ = props["ConditionResult"].(bool)
	if v, ok := props["ExecMainStatus"].(int32); ok {
		st.ExecMainStatus = int(v)
	}
	if v, ok := props["MainPID"].(uint32); ok {
		st.MainPID = int(v)
	}
	if v, ok := props["NRestarts"].(uint32); ok {
		st.NRestarts = int(v)
	}
	if v, ok := props["InvocationID"].([]byte); ok {
		st.InvocationID = hex.EncodeToString(v)
	}
	if v, ok := props["StateChangeTimestamp"].(uint64); ok && v != 0 {
		st.StateChange = time.UnixMicro(int64(v)).UTC()
	}
	if v, ok := props["Job"].([]any); ok && len(v) == 2 { // (uo)
		st.JobID, _ = v[0].(uint32)
	}
	return st, nil
}

func isNoSuchUnit(err error) bool {
	var derr dbus.Error
	return errors.As(err, &derr) && derr.Name == "org.freedesktop.systemd1.NoSuchUnit"
}
