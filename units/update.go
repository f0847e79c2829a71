package units

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Flatcar's update service on the system bus.
const (
	updateName      = "com.coreos.update1"
	updatePath      = dbus.ObjectPath("/com/coreos/update1")
	updateInterface = "com.coreos.update1.Manager"
)

// UpdateNeedReboot is the operation of an update that is installed and waits for a
// reboot.
const UpdateNeedReboot = "UPDATE_STATUS_UPDATED_NEED_REBOOT"

// ErrNoService means that nobody offers a service on the bus: there is no such
// service on this machine, or it is not running now.
var ErrNoService = errors.New("nobody on the bus offers it")

// UpdateStatus is what Flatcar's update_engine says of itself.
type UpdateStatus struct {
	// LastChecked is when it last asked for updates; zero for never.
	LastChecked time.Time
	// Progress of what it does now, 0 to 1.
	Progress float64
	// Operation is UPDATE_STATUS_IDLE, ..._DOWNLOADING and so on.
	Operation string
	// NewVersion is the version that it found, and NewSize its size in bytes.
	NewVersion string
	NewSize    int64
}

// NeedsReboot reports whether an installed update waits for a reboot.
func (s UpdateStatus) NeedsReboot() bool { return s.Operation == UpdateNeedReboot }

// UpdateStatus asks update_engine. [ErrNoService] is the answer of a machine that
// has none; it is not started by being asked.
func (c *Conn) UpdateStatus(ctx context.Context) (UpdateStatus, error) {
	var st UpdateStatus
	var checked int64
	err := c.ask(ctx, question{updateName, updatePath, updateInterface + ".GetStatus", nil},
		&checked, &st.Progress, &st.Operation, &st.NewVersion, &st.NewSize)
	if err != nil {
		return UpdateStatus{}, fmt.Errorf("ask update_engine: %w", err)
	}
	if checked != 0 {
		st.LastChecked = time.Unix(checked, 0).UTC()
	}
	return st, nil
}

// WatchUpdates reports update_engine's status as [Conn.Watch] does a unit's: now,
// after every signal of its, when it comes or goes, after a reconnect, and at least
// every Options.Reread. The signal's own content is not used: what counts is what it
// says when asked.
func (c *Conn) WatchUpdates(ctx context.Context, report func(UpdateStatus, error)) error {
	return watch(ctx, c, updatePath, report, c.UpdateStatus)
}

// question is a method call on a service other than systemd.
type question struct {
	name   string
	path   dbus.ObjectPath
	method string
	args   []any
}

// ask makes one call within the call timeout and stores what is answered. It does
// not start a service that is not running.
func (c *Conn) ask(ctx context.Context, q question, answer ...any) error {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	s, err := c.session(ctx)
	if err != nil {
		return err
	}
	err = s.calls.Object(q.name, q.path).CallWithContext(ctx, q.method, dbus.FlagNoAutoStart, q.args...).Store(answer...)
	var derr dbus.Error
	if errors.As(err, &derr) {
		switch derr.Name {
		case "org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner":
			return ErrNoService
		}
	}
	return err
}
