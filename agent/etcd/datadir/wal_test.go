package datadir

import (
	"os"
	"testing"
)

// Whatever the input, parsing ends without a panic, and gives either both ids or
// an error; what it reads is bounded by the input.
func FuzzParseHead(f *testing.F) {
	good, err := os.ReadFile("testdata/segment.wal")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for n := range good {
		f.Add(good[:n])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		allocs := testing.AllocsPerRun(1, func() {
			member, cluster, err := parseHead(b)
			if (err == nil) != (member != 0 && cluster != 0) {
				t.Errorf("%s, %s, %v", member, cluster, err)
			}
		})
		if allocs > 20 {
			t.Errorf("%.0f allocations", allocs)
		}
	})
}
