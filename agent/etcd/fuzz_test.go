package etcd

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/quorumd/quorumd/agent/policy"
)

// FuzzLockValue: whatever somebody wrote into a key of the lock, a look finds
// somebody in a phase that we know, a number of slots within bounds, or an error
// that names the key; and a hold can be written again, which its holder does to
// begin. Seeds: testdata/fuzz.
func FuzzLockValue(f *testing.F) {
	f.Add("holders/0", []byte(encodeHold(policy.Hold{Instance: "i-0a", Reason: policy.HoldLeaving, Phase: policy.Granted}, 7)))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		v, k := newView(1, 9), keys("/quorumd/x/lock/web/")
		key := string(k) + name
		err := v.add(k, "web", &mvccpb.KeyValue{Key: []byte(key), Value: data, CreateRevision: 5, ModRevision: 8, Lease: 3})
		if err != nil {
			if m, ok := err.(*MalformedKeyError); !ok || m.Key != key {
				t.Fatalf("%v", err)
			}
			return
		}
		if v.slots < 1 || v.slots > MaxSlots {
			t.Fatalf("%d slots", v.slots)
		}
		for _, l := range lines {
			for _, p := range v.line(l).places {
				if p.instance == "" || key != k.place(l, p.instance) {
					t.Fatalf("%s is a place of %q", key, p.instance)
				}
			}
			if lv := v.line(l); lv.tail != 0 && lv.last.Instance == "" {
				t.Fatalf("%s names nobody", key)
			}
		}
		for _, h := range v.holds {
			if h.Instance == "" || h.Slot < 0 || h.Phase != policy.Granted && h.Phase != policy.Acting {
				t.Fatalf("%s is a hold of %q, %q", key, h.Instance, h.Phase)
			}
			first, from, _ := decodeHold(data)
			again, fromAgain, err := decodeHold([]byte(encodeHold(first, from)))
			if err != nil {
				t.Fatalf("own output: %v\n%s", err, encodeHold(first, from))
			}
			if d := cmp.Diff(first, again); d != "" || from != fromAgain {
				t.Fatalf("from %d, then %d (-first +second):\n%s", from, fromAgain, d)
			}
		}
	})
}

// FuzzMetrics: whatever listens where a member's metrics are expected, what is read are
// words that policy knows and numbers that are there, or nothing at all.
func FuzzMetrics(f *testing.F) {
	f.Add([]byte("# HELP x y\netcd_server_has_leader 1\netcd_server_is_leader 0\netcd_server_is_learner 0\n" +
		"etcd_server_proposals_committed_total 1.5e+06\netcd_server_proposals_applied_total 12\ngrpc{code=\"x y\"} 3\n"))
	f.Add([]byte("etcd_server_has_leader NaN\netcd_server_proposals_applied_total -1\netcd_server_proposals_committed_total 1e99"))
	f.Add([]byte("etcd_server_has_leader"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p policy.Pulse
		if err := readMetrics(&p, bytes.NewReader(data)); err != nil {
			if p != (policy.Pulse{}) {
				t.Fatalf("of %v there is %+v", err, p)
			}
			return
		}
		for _, n := range []uint64{p.Committed, p.Applied} {
			if n >= 1<<63 {
				t.Fatalf("%+v", p)
			}
		}
		if told := bytes.Contains(data, []byte("etcd_server_has_leader ")); (p.Leader != policy.LeaderUnknown) && !told || p.Leads && !bytes.Contains(data, []byte("etcd_server_is_leader ")) {
			t.Fatalf("%+v of %q", p, data)
		}
	})
}
