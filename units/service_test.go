package units_test

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/units"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

// What a unit starts is read with its drop-ins, as systemd has them loaded.
func TestService(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := boot(t, "ready", func(u *fakesystemd.Unit) { u.ExecStart = []string{self, "--some", "argument"} })
	d := units.DropIn{Unit: etcd, Name: "20-image.conf", Content: []byte("[Service]\nEnvironment=A=1 ETCD_IMAGE_TAG=v3.6.16\n")}
	if _, err := m.Dirs().WriteDropIn(d); err != nil {
		t.Fatal(err)
	}
	if err := m.conn.Reload(patience(t)); err != nil {
		t.Fatal(err)
	}
	got, err := m.conn.Service(patience(t), etcd)
	if err != nil {
		t.Fatal(err)
	}
	want := units.Service{Path: self, Args: []string{"--some", "argument"}, Environment: []string{"A=1", "ETCD_IMAGE_TAG=v3.6.16"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := m.conn.Service(patience(t), "stranger.service"); !errors.Is(err, units.ErrNoUnit) {
		t.Errorf("a unit that is not there: %v", err)
	}
}
