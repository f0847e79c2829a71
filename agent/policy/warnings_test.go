package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What fails on this node's own disk is said from the third time on, by name and cause.
func TestActionFailsWarning(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	v := View{Now: now, Started: now.Add(-time.Hour), Self: Self{Instance: "i-a"}}
	for n, want := range []string{2: "", 3: "write-record has failed 3 times in a row on this node: no space left on device"} {
		v.Receipts = map[string]Receipt{
			WriteRecord{}.Key(): {Ended: now, Failures: n, LastErr: "no space left on device"},
			AddLearner{}.Key():  {Ended: now, Failures: 9, LastErr: "the others' doing"},
		}
		_, d := Next(DefaultConfig(), State{}, v)
		got := ""
		for _, w := range d.Warnings {
			if w.Name == WarnActionFails {
				got += w.Detail
			}
		}
		if got != want {
			t.Errorf("after %d failures: %q, want %q", n, got, want)
		}
	}
}

func TestCertificateWarnings(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	v := View{Now: now, Started: now.Add(-time.Hour), Self: Self{Instance: "i-a"}}
	v.Certificates = Observed([]Certificate{
		{File: "/good", NotAfter: now.Add(8 * 24 * time.Hour)},
		{File: "/soon", NotAfter: now.Add(6 * 24 * time.Hour)},
		{File: "/over", NotAfter: now.Add(-time.Hour)},
		{File: "/never", Problem: "not there"},
		{File: "/half", NotAfter: now.Add(-time.Hour), Problem: "no end"},
	}, now)
	_, d := Next(DefaultConfig(), State{}, v)
	var got []Warning
	for _, w := range d.Warnings {
		if w.Name == WarnCertBroken || w.Name == WarnCertExpires {
			got = append(got, w)
		}
	}
	want := []Warning{
		{WarnCertExpires, "/soon expires on 2026-11-30 12:00:00; replace it, it is read again by itself"},
		{WarnCertExpires, "/over expired on 2026-11-24 11:00:00; replace it, it is read again by itself"},
		{WarnCertBroken, "/never cannot be used: not there"},
		{WarnCertBroken, "/half has changed and cannot be used, its content of before stays in use: no end"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
