package cloudconfig_test

import (
	"strings"
	"testing"

	cloudconfig "github.com/quorumd/quorumd/cloud-config"
)

// tlsConfig names every file, below one directory for what etcd reads.
func tlsConfig(dir string) string {
	return strings.ReplaceAll(`etcd:
  username: quorumd
  password_file: /etc/quorumd/password
  ca_file: DIR/ca.crt
  cert_file: /etc/quorumd/agent.crt
  key_file: /etc/quorumd/agent.key
  server_cert_file: DIR/server.crt
  server_key_file: DIR/server.key
  peer_ca_file: DIR/peer-ca.crt
  peer_cert_file: DIR/peer.crt
  peer_key_file: DIR/peer.key
`, "DIR", dir)
}

// Where etcd runs in a container, its files must be where the container has them.
func TestCertificateFiles(t *testing.T) {
	present := cloudconfig.Download{Present: true}
	for _, tt := range []struct {
		format cloudconfig.Format
		yaml   string
		keys   []string // that are refused
	}{
		{cloudconfig.FCOS, tlsConfig("/etc/etcd"), nil},
		{cloudconfig.FCOS, tlsConfig("/etc/etcd/tls"), nil},
		{cloudconfig.FCOS, tlsConfig("/etc/pki"), []string{"ca_file", "server_cert_file", "server_key_file", "peer_ca_file", "peer_cert_file", "peer_key_file"}},
		{cloudconfig.FCOS, "etcd: {ca_file: /etc/pki/ca.crt}", nil}, // the agent's alone
		{cloudconfig.FCOS, "etcd: {ca_file: /etc/etcd/ca.crt, cert_file: /etc/pki/c.crt, key_file: /etc/pki/c.key}", []string{"cert_file", "key_file"}},
		{cloudconfig.Ignition, tlsConfig("/etc/ssl/certs"), nil},
		{cloudconfig.CloudConfig, tlsConfig("/run/etcd"), nil},
		{cloudconfig.Butane, tlsConfig("/etc/etcd"), []string{"ca_file", "server_cert_file", "server_key_file", "peer_ca_file", "peer_cert_file", "peer_key_file"}},
		{cloudconfig.Ignition, tlsConfig("/etc/ssl/certs/etcd"), []string{"ca_file", "server_cert_file", "server_key_file", "peer_ca_file", "peer_cert_file", "peer_key_file"}},
		{cloudconfig.CloudInit, tlsConfig("/etc/pki"), nil},
		{cloudconfig.CloudInit, tlsConfig("/root/tls"), []string{"ca_file", "server_cert_file", "server_key_file", "peer_ca_file", "peer_cert_file", "peer_key_file"}},
		{cloudconfig.CloudInit, "etcd: {username: u, password_file: /tmp/p}", []string{"password_file"}},
	} {
		o := cloudconfig.Options{Binary: present, Config: []byte(tt.yaml)}
		if tt.format == cloudconfig.CloudInit {
			o.Etcd = present
		}
		out, err := cloudconfig.Render(tt.format, o)
		if tt.keys == nil {
			if err != nil || len(out) == 0 {
				t.Errorf("%s refuses\n%s%v", tt.format, tt.yaml, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s takes\n%s", tt.format, tt.yaml)
			continue
		}
		if n := strings.Count(err.Error(), "allowed:"); n != len(tt.keys) {
			t.Errorf("%s: %d errors, want %d: %v", tt.format, n, len(tt.keys), err)
		}
		for _, key := range tt.keys {
			if !strings.Contains(err.Error(), "etcd."+key+": ") {
				t.Errorf("%s: %s is not refused: %v", tt.format, key, err)
			}
		}
	}
}

// What the configuration says of certificates is on the machine as it was written.
func TestCertificatePathsAreCarried(t *testing.T) {
	text := tlsConfig("/etc/etcd")
	o := cloudconfig.Options{Binary: cloudconfig.Download{Present: true}, Config: []byte(text)}
	all := fromIgnition(t, render(t, cloudconfig.FCOS, o))
	if got := all["/etc/quorumd/quorumd.yaml"]; !strings.Contains(got, text) {
		t.Errorf("quorumd.yaml is %s", got)
	}
	if got := all["/etc/containers/systemd/etcd-member.container"]; !strings.Contains(got, "Volume=/etc/etcd:/etc/etcd:ro") {
		t.Errorf("etcd's container does not see /etc/etcd: %s", got)
	}
}
