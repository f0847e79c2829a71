package cloudconfig

import (
	"path"
	"slices"
	"strings"

	"github.com/quorumd/quorumd/agent/config"
)

// checkFiles refuses certificate and password files that the agent or etcd would not
// see where the configuration says. User-data does not bring them: whoever can read
// it would have the keys.
func checkFiles(c config.Config, f Format, refuse func(key, problem string, args ...any)) {
	for _, file := range files(c) {
		switch {
		case file.path == "":
		case path.Clean(file.path) != file.path || hidden(file.path):
			refuse(file.key, "%q is hidden from the units (ProtectHome=, PrivateTmp=), allowed: such as /etc/etcd/NAME", file.path)
		case f.system() == fedoraCoreOS && file.etcds && !strings.HasPrefix(file.path, "/etc/etcd/"):
			refuse(file.key, "%q is not in etcd's container, allowed: a file below /etc/etcd", file.path)
		case f.system() == flatcar && file.etcds && path.Dir(file.path) != "/etc/ssl/certs" && !strings.HasPrefix(file.path, "/run/"):
			refuse(file.key, "%q is not in etcd's container, allowed: a file in /etc/ssl/certs or below /run, "+
				"which are what Flatcar's etcd-wrapper shows etcd under their own names", file.path)
		}
	}
}

// hidden reports whether a unit of ours sees another directory in its place.
func hidden(file string) bool {
	return slices.ContainsFunc([]string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"},
		func(dir string) bool { return strings.HasPrefix(file, dir) })
}

// secretFile is one file that a configuration names; etcds: etcd of this machine reads it, too.
type secretFile struct {
	key, path string
	etcds     bool
}

func files(c config.Config) []secretFile {
	e := c.Etcd
	mutual := e.CertFile != ""
	out := []secretFile{
		{"etcd.password_file", e.PasswordFile, false},
		{"etcd.ca_file", e.CAFile, mutual},
		{"etcd.cert_file", e.CertFile, e.ServerCertFile == ""},
		{"etcd.key_file", e.KeyFile, e.ServerCertFile == ""},
		{"etcd.server_cert_file", e.ServerCertFile, true},
		{"etcd.server_key_file", e.ServerKeyFile, true},
		{"etcd.peer_ca_file", e.PeerCAFile, true},
		{"etcd.peer_cert_file", e.PeerCertFile, true},
		{"etcd.peer_key_file", e.PeerKeyFile, true},
	}
	for i := range out {
		out[i].etcds = out[i].etcds && !c.Worker()
	}
	return out
}
