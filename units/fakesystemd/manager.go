package fakesystemd

import (
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/quorumd/quorumd/units"
)

const (
	managerPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface = "org.freedesktop.systemd1.Manager"
	unitIface    = "org.freedesktop.systemd1.Unit"
	serviceIface = "org.freedesktop.systemd1.Service"
	propsIface   = "org.freedesktop.DBus.Properties"
	unitPrefix   = "/org/freedesktop/systemd1/unit/"
)

func unitPath(name string) dbus.ObjectPath {
	return dbus.ObjectPath(unitPrefix + sddbus.PathBusEscape(name))
}

func jobPath(id uint32) dbus.ObjectPath {
	return dbus.ObjectPath("/org/freedesktop/systemd1/job/" + strconv.Itoa(int(id)))
}

// methodCall is one call of a client's.
type methodCall struct {
	client *client
	to     string
	path   dbus.ObjectPath
	iface  string // may be empty
	member string
	body   []any
	after  func() // run after the reply was sent
}

// sender is who answers the call.
func (m *methodCall) sender() string {
	switch m.to {
	case busName:
		return busName
	case updateName, updateID:
		return updateID
	case loginName, loginID:
		return loginID
	}
	return systemdID
}

func dbusError(name, format string, args ...any) *dbus.Error {
	return &dbus.Error{Name: name, Body: []any{fmt.Sprintf(format, args...)}}
}

func noSuchUnit(name string) *dbus.Error {
	return dbusError("org.freedesktop.systemd1.NoSuchUnit", "Unit %s not loaded.", name)
}

// run finds the method and executes it.
func (m *methodCall) run() ([]any, *dbus.Error) {
	switch {
	case m.iface == "org.freedesktop.DBus.Peer" && m.member == "Ping":
		return nil, nil
	case m.to == busName:
		return m.runBus()
	case m.to == updateName, m.to == updateID:
		return m.runUpdate()
	case m.to == loginName, m.to == loginID:
		return m.runLogin()
	case m.to != systemdName && m.to != systemdID:
		return nil, m.noService()
	case m.iface == propsIface:
		return m.runProperties()
	case m.path == managerPath && (m.iface == managerIface || m.iface == ""):
		return m.runManager()
	}
	return nil, m.unknown()
}

func (m *methodCall) noService() *dbus.Error {
	return dbusError("org.freedesktop.DBus.Error.ServiceUnknown", "The name %s is not known.", m.to)
}

func (m *methodCall) unknown() *dbus.Error {
	return dbusError("org.freedesktop.DBus.Error.UnknownMethod", "Unknown method %s.%s on %s.", m.iface, m.member, m.path)
}

// arg returns argument i, nil if there is none.
func (m *methodCall) arg(i int) any {
	if i < len(m.body) {
		return m.body[i]
	}
	return nil
}

// str returns argument i as a string, "" if it is none.
func (m *methodCall) str(i int) string {
	s, _ := m.arg(i).(string)
	return s
}

// runBus is the bus daemon's part.
func (m *methodCall) runBus() ([]any, *dbus.Error) {
	c := m.client
	owner := c.bus.host.owner(m.str(0))
	switch m.member {
	case "Hello":
		m.after = func() {
			c.bus.mu.Lock()
			defer c.bus.mu.Unlock()
			c.sendSignal(signal{"/org/freedesktop/DBus", busName, "NameAcquired", []any{c.name}}, busName)
		}
		return []any{c.name}, nil
	case "AddMatch", "RemoveMatch":
		return nil, m.changeMatch()
	case "GetNameOwner":
		if owner == "" {
			return nil, dbusError("org.freedesktop.DBus.Error.NameHasNoOwner", "Could not get owner of name '%s'.", m.str(0))
		}
		return []any{owner}, nil
	case "NameHasOwner":
		return []any{owner != ""}, nil
	case "ListNames":
		return []any{[]string{busName, systemdID, systemdName, c.name}}, nil
	case "GetId":
		return []any{c.bus.guid}, nil
	}
	return nil, m.unknown()
}

func (m *methodCall) changeMatch() *dbus.Error {
	r, err := parseRule(m.str(0))
	if err != nil {
		return dbusError("org.freedesktop.DBus.Error.MatchRuleInvalid", "%v", err)
	}
	m.client.bus.mu.Lock()
	defer m.client.bus.mu.Unlock()
	if m.member == "AddMatch" {
		m.client.rules = append(m.client.rules, r)
		return nil
	}
	i := slices.IndexFunc(m.client.rules, r.equal)
	if i < 0 {
		return dbusError("org.freedesktop.DBus.Error.MatchRuleNotFound", "No such match rule.")
	}
	m.client.rules = slices.Delete(m.client.rules, i, i+1)
	return nil
}

