package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/agent/record"
	"github.com/quorumd/quorumd/units"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

// What etcd is told of TLS, by what the configuration names.
func TestEtcdEnvironmentTLS(t *testing.T) {
	for _, tt := range []struct {
		name, yaml string
		want       map[string]string
	}{
		{"plain", "", map[string]string{
			"LISTEN_CLIENT_URLS": "http://10.0.0.7:2379,http://127.0.0.1:2379", "ADVERTISE_CLIENT_URLS": "http://10.0.0.7:2379",
			"LISTEN_PEER_URLS": "http://10.0.0.7:2380", "INITIAL_ADVERTISE_PEER_URLS": "http://10.0.0.7:2380",
			"LISTEN_METRICS_URLS": "http://10.0.0.7:2381",
		}},
		{"mutual everywhere", "etcd: {ca_file: /ca, cert_file: /c, key_file: /k, peer_ca_file: /pca, peer_cert_file: /pc, peer_key_file: /pk}", map[string]string{
			"LISTEN_CLIENT_URLS": "https://10.0.0.7:2379,https://127.0.0.1:2379", "ADVERTISE_CLIENT_URLS": "https://10.0.0.7:2379",
			"LISTEN_PEER_URLS": "https://10.0.0.7:2380", "INITIAL_ADVERTISE_PEER_URLS": "https://10.0.0.7:2380",
			"LISTEN_METRICS_URLS": "http://10.0.0.7:2381",
			"CERT_FILE":           "/c", "KEY_FILE": "/k", "TRUSTED_CA_FILE": "/ca", "CLIENT_CERT_AUTH": "true",
			"PEER_CERT_FILE": "/pc", "PEER_KEY_FILE": "/pk", "PEER_TRUSTED_CA_FILE": "/pca", "PEER_CLIENT_CERT_AUTH": "true",
		}},
		{"a server certificate of its own", "etcd: {ca_file: /ca, cert_file: /c, key_file: /k, server_cert_file: /sc, server_key_file: /sk}", map[string]string{
			"LISTEN_CLIENT_URLS": "https://10.0.0.7:2379,https://127.0.0.1:2379", "ADVERTISE_CLIENT_URLS": "https://10.0.0.7:2379",
			"LISTEN_PEER_URLS": "http://10.0.0.7:2380", "INITIAL_ADVERTISE_PEER_URLS": "http://10.0.0.7:2380",
			"LISTEN_METRICS_URLS": "http://10.0.0.7:2381",
			"CERT_FILE":           "/sc", "KEY_FILE": "/sk", "TRUSTED_CA_FILE": "/ca", "CLIENT_CERT_AUTH": "true",
		}},
		{"only servers show one", "etcd: {ca_file: /ca, server_cert_file: /sc, server_key_file: /sk}", map[string]string{
			"LISTEN_CLIENT_URLS": "https://10.0.0.7:2379,https://127.0.0.1:2379", "ADVERTISE_CLIENT_URLS": "https://10.0.0.7:2379",
			"LISTEN_PEER_URLS": "http://10.0.0.7:2380", "INITIAL_ADVERTISE_PEER_URLS": "http://10.0.0.7:2380",
			"LISTEN_METRICS_URLS": "http://10.0.0.7:2381",
			"CERT_FILE":           "/sc", "KEY_FILE": "/sk",
		}},
		{"only servers, as etcd's unit says", "etcd: {ca_file: /ca}", map[string]string{
			"LISTEN_CLIENT_URLS": "https://10.0.0.7:2379,https://127.0.0.1:2379", "ADVERTISE_CLIENT_URLS": "https://10.0.0.7:2379",
			"LISTEN_PEER_URLS": "http://10.0.0.7:2380", "INITIAL_ADVERTISE_PEER_URLS": "http://10.0.0.7:2380",
			"LISTEN_METRICS_URLS": "http://10.0.0.7:2381",
		}},
	} {
		c, _, err := config.Parse("q.yaml", []byte(tt.yaml), nil)
		if err != nil {
			t.Fatal(err)
		}
		u := &etcdUnit{cfg: c.Etcd, address: "10.0.0.7", self: policy.Self{Instance: "i-a",
			PeerURL: c.Etcd.PeerURL("10.0.0.7"), ClientURL: c.Etcd.ClientURL("10.0.0.7")}}
		got := map[string]string{}
		for _, v := range u.environment(policy.StartEtcd{}) {
			name := strings.TrimPrefix(v.Name, "ETCD_")
			if strings.HasSuffix(name, "_URLS") || strings.Contains(name, "CERT") || strings.HasSuffix(name, "_FILE") {
				got[name] = v.Value
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// A guard that says no to a start that the agent itself asked for is an error at once,
// not a wait for a process that never comes.
func TestStartSkippedByGuard(t *testing.T) {
	dir := t.TempDir()
	const unit = "etcd-member.service"
	host, err := fakesystemd.New(fakesystemd.HostConfig{Dir: dir, Units: []fakesystemd.Unit{{Name: unit, ExecStart: []string{"/bin/sleep", "1000"}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.PowerOff)
	if _, err := host.Dirs().WriteDropIn(units.DropIn{Unit: unit, Name: "10-quorumd-guard.conf", Content: []byte("[Service]\nExecCondition=/bin/false\n")}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", host.Address())
	conn, err := units.Dial(ctx, units.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	u := &etcdUnit{conn: conn, dirs: host.Dirs(), cfg: config.Default().Etcd, address: "10.0.0.7", store: record.Store{Dir: t.TempDir()},
		self:    policy.Self{Instance: "i-a", PeerURL: "http://10.0.0.7:2380", ClientURL: "http://10.0.0.7:2379"},
		machine: func() (record.Machine, string, error) { return record.Machine{ID: "1"}, "boot", nil }}
	for range 2 { // also where the unit was skipped before
		if err := u.Start(ctx, policy.StartEtcd{New: true}); err == nil || !strings.Contains(err.Error(), "the guard says no") {
			t.Errorf("the start gives %v", err)
		}
	}
	if _, err := host.Dirs().RemoveDropIn(units.DropIn{Unit: unit, Name: "10-quorumd-guard.conf"}); err != nil {
		t.Fatal(err)
	}
	if err := u.Start(ctx, policy.StartEtcd{New: true}); err != nil {
		t.Errorf("without the guard: %v", err)
	}
}
