package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/config"
	"github.com/quorumd/quorumd/agent/policy"
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
