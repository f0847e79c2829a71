//go:build linux

package hosts

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"testing"
)

func TestSocketHasItsOwner(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	inode, err := socketInode(conn.LocalAddr().String(), conn.RemoteAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if !ownsSocket(os.Getpid(), inode) {
		t.Errorf("socket %s is not found to be ours", inode)
	}
	if ownsSocket(os.Getppid(), inode) {
		t.Errorf("socket %s is found to be our parent's", inode)
	}
	if _, err := socketInode(ln.Addr().String(), ln.Addr().String()); err == nil {
		t.Error("a connection was found that there is not")
	}
}

// An answer is held back until Answered has seen it, and dropped if it says so;
// refusals are no effects and pass.
func TestAnswersOfAWS(t *testing.T) {
	var mu sync.Mutex // the server answers each connection in a goroutine of its own
	done := false
	f := &Fleet{}
	var told []string
	f.cfg.Answered = func(a Answer) bool {
		mu.Lock()
		defer mu.Unlock()
		if !done {
			t.Error("told of a call before it took effect")
		}
		told = append(told, a.Call)
		return a.Call != "Dropped"
	}
	server := httptest.NewServer(f.tellAWS(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		mu.Lock()
		done = true
		mu.Unlock()
		if r.Form.Get("Action") == "Refused" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})))
	defer server.Close()
	for action, want := range map[string]int{"Passed": http.StatusOK, "Refused": http.StatusBadRequest, "Dropped": 0} {
		resp, err := http.PostForm(server.URL, url.Values{"Action": {action}})
		got := 0
		if err == nil {
			got = resp.StatusCode
			resp.Body.Close()
		}
		if got != want {
			t.Errorf("%s: status %d, want %d: %v", action, got, want, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 2 {
		t.Errorf("told of %q", told)
	}
}
