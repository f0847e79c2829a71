package lifecycle_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
	"github.com/quorumd/quorumd/lifecycle/fakeaws"
)

func TestInstances(t *testing.T) {
	r := newRig(t, bare(3))
	ids := r.ids()
	r.ok(r.cloud.Suspend(group, "Launch")) // no replacements in this test
	r.ok(r.cloud.TerminateInstance(string(ids[2])))
	running := map[policy.InstanceID]policy.Instance{
		ids[0]: {State: policy.InstanceRunning, Address: "10.0.0.10"},
		ids[1]: {State: policy.InstanceRunning, Address: "10.0.0.11"},
		ids[2]: {State: policy.InstanceTerminated},
	}
	check := func(name string, ask []policy.InstanceID, want map[policy.InstanceID]policy.Instance, calls ...string) {
		t.Helper()
		r.calls()
		got, err := r.fleet.Instances(r.ctx, ask)
		r.ok(err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(calls, r.calls()); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", name, diff)
		}
	}
	check("all known", ids, running, "DescribeInstances")
	check("twice the same, and names of no instance", []policy.InstanceID{ids[1], ids[1], "infra0", ""},
		map[policy.InstanceID]policy.Instance{ids[1]: running[ids[1]]}, "DescribeInstances")
	check("none", nil, map[policy.InstanceID]policy.Instance{}, "DescribeInstances")

	gone := policy.Instance{State: policy.InstanceNotFound}
	running["i-00000000000000001"], running["i-00000002"] = gone, gone
	check("unknown among known", append(ids[:3:3], "i-00000002", "i-00000000000000001"), running,
		"DescribeInstances InvalidInstanceID.NotFound", "DescribeInstances")
	check("only unknown", []policy.InstanceID{"i-00000002"}, map[policy.InstanceID]policy.Instance{"i-00000002": gone},
		"DescribeInstances InvalidInstanceID.NotFound", "DescribeInstances")

	r.clock.Advance(fakeaws.Visible + time.Minute) // EC2 forgets
	running[ids[2]] = gone
	delete(running, "i-00000002")
	delete(running, "i-00000000000000001")
	check("forgotten", ids, running, "DescribeInstances InvalidInstanceID.NotFound", "DescribeInstances")
}

// "Not found" without a successful answer beside it proves nothing.
func TestNotFoundNeedsSuccess(t *testing.T) {
	r := newRig(t, bare(1))
	ask := []policy.InstanceID{"i-00000002"}
	_, err := r.fleet.Instances(r.ctx, ask) // fetches the credentials
	r.ok(err)

	// Another region or account: EC2 does not know the instance that asks either.
	_, stranger := r.adapter(asStranger)
	if got, err := stranger.Instances(r.ctx, ask); err == nil {
		t.Errorf("EC2 that does not know the asking instance: got %v", got)
	}
	if got, err := stranger.Instances(r.ctx, r.ids()); err == nil {
		t.Errorf("EC2 that does not know the asking instance: got %v", got)
	}
}

func TestNotFoundThenOutage(t *testing.T) {
	n := 0
	f := at(t, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 1 {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(notFoundXML("The instance ID 'i-00000002' does not exist")))
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if got, err := f.Instances(t.Context(), []policy.InstanceID{"i-00000002"}); err == nil || n != 2 {
		t.Errorf("got %v after %d calls, want an error after 2", got, n)
	}
}

// EC2 answers that something is unknown, but not in words that name it.
func TestNotFoundOfNobody(t *testing.T) {
	f := at(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(notFoundXML("The instance ID 'i-99999999' does not exist")))
	})
	if got, err := f.Instances(t.Context(), []policy.InstanceID{"i-00000002"}); err == nil {
		t.Errorf("got %v", got)
	}
}

func notFoundXML(message string) string {
	return `<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>` + message +
		`</Message></Error></Errors><RequestID>r</RequestID></Response>`
}
