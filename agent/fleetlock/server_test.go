package fleetlock_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/fleetlock"
)

// script is a Lock that answers as a client's id says, and notes what it was asked.
type script struct{ asked []string }

func (s *script) answer(verb string, c fleetlock.Client) (fleetlock.Outcome, error) {
	s.asked = append(s.asked, verb+" "+c.Group+"/"+c.ID)
	switch c.ID {
	case "refused":
		return fleetlock.Outcome{Reason: "AwaitLock", Detail: "i-b holds it for 3m"}, nil
	case "wordless":
		return fleetlock.Outcome{}, nil
	case "broken":
		return fleetlock.Outcome{OK: true}, errors.New("etcd does not answer")
	}
	return fleetlock.Outcome{OK: true}, nil
}

func (s *script) PreReboot(_ context.Context, c fleetlock.Client) (fleetlock.Outcome, error) {
	return s.answer("pre", c)
}

func (s *script) SteadyState(_ context.Context, c fleetlock.Client) (fleetlock.Outcome, error) {
	return s.answer("steady", c)
}

func params(id, group string) string {
	return fmt.Sprintf(`{"client_params":{"id":%q,"group":%q}}`, id, group)
}

// TestConformance is the protocol as a table: what is sent, what is answered, and
// what the lock was asked meanwhile.
func TestConformance(t *testing.T) {
	const pre, steady = "/v1/pre-reboot", "/v1/steady-state"
	for _, c := range []struct {
		name, method, path, header, body string
		status                           int
		kind                             string
		asked                            []string
	}{
		{"grant", "POST", pre, "true", params("a", "default"), 200, "", []string{"pre default/a"}},
		{"release", "POST", steady, "true", params("a", "default"), 200, "", []string{"steady default/a"}},
		{"ids keep their case", "POST", pre, "true", params("aB", "Default.x-1"), 200, "", []string{"pre Default.x-1/aB"}},
		{"a later protocol's keys", "POST", pre, "true", `{"client_params":{"id":"a","group":"g","node":1},"v":2}`, 200, "", []string{"pre g/a"}},
		{"refused", "POST", pre, "true", params("refused", "default"), 409, "AwaitLock", []string{"pre default/refused"}},
		{"not released yet", "POST", steady, "true", params("refused", "default"), 409, "AwaitLock", []string{"steady default/refused"}},
		{"refused without a word", "POST", pre, "true", params("wordless", "default"), 409, "refused", []string{"pre default/wordless"}},
		{"outcome unknown", "POST", pre, "true", params("broken", "default"), 503, "outcome_unknown", []string{"pre default/broken"}},
		{"release unknown", "POST", steady, "true", params("broken", "default"), 503, "outcome_unknown", []string{"steady default/broken"}},

		{"no header", "POST", pre, "", params("a", "default"), 400, "bad_request", nil},
		{"another header", "POST", pre, "false", params("a", "default"), 400, "bad_request", nil},
		{"header in capitals", "POST", pre, "True", params("a", "default"), 400, "bad_request", nil},
		{"no header to release", "POST", steady, "", params("a", "default"), 400, "bad_request", nil},
		{"no body", "POST", pre, "true", "", 400, "bad_request", nil},
		{"no JSON", "POST", pre, "true", "id=a&group=b", 400, "bad_request", nil},
		{"no object", "POST", pre, "true", `["a"]`, 400, "bad_request", nil},
		{"nothing in it", "POST", pre, "true", `{}`, 400, "bad_request", nil},
		{"no params", "POST", pre, "true", `{"client_params":null}`, 400, "bad_request", nil},
		{"id is a number", "POST", pre, "true", `{"client_params":{"id":1,"group":"g"}}`, 400, "bad_request", nil},
		{"empty id", "POST", pre, "true", params("", "g"), 400, "bad_request", nil},
		{"id of another line", "POST", pre, "true", params("a\nb", "g"), 400, "bad_request", nil},
		{"id too long", "POST", pre, "true", params(strings.Repeat("a", 257), "g"), 400, "bad_request", nil},
		{"empty group", "POST", pre, "true", params("a", ""), 400, "bad_request", nil},
		{"group with a slash", "POST", pre, "true", params("a", "g/h"), 400, "bad_request", nil},
		{"group with a space", "POST", pre, "true", params("a", "g h"), 400, "bad_request", nil},
		{"group with an underscore", "POST", pre, "true", params("a", "g_h"), 400, "bad_request", nil},
		{"group with a line after it", "POST", pre, "true", params("a", "g\n"), 400, "bad_request", nil},
		{"group too long", "POST", pre, "true", params("a", strings.Repeat("g", 129)), 400, "bad_request", nil},
		{"two bodies", "POST", pre, "true", params("a", "g") + params("b", "g"), 400, "bad_request", nil},
		{"cut short", "POST", pre, "true", `{"client_params":{"id":"a","group":"g"}`, 400, "bad_request", nil},
		{"a flood", "POST", pre, "true", params(strings.Repeat("a", 10<<10), "g"), 413, "request_too_large", nil},
		{"a flood behind it", "POST", pre, "true", params("a", "g") + strings.Repeat(" ", 10<<10), 413, "request_too_large", nil},

		{"GET", "GET", pre, "true", "", 405, "method_not_allowed", nil},
		{"GET to release", "GET", steady, "true", "", 405, "method_not_allowed", nil},
		{"PUT", "PUT", pre, "true", params("a", "g"), 405, "method_not_allowed", nil},
		{"DELETE", "DELETE", steady, "true", params("a", "g"), 405, "method_not_allowed", nil},
		{"another path", "POST", "/v2/pre-reboot", "true", params("a", "g"), 404, "not_found", nil},
		{"a slash too many", "POST", "/v1/pre-reboot/", "true", params("a", "g"), 404, "not_found", nil},
		{"two slashes", "POST", "//v1/pre-reboot", "true", params("a", "g"), 404, "not_found", nil},
		{"the root", "POST", "/", "true", params("a", "g"), 404, "not_found", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			lock := &script{}
			srv := httptest.NewServer(fleetlock.Handler(lock))
			defer srv.Close()
			status, body := send(t, srv, c.method, c.path, c.header, c.body)
			if status != c.status {
				t.Errorf("answers %d %s, want %d", status, body, c.status)
			}
			if diff := cmp.Diff(c.asked, lock.asked); diff != "" {
				t.Errorf("lock was asked (-want +got):\n%s", diff)
			}
			checkBody(t, c.kind, body)
		})
	}
}

