package units

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// logind on the system bus.
const (
	loginName      = "org.freedesktop.login1"
	loginPath      = dbus.ObjectPath("/org/freedesktop/login1")
	loginInterface = "org.freedesktop.login1.Manager"
	sessionIface   = "org.freedesktop.login1.Session"
)

// ErrInhibited means that somebody blocks the machine's shutdown.
var ErrInhibited = errors.New("the reboot is blocked by an inhibitor (systemd-inhibit --list)")

// Inhibitor is a lock that some program holds against something that logind does.
type Inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

// BlocksReboot reports whether it forbids a reboot, as opposed to delaying it.
func (i Inhibitor) BlocksReboot() bool {
	return (i.Mode == "block" || i.Mode == "block-weak") && slices.Contains(strings.Split(i.What, ":"), "shutdown")
}

// Session is a person who is logged in.
type Session struct {
	ID, User, Type, State string
	// Remote: over the network, from Host.
	Remote bool
	Host   string
}

// Login is the state of logind that concerns reboots.
type Login struct {
	// Sessions are those of people: not of services, cron jobs or greeters.
	Sessions []Session
	// Blocks are the inhibitors that forbid a reboot now.
	Blocks []Inhibitor
	// GoingDown: the machine is shutting down or rebooting already.
	GoingDown bool
}

// Login asks logind for its state.
func (c *Conn) Login(ctx context.Context) (Login, error) {
	l, err := c.login(ctx)
	if err != nil {
		return Login{}, fmt.Errorf("ask logind: %w", err)
	}
	return l, nil
}

func (c *Conn) login(ctx context.Context) (Login, error) {
	var l Login
	var down dbus.Variant
	err := c.ask(ctx, question{loginName, loginPath, "org.freedesktop.DBus.Properties.Get", []any{loginInterface, "PreparingForShutdown"}}, &down)
	if err != nil {
		return l, err
	}
	going, ok := down.Value().(bool)
	if !ok {
		return l, fmt.Errorf("PreparingForShutdown is %s, no boolean", down.Signature())
	}
	l.GoingDown = going
	if l.Blocks, err = c.blocks(ctx); err != nil {
		return l, err
	}
	var listed []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	if err := c.ask(ctx, question{loginName, loginPath, loginInterface + ".ListSessions", nil}, &listed); err != nil {
		return l, err
	}
	for _, one := range listed {
		s, person, err := c.loginSession(ctx, one.Path)
		switch {
		case isGone(err): // it ended between the two questions
		case err != nil:
			return l, err
		case person:
			s.ID, s.User = one.ID, one.User
			l.Sessions = append(l.Sessions, s)
		}
	}
	return l, nil
}

// blocks are the inhibitors that forbid a reboot.
func (c *Conn) blocks(ctx context.Context) ([]Inhibitor, error) {
	var all, out []Inhibitor
	if err := c.ask(ctx, question{loginName, loginPath, loginInterface + ".ListInhibitors", nil}, &all); err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.BlocksReboot() {
			out = append(out, i)
		}
	}
	return out, nil
}

// loginSession reads one session, and tells whether it is a person's.
func (c *Conn) loginSession(ctx context.Context, path dbus.ObjectPath) (s Session, person bool, err error) {
	var props map[string]dbus.Variant
	if err := c.ask(ctx, question{loginName, path, "org.freedesktop.DBus.Properties.GetAll", []any{sessionIface}}, &props); err != nil {
		return Session{}, false, err
	}
	word := func(name string) string {
		v, _ := props[name].Value().(string)
		return v
	}
	s = Session{Type: word("Type"), State: word("State"), Host: word("RemoteHost")}
	s.Remote, _ = props["Remote"].Value().(bool)
	// A session of type "unspecified" has neither terminal nor screen: cron, or a
	// command that ssh ran.
	class := word("Class")
	person = (class == "user" || strings.HasPrefix(class, "user-")) && s.Type != "unspecified" && s.State != "closing"
	return s, person, nil
}

// isGone reports whether an object on the bus does not exist.
func isGone(err error) bool {
	var derr dbus.Error
	return errors.As(err, &derr) && (derr.Name == "org.freedesktop.DBus.Error.UnknownObject" || derr.Name == "org.freedesktop.login1.NoSuchSession")
}

// WatchLogin reports logind's state as [Conn.Watch] does a unit's.
func (c *Conn) WatchLogin(ctx context.Context, report func(Login, error)) error {
	return watch(ctx, c, loginPath, report, c.Login)
}

// Reboot has logind reboot the machine and returns when logind has accepted that;
// the machine goes down some time later. It asks for inhibitors itself, because
// logind does not hold root to them: [ErrInhibited], with who and why. A machine that
// is going down already is not told again.
func (c *Conn) Reboot(ctx context.Context) error {
	l, err := c.login(ctx)
	if err == nil {
		switch {
		case l.GoingDown:
			return nil
		case len(l.Blocks) > 0:
			b := l.Blocks[0]
			return fmt.Errorf("reboot: %w: %s (%s), pid %d", ErrInhibited, b.Who, b.Why, b.PID)
		}
		const interactive = false
		err = c.ask(ctx, question{loginName, loginPath, loginInterface + ".Reboot", []any{interactive}})
	}
	if err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}
