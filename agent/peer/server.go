package peer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/quorumd/quorumd/agent/certs"
)

// NewServer makes the server that other agents read. With certificates it lets in
// only who shows one of the same authority; nil: plain HTTP, for everyone. It serves,
// and changes nothing:
//
//	GET /v1/status   the status that get gives, 503 while that is nil
//	GET /healthz     200 while the agent's loop runs, else 503
//
// get must be quick and return a status that is not changed any more, such as an
// atomic pointer's. The caller sets ErrorLog and has [Serve] serve a listener.
func NewServer(get func() *Status, set *certs.Set) *http.Server {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	srv := &http.Server{
		Handler:   Handler(get),
		Protocols: http1,
		// An answer is one small object: whoever needs longer holds a connection
		// of ours for nothing. The first one bounds the TLS handshake, too.
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
	}
	if set != nil {
		srv.TLSConfig = set.Server()
	}
	return srv
}

// Serve serves as the server was made: TLS where it has certificates.
func Serve(srv *http.Server, ln net.Listener) error {
	if srv.TLSConfig != nil {
		return srv.ServeTLS(ln, "", "")
	}
	return srv.Serve(ln)
}

// Handler answers as [NewServer] says.
func Handler(get func() *Status) http.Handler {
	mux := http.NewServeMux()
	// A pattern with GET answers HEAD too, and any other method with 405.
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { serveStatus(w, get()) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { serveHealth(w, get()) })
	return mux
}

func serveStatus(w http.ResponseWriter, s *Status) {
	if s == nil {
		http.Error(w, "no pass yet", http.StatusServiceUnavailable)
		return
	}
	now := *s // the published one is others' too
	now.AgeSeconds = age(s).Seconds()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(now); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.Write(b.Bytes()) // an error here is the reader's, who is gone
}

func serveHealth(w http.ResponseWriter, s *Status) {
	if s == nil {
		http.Error(w, "no pass yet", http.StatusServiceUnavailable)
		return
	}
	if a := age(s); a > MaxAge {
		http.Error(w, fmt.Sprintf("last pass %s ago", a.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// age is how long ago the status's pass was. Within this process its time has a
// monotonic reading, so a clock that is set does not count.
func age(s *Status) time.Duration { return max(0, time.Since(s.Decision.Time)) }
