package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "binary")
	if err := os.WriteFile(file, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want int
	}{
		{[]string{file, "100"}, 0},
		{[]string{file, "99"}, 1},
		{[]string{file + "x", "100"}, 1},
		{[]string{file, "25MB"}, 2},
		{[]string{file}, 2},
	} {
		var out, errs bytes.Buffer
		if got := run(tt.args, &out, &errs); got != tt.want {
			t.Errorf("%v: exit code %d, want %d; %s%s", tt.args, got, tt.want, &out, &errs)
		}
	}
}
