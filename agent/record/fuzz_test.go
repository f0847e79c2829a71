package record

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/policy"
)

// FuzzDecode: whatever is in the file, there is a record or an error, never both, and
// what was accepted is on disk as it was after it was saved again.
func FuzzDecode(f *testing.F) {
	good, err := encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte(`{"version":1,"instance":"i-0a"}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err != nil {
			if d := cmp.Diff(policy.Record{}, r); d != "" {
				t.Fatalf("an error (%v) and a record:\n%s", err, d)
			}
			return
		}
		out, err := encode(r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := decode(out)
		if err != nil {
			t.Fatalf("own output: %v\n%s", err, out)
		}
		if d := cmp.Diff(r, again); d != "" {
			t.Fatalf("(-first +second):\n%s", d)
		}
	})
}
