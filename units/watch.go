package units

import (
	"context"
	"errors"
	"fmt"
	"time"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

const (
	managerInterface = "org.freedesktop.systemd1.Manager"
	managerPath      = dbus.ObjectPath("/org/freedesktop/systemd1")
	unitPathPrefix   = "/org/freedesktop/systemd1/unit/"
)

// subscription is one Watch or Stop that wants to be poked when its unit (or other
// object on the bus) may have changed. A poke says "read again", nothing more, so pokes may be merged.
type subscription struct {
	path dbus.ObjectPath
	poke chan struct{} // capacity 1
}

func (s *subscription) wake() {
	select {
	case s.poke <- struct{}{}:
	default: // one is waiting already; the read it causes sees this change too
	}
}

func unitPath(unit string) dbus.ObjectPath {
	return dbus.ObjectPath(unitPathPrefix + sddbus.PathBusEscape(unit))
}

// listen registers interest in an object. The first poke comes once the signals
// for it are on, so a change before that is seen by the read that follows.
func (c *Conn) listen(path dbus.ObjectPath) (sub *subscription, release func()) {
	sub = &subscription{path: path, poke: make(chan struct{}, 1)}
	c.mu.Lock()
	set := c.subs[sub.path]
	if set == nil {
		set = map[*subscription]struct{}{}
		c.subs[sub.path] = set
	}
	set[sub] = struct{}{}
	c.mu.Unlock()
	c.tellOwner()
	return sub, func() {
		c.mu.Lock()
		delete(set, sub)
		if len(set) == 0 {
			delete(c.subs, sub.path)
		}
		c.mu.Unlock()
		c.tellOwner()
	}
}

func (c *Conn) tellOwner() {
	select {
	case c.wanted <- struct{}{}:
	default:
	}
}

// serve distributes the session's signals until the session or life ends.
func (c *Conn) serve(life context.Context, s *session) error {
	if err := c.updateMatches(life, s); err != nil {
		return err
	}
	c.wake("") // whatever was missed while the bus was away
	for {
		select {
		case <-life.Done():
			return life.Err()
		case <-s.calls.Context().Done():
			return errors.New("call connection ended")
		case <-c.wanted:
			if err := c.updateMatches(life, s); err != nil {
				return err
			}
		case sig, ok := <-s.signals:
			if !ok {
				return errors.New("signal connection ended")
			}
			c.route(sig)
		}
	}
}

// route pokes those whom a signal concerns.
func (c *Conn) route(sig *dbus.Signal) {
	switch sig.Name {
	case "org.freedesktop.DBus.Properties.PropertiesChanged":
		c.wake(sig.Path)
	case managerInterface + ".JobRemoved": // id, job, unit, result
		if len(sig.Body) >= 3 {
			if unit, ok := sig.Body[2].(string); ok {
				c.wake(unitPath(unit))
			}
		}
	case managerInterface + ".Reloading":
		c.wake("") // a unit may have appeared, or have gone
	case "org.freedesktop.DBus.NameOwnerChanged":
		c.wake("") // a service came or went
	default:
		c.wake(sig.Path) // every signal that we asked for says: read again
	}
}

// wake pokes the subscriptions of one unit, or all of them if path is empty.
func (c *Conn) wake(path dbus.ObjectPath) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, set := range c.subs {
		if path == "" || p == path {
			for sub := range set {
				sub.wake()
			}
		}
	}
}

// updateMatches makes the bus send the signals of exactly the units that are
// listened to. Only the owner calls it.
func (c *Conn) updateMatches(life context.Context, s *session) error {
	c.mu.Lock()
	var add, drop []dbus.ObjectPath
	for p := range c.subs {
		if !s.matched[p] {
			add = append(add, p)
		}
	}
	for p := range s.matched {
		if c.subs[p] == nil {
			drop = append(drop, p)
		}
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(life, c.opts.CallTimeout)
	defer cancel()
	for _, p := range drop {
		for _, match := range matchesOf(p) {
			if err := s.events.RemoveMatchSignalContext(ctx, match...); err != nil {
				return fmt.Errorf("unsubscribe from %s: %w", p, err)
			}
		}
		delete(s.matched, p)
	}
	for _, p := range add {
		for _, match := range matchesOf(p) {
			if err := s.events.AddMatchSignalContext(ctx, match...); err != nil {
				return fmt.Errorf("subscribe to %s: %w", p, err)
			}
		}
		s.matched[p] = true
		c.wake(p)
	}
	return nil
}

// matchesOf are the rules for the signals that concern an object: those of a
// service of its own (see [updatePath], [loginPath]), else a unit's properties.
func matchesOf(path dbus.ObjectPath) [][]dbus.MatchOption {
	switch path {
	case updatePath:
		return append(ownerOf(updateName), []dbus.MatchOption{dbus.WithMatchObjectPath(path), dbus.WithMatchInterface(updateInterface)})
	case loginPath:
		return append(ownerOf(loginName), []dbus.MatchOption{dbus.WithMatchObjectPath(path), dbus.WithMatchInterface(loginInterface)})
	}
	return [][]dbus.MatchOption{{
		dbus.WithMatchInterface("org.freedesktop.DBus.Properties"),
		dbus.WithMatchMember("PropertiesChanged"),
		dbus.WithMatchObjectPath(path),
	}}
}

// ownerOf is the rule for the coming and going of a service.
func ownerOf(name string) [][]dbus.MatchOption {
	return [][]dbus.MatchOption{{
		dbus.WithMatchSender("org.freedesktop.DBus"),
		dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"),
		dbus.WithMatchArg(0, name),
	}}
}

// subscribe asks systemd to send signals at all, and the bus for the manager's.
// JobRemoved is matched by go-systemd already.
func (s *session) subscribe(ctx context.Context) error {
	err := s.events.AddMatchSignalContext(ctx,
		dbus.WithMatchInterface(managerInterface), dbus.WithMatchMember("Reloading"))
	if err != nil {
		return fmt.Errorf("add match: %w", err)
	}
	systemd := s.events.Object("org.freedesktop.systemd1", managerPath)
	if err := systemd.CallWithContext(ctx, managerInterface+".Subscribe", 0).Store(); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// Watch calls report with the state of unit: first as it is now, then after each
// change, and at least every Options.Reread, so equal states repeat and a fact
// made of them is never older than that. While the state cannot be read, report
// gets the error instead and a zero state: after Options.CallTimeout if the bus is
// away, since it may be back before. A state in between two quick changes
// may be skipped, the last one never is.
//
// Watch blocks, calling report from its own goroutine, until ctx ends (then it
// returns ctx's error) or the Conn is closed (ErrClosed).
func (c *Conn) Watch(ctx context.Context, unit string, report func(UnitState, error)) error {
	return watch(ctx, c, unitPath(unit), report, func(ctx context.Context) (UnitState, error) { return c.State(ctx, unit) })
}

// watch reads an object whenever a signal or the period says so, see [Conn.Watch].
func watch[T any](ctx context.Context, c *Conn, path dbus.ObjectPath, report func(T, error), read func(context.Context) (T, error)) error {
	sub, release := c.listen(path)
	defer release()
	for {
		v, err := read(ctx)
		if errors.Is(err, ErrClosed) {
			return ErrClosed
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		report(v, err)
		if err := c.pause(ctx, sub); err != nil {
			return err
		}
	}
}

// pause waits for a poke, or for the next periodic read.
func (c *Conn) pause(ctx context.Context, sub *subscription) error {
	timer := time.NewTimer(c.opts.Reread)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return ErrClosed
	case <-sub.poke:
	case <-timer.C:
	}
	return nil
}
