package certs

import (
	"bytes"
	"testing"
)

// FuzzRoots: whatever a CA file holds, there is a pool of all its certificates or an
// error; a bundle that is cut off in the middle of a certificate is an error.
func FuzzRoots(f *testing.F) {
	one, two := newCA(f).PEM, newCA(f).PEM
	bundle := bytes.Join([][]byte{[]byte("# authorities\n"), one, two}, nil)
	f.Add(bundle)
	f.Add(bundle[:len(bundle)-30])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		pool, last, err := parseRoots(data)
		if (err == nil) != (pool != nil) {
			t.Fatalf("pool %v, %v", pool, err)
		}
		if err != nil {
			return
		}
		if last.IsZero() {
			t.Fatal("a pool whose certificates never end")
		}
		cut := bytes.LastIndex(data, []byte("-----END CERTIFICATE-----"))
		if _, _, err := parseRoots(data[:cut]); err == nil {
			t.Fatal("the last certificate is cut off, and nobody said so")
		}
	})
}
