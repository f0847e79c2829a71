package fakesystemd

import (
	"slices"
	"strconv"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/quorumd/quorumd/units"
)

// The services beside systemd: their names, and the unique ones behind these.
const (
	updateName  = "com.coreos.update1"
	updateID    = ":1.0.1"
	updatePath  = dbus.ObjectPath("/com/coreos/update1")
	updateIface = updateName + ".Manager"

	loginName     = "org.freedesktop.login1"
	loginID       = ":1.0.2"
	loginPath     = dbus.ObjectPath("/org/freedesktop/login1")
	loginIface    = loginName + ".Manager"
	sessionIface  = loginName + ".Session"
	sessionPrefix = "/org/freedesktop/login1/session/"
)

// Session is a session of the machine's logind.
type Session struct {
	units.Session
	// Class is "user" for a person's; "greeter", "manager", "background" and so on.
	Class string
}

// others are the services beside systemd. Copied values only leave it.
type others struct {
	mu         sync.Mutex
	update     *units.UpdateStatus // nil: nobody offers it
	sessions   []Session
	inhibitors []units.Inhibitor
	down       bool
	reboot     chan struct{} // closed by the first Reboot
}

// owner is the unique name behind a name, "" if nobody has it.
func (h *Host) owner(name string) string {
	h.other.mu.Lock()
	defer h.other.mu.Unlock()
	switch name {
	case busName:
		return busName
	case systemdName, systemdID:
		return systemdID
	case loginName, loginID:
		return loginID
	case updateName, updateID:
		if h.other.update != nil {
			return updateID
		}
	}
	return ""
}

// SetUpdate makes the machine's update service say st, and tell so by its signal. The
// first call brings the service up.
func (h *Host) SetUpdate(st units.UpdateStatus) {
	h.other.mu.Lock()
	fresh := h.other.update == nil
	h.other.update = &st
	h.other.mu.Unlock()
	b := h.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if fresh {
		b.deliver(signal{"/org/freedesktop/DBus", busName, "NameOwnerChanged", []any{updateName, "", updateID}}, busName)
	}
	b.deliver(signal{updatePath, updateIface, "StatusUpdate", statusBody(st)}, updateName, updateID)
}

// StopUpdates takes the update service off the bus.
func (h *Host) StopUpdates() {
	h.other.mu.Lock()
	h.other.update = nil
	h.other.mu.Unlock()
	h.bus.mu.Lock()
	defer h.bus.mu.Unlock()
	h.bus.deliver(signal{"/org/freedesktop/DBus", busName, "NameOwnerChanged", []any{updateName, updateID, ""}}, busName)
}

// statusBody is (x d s s x).
func statusBody(st units.UpdateStatus) []any {
	var checked int64
	if !st.LastChecked.IsZero() {
		checked = st.LastChecked.Unix()
	}
	return []any{checked, st.Progress, st.Operation, st.NewVersion, st.NewSize}
}

// SetSessions makes these the sessions of logind.
func (h *Host) SetSessions(all ...Session) {
	h.other.mu.Lock()
	h.other.sessions = slices.Clone(all)
	h.other.mu.Unlock()
	h.loginSignal("SessionNew", "c1", dbus.ObjectPath(sessionPrefix+"c1"))
}

// SetInhibitors makes these the inhibitors of logind. Like the real one it does not
// signal that; and it does not hold root to them.
func (h *Host) SetInhibitors(all ...units.Inhibitor) {
	h.other.mu.Lock()
	defer h.other.mu.Unlock()
	h.other.inhibitors = slices.Clone(all)
}

// RebootAsked is closed once somebody has logind reboot the machine. What happens
// then is the owner's: PowerOff, and New on the same directory.
func (h *Host) RebootAsked() <-chan struct{} { return h.other.reboot }

func (h *Host) loginSignal(member string, body ...any) {
	h.bus.mu.Lock()
	defer h.bus.mu.Unlock()
	h.bus.deliver(signal{loginPath, loginIface, member, body}, loginName, loginID)
}

func (m *methodCall) runUpdate() ([]any, *dbus.Error) {
	o := &m.client.bus.host.other
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.update == nil:
		return nil, m.noService()
	case m.path == updatePath && m.iface == updateIface && m.member == "GetStatus":
		return statusBody(*o.update), nil
	}
	return nil, m.unknown()
}

// loginRow is a row of ListSessions.
type loginRow struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

func (m *methodCall) runLogin() ([]any, *dbus.Error) {
	h := m.client.bus.host
	o := &h.other
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case m.iface == propsIface && m.member == "Get" && m.path == loginPath && m.str(1) == "PreparingForShutdown":
		return []any{dbus.MakeVariant(o.down)}, nil
	case m.iface == propsIface && m.member == "GetAll" && m.str(0) == sessionIface:
		return m.session(o.sessions)
	case m.path != loginPath || m.iface != loginIface:
		return nil, m.unknown()
	}
	switch m.member {
	case "ListInhibitors":
		return []any{append([]units.Inhibitor{}, o.inhibitors...)}, nil
	case "ListSessions":
		rows := []loginRow{}
		for i, s := range o.sessions {
			rows = append(rows, loginRow{ID: s.ID, UID: 1000, User: s.User, Path: sessionPath(i)})
		}
		return []any{rows}, nil
	case "Reboot":
		if !o.down {
			o.down = true
			close(o.reboot)
		}
		m.after = func() { h.loginSignal("PrepareForShutdown", true) }
		return nil, nil
	}
	return nil, m.unknown()
}

func sessionPath(i int) dbus.ObjectPath {
	return dbus.ObjectPath(sessionPrefix + "c" + strconv.Itoa(i))
}

func (m *methodCall) session(all []Session) ([]any, *dbus.Error) {
	for i, s := range all {
		if m.path == sessionPath(i) {
			v := dbus.MakeVariant
			return []any{map[string]dbus.Variant{"Class": v(s.Class), "Type": v(s.Type), "State": v(s.State),
				"Remote": v(s.Remote), "RemoteHost": v(s.Host)}}, nil
		}
	}
	return nil, dbusError("org.freedesktop.DBus.Error.UnknownObject", "Unknown object '%s'.", m.path)
}
