package units

import (
	"context"
	"fmt"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
)

// jobMode "replace" lets a new job take the place of one that is queued: a
// restart must win over the start job that an etcd without a leader never
// finishes.
const jobMode = "replace"

// call runs one D-Bus call on the current session within the call timeout, and
// wraps its error with what was tried.
func (c *Conn) call(ctx context.Context, verb string, f func(context.Context, *sddbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	s, err := c.session(ctx)
	if err == nil {
		err = f(ctx, s.systemd)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// Start queues a start job for unit and returns when systemd has accepted it.
// It does not wait for the job: see the package comment. Whether a Condition*=
// prevented the start shows in UnitState.ConditionResult.
func (c *Conn) Start(ctx context.Context, unit string) error {
	return c.call(ctx, "start "+unit, func(ctx context.Context, s *sddbus.Conn) error {
		_, err := s.StartUnitContext(ctx, unit, jobMode, nil)
		return err
	})
}

// Restart queues a restart job for unit and returns when systemd has accepted
// it. A unit that does not run is started.
func (c *Conn) Restart(ctx context.Context, unit string) error {
	return c.call(ctx, "restart "+unit, func(ctx context.Context, s *sddbus.Conn) error {
		_, err := s.RestartUnitContext(ctx, unit, jobMode, nil)
		return err
	})
}

// Stop queues a stop job for unit and waits until the unit is inactive or failed
// and the job is through: then none of its processes is left and systemd will
// not restart it. A unit that does not exist is stopped. ctx is the only bound
// on the wait; when it ends the job stays queued.
func (c *Conn) Stop(ctx context.Context, unit string) error {
	sub, release := c.listen(unitPath(unit))
	defer release()
	var job int
	err := c.call(ctx, "stop "+unit, func(ctx context.Context, s *sddbus.Conn) (err error) {
		job, err = s.StopUnitContext(ctx, unit, jobMode, nil)
		if isNoSuchUnit(err) {
			err = nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for {
		// An error here may be the bus going away for a moment. The job is
		// queued, so keep looking until the caller's patience ends.
		st, err := c.State(ctx, unit)
		if err == nil && st.Stopped() && (st.JobID == 0 || int(st.JobID) != job) {
			return nil
		}
		if werr := c.pause(ctx, sub); werr != nil {
			if err == nil {
				err = fmt.Errorf("%w while it is %s (%s)", werr, st.ActiveState, st.SubState)
			}
			return fmt.Errorf("wait for %s to stop: %w", unit, err)
		}
	}
}

// ResetFailed makes a failed unit inactive and forgets its start rate limit. A
// unit that is not loaded has nothing to forget.
func (c *Conn) ResetFailed(ctx context.Context, unit string) error {
	return c.call(ctx, "reset failed state of "+unit, func(ctx context.Context, s *sddbus.Conn) error {
		err := s.ResetFailedUnitContext(ctx, unit)
		if isNoSuchUnit(err) {
			return nil
		}
		return err
	})
}

// Reload makes systemd read all unit files and drop-ins again (daemon-reload).
// It returns when systemd is done.
func (c *Conn) Reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 9*c.opts.CallTimeout)
	defer cancel()
	s, err := c.session(ctx)
	if err == nil {
		err = s.systemd.ReloadContext(ctx)
	}
	if err != nil {
		return fmt.Errorf("reload systemd: %w", err)
	}
	return nil
}
