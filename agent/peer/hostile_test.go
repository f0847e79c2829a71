package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
	"github.com/quorumd/quorumd/test/testca"
)

// hostile are servers in an agent's place, and what is said of them.
var hostile = []struct {
	name  string
	serve http.HandlerFunc
	says  string
}{
	{"garbage", raw("application/json", "\x00\xff"), "this is no status"},
	{"nothing", raw("application/json", ""), "this is no status"},
	{"another type", raw("text/html", `<html>{"version":1}`), `"text/html" instead of application/json`},
	{"no type", raw("", `{"version":1}`), "instead of application/json"},
	{"another version", raw("application/json", `{"version":99}`), "version 99"},
	{"nobody", raw("application/json", `{"version":1}`), "names no instance"},
	{"negative age", raw("application/json", `{"version":1,"instance":"i-a","age_seconds":-1}`), "its age is -1"},
	{"a list for a word", raw("application/json", `{"version":1,"instance":["i-a"]}`), "this is no status"},
	{"two answers", raw("application/json", `{"version":1,"instance":"i-a"}{}`), "this is no status"},
	{"forged promise", raw("application/json", `{"version":1,"instance":"i-a","record":{"instance":"i-a","promise":{"group":"g","members":[],"hash":"x"}}}`), "hash"},
	{"depth", raw("application/json; charset=utf-8", `{"version":1,"instance":`+strings.Repeat("[", 15000)+strings.Repeat("]", 15000)+"}"), "this is no status"},
	{"many objects", raw("application/json", `{"version":1,"instance":"i-a","agents":[{}`+strings.Repeat(",{}", 80000)+"]}"), "values"},
	{"announces too much", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "999999999")
		w.Write([]byte("{"))
	}, "longer than"},
	{"endless body", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 4096)); err != nil {
				return
			}
		}
	}, "longer than"},
	{"compressed", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		w.Write([]byte("\x1f\x8b\x08\x00" + r.Header.Get("Accept-Encoding")))
	}, "this is no status"},
	{"huge header", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Much", strings.Repeat("x", 64<<10))
		w.Write([]byte("{}"))
	}, "header"},
	{"redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}, "302 Found, which is not followed"},
	{"not found", http.NotFound, "404"},
	{"server error", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }, "500"},
	{"cuts the line", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
}

func raw(kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{kind}
		w.Write([]byte(body))
	}
}

// quiet serves a handler; what the server thinks of it interests nobody.
func quiet(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	return srv
}

// refused checks that a fetch fails in words that name the peer, and that nothing
// of a status comes with it.
func refused(t *testing.T, url string, client *http.Client, says string) error {
	t.Helper()
	s, err := Fetch(t.Context(), client, url)
	if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), url) {
		t.Errorf("got %v, want %s and %q in it", err, url, says)
	}
	if s.Instance != "" || s.Version != 0 {
		t.Errorf("a status came with %v: %+v", err, s)
	}
	return err
}

func TestHostile(t *testing.T) {
	ours, theirs := pair(t)
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			plain := quiet(t, tt.serve)
			plain.Start()
			refused(t, plain.URL, NewClient(nil), tt.says)
			secure := quiet(t, tt.serve)
			secure.TLS = theirs.set.Server()
			secure.StartTLS()
			// Who closes without a word may not have accepted our certificate.
			if err := refused(t, secure.URL, NewClient(ours.set), tt.says); errors.Is(err, ErrCannotTell) != (tt.says == "EOF") {
				t.Errorf("answer or certificates? %v", err)
			}
		})
	}
}

// Whoever is slow, in whatever phase, is given up.
func TestHostileSlow(t *testing.T) {
	ours, _ := pair(t)
	release := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/header/v1/status", func(http.ResponseWriter, *http.Request) { <-release })
	mux.HandleFunc("/body/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"version":1,`))
		w.(http.Flusher).Flush()
		<-release
	})
	srv := quiet(t, mux)
	srv.Start()
	t.Cleanup(func() { close(release) }) // before srv.Close, which waits for handlers
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for url, says := range map[string]string{
		srv.URL + "/header":                     "cannot be reached",
		srv.URL + "/body":                       "does not end",
		"https://" + silent.Addr().String():     "cannot be reached",
		"http://" + silent.Addr().String() + "": "cannot be reached",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := Fetch(ctx, NewClient(ours.set), url)
		cancel()
		if err == nil || !strings.Contains(err.Error(), says) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrCannotTell) {
			t.Errorf("%s: got %v, want %q in it", url, err, says)
		}
	}
	// Without a deadline of the caller's there is one all the same.
	began := time.Now()
	refused(t, "https://"+silent.Addr().String(), NewClient(ours.set), "TLS handshake")
	if took := time.Since(began); took > 2*Timeout {
		t.Errorf("a silent peer held us for %s", took)
	}
}

// side is one agent's files.
type side struct {
	certs.Files
	set *certs.Set
}

func newSide(t *testing.T, ca *testca.CA, l testca.Leaf, believes *testca.CA) *side {
	t.Helper()
	dir := t.TempDir()
	s := &side{Files: certs.Files{CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}}
	s.put(t, ca, l, believes)
	var err error
	if s.set, err = certs.New(s.Files, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *side) put(t *testing.T, ca *testca.CA, l testca.Leaf, believes *testca.CA) {
	t.Helper()
	if l.IPs == nil {
		l.IPs = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	cert, key, err := ca.Issue(l)
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{s.CA: believes.PEM, s.Cert: cert, s.Key: key} {
		if err := testca.Replace(path, data); err != nil {
			t.Fatal(err)
		}
	}
}

func newCA(t *testing.T) *testca.CA {
	t.Helper()
	ca, err := testca.New("peers")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// pair are two agents of one authority.
func pair(t *testing.T) (a, b *side) {
	ca := newCA(t)
	return newSide(t, ca, testca.Leaf{Name: "a"}, ca), newSide(t, ca, testca.Leaf{Name: "b"}, ca)
}
