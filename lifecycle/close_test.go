package lifecycle_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/quorumd/quorumd/lifecycle"
)

// Close ends the connections that are kept open, and with them the goroutines behind them.
func TestCloseLeavesNoConnection(t *testing.T) {
	states := make(chan http.ConnState, 100)
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew || state == http.StateClosed {
			states <- state
		}
	}
	s.Start()
	defer s.Close()
	setEnv(t, s.URL, s.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	meta, err := lifecycle.NewMetadata(t.Context(), lifecycle.MetadataConfig{})
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := lifecycle.NewFleet(t.Context(), lifecycle.FleetConfig{Instance: me, Region: "eu-central-1", Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := meta.Target(t.Context()); err == nil {
		t.Error("a target from nowhere")
	}
	if _, err := fleet.Group(t.Context()); err == nil {
		t.Error("a group from nowhere")
	}
	meta.Close()
	fleet.Close()
	open := 0
	for opened := 0; opened < 2 || open > 0; { // one of each; the test's time limit bounds it
		select {
		case state := <-states:
			if state == http.StateClosed {
				open--
			} else {
				open++
				opened++
			}
		case <-t.Context().Done():
			t.Fatalf("%d connections still open", open)
		}
	}
}

// BenchmarkTarget is what the observer costs every second.
func BenchmarkTarget(b *testing.B) {
	imds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		_, _ = w.Write([]byte("InService"))
	}))
	defer imds.Close()
	b.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.URL)
	m, err := lifecycle.NewMetadata(b.Context(), lifecycle.MetadataConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Target(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