// runManager is systemd's manager object.
func (m *methodCall) runManager() ([]any, *dbus.Error) {
	h := m.client.bus.host
	name := m.str(0)
	switch m.member {
	case "StartUnit":
		return m.queue(name, jobStart)
	case "StopUnit":
		return m.queue(name, jobStop)
	case "RestartUnit":
		return m.queue(name, jobRestart)
	case "GetUnit":
		if h.units[name] == nil {
			return nil, noSuchUnit(name)
		}
		return []any{unitPath(name)}, nil
	case "LoadUnit": // also of a unit that does not exist
		return []any{unitPath(name)}, nil
	case "ResetFailedUnit":
		return nil, m.ask(name, request{resetFailed: true})
	case "KillUnit": // unit, whom, signal; the process group is "all", there is nothing finer
		sig, _ := m.arg(2).(int32)
		return nil, m.ask(name, request{signal: syscall.Signal(sig)})
	case "Subscribe", "Unsubscribe":
		m.client.bus.mu.Lock()
		m.client.subscribed = m.member == "Subscribe"
		m.client.bus.mu.Unlock()
		return nil, nil
	case "Reload":
		return nil, m.reload()
	case "ListUnits":
		return []any{h.list(h.unitNames())}, nil
	case "ListUnitsByNames":
		names, _ := m.arg(0).([]string)
		return []any{h.list(names)}, nil
	}
	return nil, m.unknown()
}

// queue hands a job to the unit. The one mode there is, is "replace".
func (m *methodCall) queue(name string, kind jobKind) ([]any, *dbus.Error) {
	u := m.client.bus.host.units[name]
	if u == nil {
		return nil, noSuchUnit(name)
	}
	if mode := m.str(1); mode != "replace" {
		return nil, dbusError("org.freedesktop.DBus.Error.InvalidArgs", "Job mode %q is not known here.", mode)
	}
	id, err := u.ask(request{job: kind})
	if err != nil {
		return nil, dbusError("org.freedesktop.DBus.Error.Failed", "%v", err)
	}
	return []any{jobPath(id)}, nil
}

func (m *methodCall) ask(name string, r request) *dbus.Error {
	u := m.client.bus.host.units[name]
	if u == nil {
		return noSuchUnit(name)
	}
	if _, err := u.ask(r); err != nil {
		return dbusError("org.freedesktop.DBus.Error.Failed", "%v", err)
	}
	return nil
}

func (m *methodCall) reload() *dbus.Error {
	b := m.client.bus
	b.emit(signal{managerPath, managerIface, "Reloading", []any{true}})
	err := b.host.Reload()
	b.emit(signal{managerPath, managerIface, "Reloading", []any{false}})
	if err != nil {
		return dbusError("org.freedesktop.DBus.Error.Failed", "%v", err)
	}
	return nil
}

// listed is a row of ListUnits.
type listed struct {
	Name, Description, LoadState, ActiveState, SubState, Followed string
	Path                                                          dbus.ObjectPath
	JobID                                                         uint32
	JobType                                                       string
	JobPath                                                       dbus.ObjectPath
}

func (h *Host) list(names []string) []listed {
	rows := []listed{}
	for _, name := range names {
		s := h.UnitState(name)
		row := listed{Name: name, Description: name, LoadState: s.LoadState, ActiveState: s.ActiveState,
			SubState: s.SubState, Path: unitPath(name), JobID: s.JobID, JobPath: "/"}
		if s.JobID != 0 {
			row.JobPath = jobPath(s.JobID)
		}
		rows = append(rows, row)
	}
	return rows
}

// runProperties is org.freedesktop.DBus.Properties on the manager and on units.
func (m *methodCall) runProperties() ([]any, *dbus.Error) {
	var all map[string]map[string]dbus.Variant
	switch name, isUnit := unitName(m.path); {
	case m.path == managerPath:
		all = map[string]map[string]dbus.Variant{managerIface: {"Version": dbus.MakeVariant("fakesystemd")}}
	case isUnit:
		all = m.client.bus.host.properties(name)
	default:
		return nil, dbusError("org.freedesktop.DBus.Error.UnknownObject", "Unknown object %s.", m.path)
	}
	want := map[string]dbus.Variant{}
	for iface, props := range all {
		if m.str(0) == iface || m.str(0) == "" {
			for k, v := range props {
				want[k] = v
			}
		}
	}
	switch m.member {
	case "GetAll":
		return []any{want}, nil
	case "Get":
		if v, ok := want[m.str(1)]; ok {
			return []any{v}, nil
		}
		return nil, dbusError("org.freedesktop.DBus.Error.UnknownProperty", "Unknown property %s.", m.str(1))
	}
	return nil, m.unknown()
}

