package record

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorumd/quorumd/agent/policy"
)

func TestMayStart(t *testing.T) {
	here := Machine{ID: "11", Product: "ec2-1", AssetTag: "i-0a"}
	elsewhere := func(change func(*Machine)) Machine { m := here; change(&m); return m }
	data := policy.Data{Member: 0xa, Cluster: 0xc}
	ran := policy.Record{Instance: "i-0a", Member: 0xa, Cluster: 0xc, Ran: true}
	added := policy.Record{Instance: "i-0a", Member: 0xa, Cluster: 0xc}
	const now, before = "boot-2", "boot-1"
	for _, tt := range []struct {
		name    string
		record  policy.Record
		machine Machine
		boot    string
		data    policy.Data
		want    string // "": it may
	}{
		{"the next boot", ran, here, before, data, ""},
		{"the same boot", ran, here, now, data, ""},
		{"before its first run was noted", added, here, before, data, ""},
		{"first start", added, here, now, policy.Data{Empty: true}, ""},
		{"a first start that was cut short by a reboot", added, here, before, policy.Data{Empty: true}, "no agent decided in this boot"},
		{"the volume was wiped", ran, here, before, policy.Data{Empty: true}, "the data of member a is gone"},
		{"the volume was wiped while the machine ran", ran, here, now, policy.Data{Empty: true}, "forgot its vote"},
		{"an image of the disk", ran, elsewhere(func(m *Machine) { m.AssetTag, m.Product = "i-0b", "ec2-2" }), before, data, "this machine is i-0a (machine id 11), the disk was allowed on i-0b"},
		{"a copy of the directories", ran, elsewhere(func(m *Machine) { m.ID = "22" }), before, data, "a copy must not start"},
		{"an image where hardware has no asset tag", ran, elsewhere(func(m *Machine) { m.Product = "ec2-2" }), before, data, "a copy must not start"},
		{"another member's data", ran, here, before, policy.Data{Member: 0xb, Cluster: 0xc}, "is of member b"},
		{"another cluster's data", ran, here, before, policy.Data{Member: 0xa, Cluster: 0xd}, "of cluster d"},
		{"data without a record", policy.Record{}, here, before, data, "this node's is member 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := Store{Dir: t.TempDir()}
			if err := s.Save(tt.record); err != nil {
				t.Fatal(err)
			}
			for range 2 { // again changes nothing
				if err := s.AllowEtcd(tt.machine, tt.boot); err != nil {
					t.Fatal(err)
				}
			}
			err := s.MayStart(here, now, tt.data)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			for range 2 {
				if err := s.ForbidEtcd(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.MayStart(here, now, tt.data); err == nil || !strings.Contains(err.Error(), "no agent has allowed it") {
				t.Errorf("forbidden, and: %v", err)
			}
		})
	}
}

// What cannot be read allows nothing.
func TestMayStartUnreadable(t *testing.T) {
	here, data := Machine{ID: "11"}, policy.Data{Member: 0xa, Cluster: 0xc}
	s := Store{Dir: t.TempDir()}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AllowEtcd(here, "boot"); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(s.Dir, markerFile))
	if err != nil {
		t.Fatal(err)
	}
	write(recordFile, `{"version": 1, "cut`)
	if err := s.MayStart(here, "boot", data); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged record: %v", err)
	}
	if err := s.Save(policy.Record{Member: 0xa, Cluster: 0xc, Ran: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.MayStart(here, "boot", data); err != nil {
		t.Fatalf("all is well, and: %v", err)
	}
	for _, bad := range []string{"", "{}", string(good[:len(good)/2]), "quorumd allowed etcd to start on this node.", `{"machine": {"machine_id": ""}, "boot": ""}`} {
		write(markerFile, bad)
		if err := s.MayStart(Machine{}, "", data); err == nil || !strings.Contains(err.Error(), "permit") {
			t.Errorf("permit %q: %v", bad, err)
		}
	}
}
