package policy

import "strings"

// Unit is the state of a systemd unit, in systemd's words.
type Unit struct {
	Load, Active, Sub string
	MainPID           int
	// Job: systemd has a job for it, in its queue or under way. A restart's stays from
	// before the stop until etcd is ready.
	Job bool
}

// Stopped reports whether nothing of the unit runs or is about to.
func (u Unit) Stopped() bool {
	return u.Load == "not-found" || u.inactive() && !u.Job && !u.restarts()
}

// Queued reports whether nothing of the unit runs and a job of systemd's will start it,
// as between the two halves of a restart. Starting it again would start it twice.
func (u Unit) Queued() bool { return u.inactive() && u.Job && u.Load != "not-found" }

// Down reports whether no process of the unit runs now: stopped, about to be started, or
// waiting for systemd's next automatic restart.
func (u Unit) Down() bool { return u.Load == "not-found" || u.inactive() || u.restarts() }

// Failing reports whether the last process ended by itself and none has begun since.
func (u Unit) Failing() bool { return u.restarts() || u.Active == "failed" && !u.Job }

func (u Unit) inactive() bool { return u.Active == "inactive" || u.Active == "failed" }

// restarts: systemd starts it again by itself after RestartSec. From 254 on it is
// "dead-before-auto-restart" or "failed-before-auto-restart" for a moment before, and
// "auto-restart-queued" for one after.
func (u Unit) restarts() bool { return strings.Contains(u.Sub, "auto-restart") }