// unitName undoes unitPath.
func unitName(p dbus.ObjectPath) (string, bool) {
	if !strings.HasPrefix(string(p), unitPrefix) {
		return "", false
	}
	escaped := path.Base(string(p))
	var name strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] == '_' && i+2 < len(escaped) {
			if b, err := hex.DecodeString(escaped[i+1 : i+3]); err == nil {
				name.Write(b)
				i += 2
				continue
			}
		}
		name.WriteByte(escaped[i])
	}
	return name.String(), true
}

// jobRef is a unit's Job property: (0, "/") for none.
type jobRef struct {
	ID   uint32
	Path dbus.ObjectPath
}

// properties returns what the bus shows of a unit, by interface.
func (h *Host) properties(name string) map[string]map[string]dbus.Variant {
	st := h.UnitState(name)
	u := h.units[name]
	if u == nil {
		return unitProperties(Unit{Name: name}, settings{}, st)
	}
	u.mu.Lock()
	set := u.set
	u.mu.Unlock()
	return unitProperties(u.spec, set, st)
}

func unitProperties(spec Unit, set settings, st units.UnitState) map[string]map[string]dbus.Variant {
	v := dbus.MakeVariant
	job := jobRef{Path: "/"}
	if st.JobID != 0 {
		job = jobRef{st.JobID, jobPath(st.JobID)}
	}
	invocation, err := hex.DecodeString(st.InvocationID)
	if err != nil || invocation == nil {
		invocation = []byte{}
	}
	var changed uint64
	if !st.StateChange.IsZero() {
		changed = uint64(st.StateChange.UnixMicro())
	}
	kind, restart := "simple", "no"
	if spec.NotifyReady {
		kind = "notify"
	}
	if spec.Restart {
		restart = "always"
	}
	return map[string]map[string]dbus.Variant{
		unitIface: {
			"Id": v(st.Name), "Names": v([]string{st.Name}), "Description": v(st.Name),
			"LoadState": v(st.LoadState), "ActiveState": v(st.ActiveState), "SubState": v(st.SubState),
			"StateChangeTimestamp": v(changed), "InvocationID": v(invocation),
			"ConditionResult": v(st.ConditionResult), "Job": v(job),
			"DropInPaths": v(append([]string{}, set.files...)),
		},
		serviceIface: {
			"Type": v(kind), "Restart": v(restart), "Result": v(st.Result), "StatusText": v(st.StatusText),
			"MainPID": v(uint32(st.MainPID)), "NRestarts": v(uint32(st.NRestarts)),
			"ExecMainStatus": v(int32(st.ExecMainStatus)),
			"Environment":    v(append([]string{}, set.env...)),
			"ExecStart":      v(execStart(spec)),
			// EnvironmentFile= is not among the settings that drop-ins may have here.
			"EnvironmentFiles": v([]environmentFile{}),
		},
	}
}

// execCommand and environmentFile are systemd's a(sasbttttuii) and a(sb).
type execCommand struct {
	Path                                 string
	Argv                                 []string
	IgnoreFailure                        bool
	Start, StartMono, ExitTime, ExitMono uint64
	PID                                  uint32
	Code, Status                         int32
}

type environmentFile struct {
	Path   string
	Ignore bool
}

// execStart is the command without its times and end, which the other properties tell.
func execStart(spec Unit) []execCommand {
	if len(spec.ExecStart) == 0 {
		return []execCommand{}
	}
	return []execCommand{{Path: spec.ExecStart[0], Argv: append([]string{}, spec.ExecStart...)}}
}

// propertiesChanged tells of a unit's new state. Like systemd it sends one signal
// for each interface.
func (b *bus) propertiesChanged(u *unit, st units.UnitState) {
	u.mu.Lock()
	set := u.set
	u.mu.Unlock()
	props := unitProperties(u.spec, set, st)
	for _, iface := range []string{serviceIface, unitIface} {
		b.emit(signal{unitPath(st.Name), propsIface, "PropertiesChanged", []any{iface, props[iface], []string{}}})
	}
}

func (b *bus) jobRemoved(id uint32, unit, result string) {
	b.emit(signal{managerPath, managerIface, "JobRemoved", []any{id, jobPath(id), unit, result}})
}
