//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/test/hosts"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		q, want float64
	}{
		{nil, 0.5, 0}, {[]float64{7}, 0.9, 7}, {[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{1, 2}, 0.5, 1.5}, {[]float64{10, 0, 5, 2.5, 7.5}, 0.9, 9}, {[]float64{1, 2, 3}, 1, 3},
	} {
		if got := quantile(c.samples, c.q); got != c.want {
			t.Errorf("quantile %v of %v is %v, want %v", c.q, c.samples, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	b := &bench{progress: io.Discard}
	b.add("a", "fast", "s", []float64{1, 1.5, 2}).atMost(2)
	b.add("a", "ratio", "x", []float64{40}).atLeast(50)
	b.add("b", "nothing", "ms", nil)
	var out bytes.Buffer
	if err := printTable(&out, b.results); err != nil {
		t.Fatal(err)
	}
	want := `| part | what | median | p90 | n | promise | kept |
|---|---|--:|--:|--:|--:|---|
| a | fast | 1.50 s | 1.90 s | 3 | ≤ 2 s | yes |
| a | ratio | 40 x | 40 x | 1 | ≥ 50 x | **no** |
| b | nothing | 0 ms | 0 ms | 0 |  |  |
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if missed(b.results) == nil || missed(b.results[:1]) != nil {
		t.Errorf("missed: %v", missed(b.results))
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--nonsense"}, {"extra"}, {"--parts", "everything"}, {"--samples", "0"}} {
		root := newRoot()
		root.SetArgs(args)
		if got := exitCode(root.ExecuteContext(t.Context())); got != 2 {
			t.Errorf("%v: exit code %d, want 2", args, got)
		}
	}
	if exitCode(context.Canceled) != 130 || exitCode(errors.New("missed")) != 1 {
		t.Error("wrong exit codes")
	}
}

func TestActionTime(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	lines := []hosts.Line{
		{Msg: hosts.Acting, At: at(0)}, {Msg: hosts.Acted, At: at(150)}, // half of it before
		{Msg: hosts.Decided, At: at(160)},
		{Msg: hosts.Acting, At: at(200)}, {Msg: hosts.Failed, At: at(210)},
		{Msg: hosts.Acting, At: at(290)}, // its end is not written any more
	}
	if got := actionTime(lines, at(100), at(300)); got != 70*time.Millisecond {
		t.Errorf("got %s, want 70ms", got)
	}
}

func TestProc(t *testing.T) {
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if kib, err := residentKiB(os.Getpid()); err != nil || kib < 1000 {
		t.Errorf("%v KiB: %v", kib, err)
	}
}

// The bare script does replace every member, and leaves nothing behind.
func TestReplaceBare(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	repo, err := hosts.Repo()
	if err != nil {
		t.Fatal(err)
	}
	etcd := filepath.Join(repo, ".cache/etcd/3.6/etcd")
	if _, err := os.Stat(etcd); err != nil {
		t.Skip("etcd is not built: test/etcd/build.sh 3.6")
	}
	b := &bench{bin: hosts.Binaries{Etcd: etcd}, progress: t.Output()}
	seconds, serves, err := b.replaceBare(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if len(seconds) != 3 || len(serves) != 3 {
		t.Errorf("samples %v and %v, want 3 of each", seconds, serves)
	}
	t.Logf("from start until it serves: %v s", serves)
}
