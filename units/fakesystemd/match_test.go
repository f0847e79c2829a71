package fakesystemd

import "testing"

func TestMatch(t *testing.T) {
	s := signal{unitPath("a.service"), propsIface, "PropertiesChanged", []any{unitIface}}
	for text, want := range map[string]bool{
		"":              true,
		"type='signal'": true,
		"type='signal',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'":   true,
		"type='signal', interface='org.freedesktop.DBus.Properties', member='PropertiesChanged'": true,
		"type=signal,member=PropertiesChanged":                                                   true,
		"type='method_call'":                                                                     false,
		"path='/org/freedesktop/systemd1/unit/a_2eservice'":                                      true,
		"path='/org/freedesktop/systemd1/unit/b_2eservice'":                                      false,
		"path_namespace='/org/freedesktop/systemd1/unit'":                                        true,
		"path_namespace='/org/freedesktop/systemd1/uni'":                                         false,
		"path_namespace='/'":                                                                     true,
		"sender='org.freedesktop.systemd1'":                                                      true,
		"sender='org.freedesktop.login1'":                                                        false,
		"arg0='org.freedesktop.systemd1.Unit',type='signal'":                                     true,
		"arg0='org.freedesktop.systemd1.Service'":                                                false,
		"interface='org.freedesktop.systemd1.Manager',type='signal'":                             false,
	} {
		r, err := parseRule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := r.matches(s); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"type", "type='signal", "colour='red'"} {
		if _, err := parseRule(text); err == nil {
			t.Errorf("no error for %q", text)
		}
	}
}

func TestUnitPaths(t *testing.T) {
	for _, name := range []string{"etcd-member.service", "a@1.service", "0.service", "a_b\\x2d.service"} {
		if got, ok := unitName(unitPath(name)); got != name || !ok {
			t.Errorf("%q became %q, %v", name, got, ok)
		}
	}
	if _, ok := unitName(managerPath); ok {
		t.Error("the manager is taken for a unit")
	}
}
