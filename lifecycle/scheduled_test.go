package lifecycle_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/lifecycle"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

func TestScheduledEvents(t *testing.T) {
	r := newRig(t, bare(1))
	none, err := r.meta.Scheduled(r.ctx)
	r.ok(err)
	if len(none) != 0 {
		t.Errorf("from the start: %v", none)
	}
	at := epoch.Add(72 * time.Hour)
	r.ok(r.cloud.Schedule(string(r.self), fakeaws.ScheduledEvent{ID: "instance-event-0d59937288b749b32", Code: "system-reboot", NotBefore: at, NotAfter: at.Add(2 * time.Hour)}))
	r.ok(r.cloud.Schedule(string(r.self), fakeaws.ScheduledEvent{ID: "instance-event-1", Code: "instance-retirement", NotBefore: at}))
	got, err := r.meta.Scheduled(r.ctx)
	r.ok(err)
	want := []lifecycle.ScheduledEvent{
		{ID: "instance-event-0d59937288b749b32", Code: lifecycle.SystemReboot, NotBefore: at, NotAfter: at.Add(2 * time.Hour), Description: "scheduled by the test"},
		{ID: "instance-event-1", Code: "instance-retirement", NotBefore: at, Description: "scheduled by the test"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if !got[0].Reboot() || got[1].Reboot() {
		t.Error("a reboot is not told from a retirement")
	}

	r.ok(r.cloud.EndScheduled(string(r.self), "instance-event-0d59937288b749b32", "completed"))
	got, err = r.meta.Scheduled(r.ctx)
	r.ok(err)
	if len(got) != 1 || got[0].ID != "instance-event-1" {
		t.Errorf("after its end: %v", got)
	}
	r.ok(r.cloud.HideMetadata(string(r.self), "events/maintenance/scheduled"))
	got, err = r.meta.Scheduled(r.ctx)
	r.ok(err)
	if len(got) != 0 {
		t.Errorf("without the path: %v", got)
	}
}

func TestScheduledMalformed(t *testing.T) {
	r := newRig(t, bare(1))
	for _, body := range []string{"", "{}", "<html>", `[{"Code":"system-reboot","EventId":"e","State":"active"}]`,
		`[{"Code":"system-reboot","EventId":"e","State":"active","NotBefore":"tomorrow"}]`,
		`[{"Code":"system-reboot","EventId":"e","State":"active","NotBefore":"21 Jan 2019 09:00:43 GMT","NotAfter":"later"}]`,
		`[{"Code":"","EventId":"e","State":"active","NotBefore":"21 Jan 2019 09:00:43 GMT"}]`} {
		r.ok(r.cloud.SetMetadata(string(r.self), "events/maintenance/scheduled", body))
		if got, err := r.meta.Scheduled(r.ctx); err == nil {
			t.Errorf("%s gives %v", body, got)
		}
	}
}