// checkBody: a grant says nothing, everything else kind and value.
func checkBody(t *testing.T, kind, body string) {
	t.Helper()
	if kind == "" {
		if body != "" {
			t.Errorf("a grant with a body: %s", body)
		}
		return
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	if got["kind"] != kind || len(got) != 2 {
		t.Errorf("body is %v, want kind %s and a value", got, kind)
	}
	if _, ok := got["value"]; !ok || got["value"] == "" && kind != "refused" {
		t.Errorf("no value in %v", got)
	}
}

func send(t *testing.T, srv *httptest.Server, method, path, header, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != "" {
		req.Header.Set("fleet-lock-protocol", header)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A client that goes away ends its question: nothing of it is left behind.
func TestClientGone(t *testing.T) {
	lock := waiting{begun: make(chan struct{}), ended: make(chan error, 1)}
	srv := httptest.NewServer(fleetlock.Handler(lock))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", srv.URL+"/v1/pre-reboot", strings.NewReader(params("a", "g")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("fleet-lock-protocol", "true")
	answered := make(chan error, 1)
	go func() {
		resp, err := srv.Client().Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	<-lock.begun
	cancel()
	if err := <-lock.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("question ended with %v", err)
	}
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("client got %v", err)
	}
}

// waiting is a Lock that waits as long as it may.
type waiting struct {
	begun chan struct{}
	ended chan error
}

func (w waiting) PreReboot(ctx context.Context, _ fleetlock.Client) (fleetlock.Outcome, error) {
	close(w.begun)
	<-ctx.Done()
	w.ended <- ctx.Err()
	return fleetlock.Outcome{}, ctx.Err()
}

func (w waiting) SteadyState(context.Context, fleetlock.Client) (fleetlock.Outcome, error) {
	return fleetlock.Outcome{}, errors.New("not asked")
}

func TestZincatiID(t *testing.T) {
	got, err := fleetlock.ZincatiID("1c09ca98649c4c7abc779cd04c96812e")
	if err != nil || got != "978a225b3d7b40e9acd7ce9b62f68444" {
		t.Errorf("got %s, %v", got, err)
	}
	for _, bad := range []string{"", "1c09ca98", "uninitialized", strings.Repeat("z", 32), strings.Repeat("a", 34)} {
		if id, err := fleetlock.ZincatiID(bad); err == nil {
			t.Errorf("%q gives %s", bad, id)
		}
	}
}

// FuzzBody: whatever is sent, a 2xx is a grant that the lock gave.
func FuzzBody(f *testing.F) {
	for _, s := range []string{"", "{}", params("a", "g"), params("refused", "g"), `{"client_params":[]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		lock := &script{}
		r := httptest.NewRequest("POST", "/v1/pre-reboot", strings.NewReader(body))
		r.Header.Set("fleet-lock-protocol", "true")
		w := httptest.NewRecorder()
		fleetlock.Handler(lock).ServeHTTP(w, r)
		if w.Code/100 == 2 && (w.Code != 200 || len(lock.asked) != 1) {
			t.Errorf("%d for %q", w.Code, body)
		}
		if w.Code/100 == 3 {
			t.Errorf("%d for %q", w.Code, body)
		}
	})
}
