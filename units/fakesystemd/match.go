package fakesystemd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// rule is a match rule: conditions on a message that all must hold.
type rule map[string]string

// parseRule reads "type='signal',interface='a.b'". Values without quotes are
// taken as well; a comma inside of quotes belongs to the value.
func parseRule(s string) (rule, error) {
	r := rule{}
	for rest := strings.TrimSpace(s); rest != ""; {
		key, after, ok := strings.Cut(rest, "=")
		if !ok {
			return nil, fmt.Errorf("no value in %q", rest)
		}
		var value string
		if quoted, isQuoted := strings.CutPrefix(after, "'"); isQuoted {
			if value, rest, ok = strings.Cut(quoted, "'"); !ok {
				return nil, fmt.Errorf("open quote in %q", s)
			}
			rest = strings.TrimPrefix(rest, ",")
		} else {
			value, rest, _ = strings.Cut(after, ",")
		}
		rest = strings.TrimSpace(rest)
		switch key = strings.TrimSpace(key); key {
		case "type", "sender", "interface", "member", "path", "path_namespace", "arg0":
			r[key] = value
		default:
			return nil, fmt.Errorf("unknown key %q", key)
		}
	}
	return r, nil
}

// matches tells whether a signal of systemd's fulfils the rule.
func (r rule) matches(s signal) bool { return r.matchesFrom(s, systemdName, systemdID) }

// matchesFrom does so for a signal of a sender with these names.
func (r rule) matchesFrom(s signal, names ...string) bool {
	for key, want := range r {
		var ok bool
		switch key {
		case "type":
			ok = want == "signal"
		case "sender":
			ok = slices.Contains(names, want)
		case "interface":
			ok = want == s.iface
		case "member":
			ok = want == s.member
		case "path":
			ok = dbus.ObjectPath(want) == s.path
		case "path_namespace":
			ok = want == "/" || string(s.path) == want || strings.HasPrefix(string(s.path), want+"/")
		case "arg0":
			arg, isString := "", false
			if len(s.body) > 0 {
				arg, isString = s.body[0].(string)
			}
			ok = isString && arg == want
		}
		if !ok {
			return false
		}
	}
	return true
}

func (r rule) equal(o rule) bool {
	if len(r) != len(o) {
		return false
	}
	for k, v := range r {
		if w, ok := o[k]; !ok || v != w {
			return false
		}
	}
	return true
}
