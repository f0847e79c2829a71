package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// combinations checks what only several keys together can get wrong.
func (l *loader) combinations(c Config) {
	e := c.Etcd
	l.together("etcd.username", e.Username, "etcd.password_file", e.PasswordFile)
	l.together("etcd.cert_file", e.CertFile, "etcd.key_file", e.KeyFile)
	if e.CertFile != "" && e.CAFile == "" {
		l.clash("is set without etcd.ca_file, allowed: ca_file alone, or ca_file, cert_file and key_file",
			"etcd.cert_file", "etcd.ca_file")
	}
	l.together("etcd.server_cert_file", e.ServerCertFile, "etcd.server_key_file", e.ServerKeyFile)
	if e.ServerCertFile != "" && e.CAFile == "" {
		l.clash("is set without etcd.ca_file, so clients would not speak TLS, allowed: both or neither",
			"etcd.server_cert_file", "etcd.ca_file")
	}
	l.peerFiles(e)
	for _, u := range e.Endpoints {
		if got, _, _ := strings.Cut(u, "://"); got != e.ClientScheme() {
			l.clash(fmt.Sprintf("%s is %s, allowed: %s, because etcd.ca_file is %s", u, got, e.ClientScheme(), setOrNot(e.CAFile)),
				"etcd.endpoints", "etcd.ca_file")
		}
	}
	if cmd := e.VersionCommand; len(cmd) > 0 && !filepath.IsAbs(cmd[0]) {
		l.clash(fmt.Sprintf("%q is not absolute, allowed: a program by its whole path, then its arguments", cmd[0]), "etcd.version_command")
	}
	l.ports(c)
	l.roles(c)
	l.reboots(c.Reboot)
	l.apart("state_dir", c.StateDir, "etcd.data_dir", e.DataDir)
	l.apart("systemd.runtime_dir", c.Systemd.RuntimeDir, "systemd.system_dir", c.Systemd.SystemDir)
}

// peerFiles checks that peers and agents have all that mutual TLS needs, or nothing.
func (l *loader) peerFiles(e Etcd) {
	keys := []string{"etcd.peer_ca_file", "etcd.peer_cert_file", "etcd.peer_key_file"}
	var set, missing []string
	for i, file := range []string{e.PeerCAFile, e.PeerCertFile, e.PeerKeyFile} {
		if file == "" {
			missing = append(missing, keys[i])
		} else {
			set = append(set, keys[i])
		}
	}
	if len(set) != 0 && len(missing) != 0 {
		l.clash("is set without "+strings.Join(missing, " and ")+", allowed: all three or none", set[0], append(set[1:], missing...)...)
	}
}

// ports checks that no two listeners of the node share a port. An address is not
// taken into account: etcd listens on all.
func (l *loader) ports(c Config) {
	uses := []struct {
		key  string
		port int
	}{
		{"etcd.client_port", c.Etcd.ClientPort},
		{"etcd.peer_port", c.Etcd.PeerPort},
		{"etcd.metrics_port", c.Etcd.MetricsPort},
		{"listen.peer", c.Listen.PeerPort()},
		{"listen.metrics", Listen{Peer: c.Listen.Metrics}.PeerPort()},
		{"listen.fleetlock", Listen{Peer: c.Listen.FleetLock}.PeerPort()},
	}
	for i, a := range uses {
		for _, b := range uses[:i] {
			if a.port == b.port && a.port != 0 {
				l.clash(fmt.Sprintf("port %d is also that of %s, allowed: a port of its own", a.port, b.key), a.key, b.key)
			}
		}
	}
}

// together checks that both keys are set, or neither.
func (l *loader) together(a, av, b, bv string) {
	if av != "" && bv == "" {
		l.clash("is set without "+b+", allowed: both or neither", a, b)
	}
	if bv != "" && av == "" {
		l.clash("is set without "+a+", allowed: both or neither", b, a)
	}
}

// apart checks that neither directory is the other or lies in it: what is moved
// aside with one must not take the other along.
func (l *loader) apart(a, av, b, bv string) {
	if inside(av, bv) || inside(bv, av) {
		l.clash(fmt.Sprintf("%s and %s (%s) lie in each other, allowed: separate directories", av, bv, b), a, b)
	}
}

func inside(dir, of string) bool {
	rel, err := filepath.Rel(of, dir)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func setOrNot(s string) string {
	if s == "" {
		return "not set"
	}
	return "set"
}

// clash reports a problem of key with others, where the first of them that was
// given was given. It stays silent when one of them was refused already: then
// what they hold is not what was meant.
func (l *loader) clash(problem, key string, others ...string) {
	at := l.from[key]
	if l.failed[key] {
		return
	}
	for _, o := range others {
		if l.failed[o] {
			return
		}
		if at == (Origin{}) {
			at = l.from[o]
		}
	}
	l.errs = append(l.errs, Error{Origin: at, Key: key, Problem: problem})
}
