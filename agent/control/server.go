package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

const (
	// submitTimeout is longer than the loop's own minute, whose answer says more.
	submitTimeout = 70 * time.Second
	maxRequest    = 4 << 10
)

// Submit hands a request to the loop and waits for its outcome. An error means
// that there is none.
type Submit func(ctx context.Context, kind policy.RequestKind) (ok bool, answer string, err error)

// Request is the body of POST /v1/requests.
type Request struct {
	Kind string `json:"kind"`
}

// Answer is the body of its answer.
type Answer struct {
	OK     bool   `json:"ok"`
	Answer string `json:"answer"`
}

// NewServer makes the server of the control socket. get gives the newest status,
// nil before the first pass. The caller serves a listener of [Listen].
func NewServer(get func() *peer.Status, submit Submit) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/", peer.Handler(get))
	mux.HandleFunc("POST /v1/requests", func(w http.ResponseWriter, r *http.Request) { serveRequest(w, r, submit) })
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      submitTimeout + 10*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
	}
}

func serveRequest(w http.ResponseWriter, r *http.Request, submit Submit) {
	kind, err := readRequest(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		reply(w, http.StatusBadRequest, Answer{Answer: err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), submitTimeout)
	defer cancel()
	ok, answer, err := submit(ctx, kind)
	switch {
	case err != nil:
		reply(w, http.StatusServiceUnavailable, Answer{Answer: err.Error()})
	case !ok:
		reply(w, http.StatusConflict, Answer{Answer: answer})
	default:
		reply(w, http.StatusOK, Answer{OK: true, Answer: answer})
	}
}

// readRequest knows the kinds, so that nothing unknown reaches the loop.
func readRequest(body io.Reader) (policy.RequestKind, error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	var req Request
	if err := dec.Decode(&req); err != nil {
		return "", errors.New("the request is not understood: " + err.Error())
	}
	switch kind := policy.RequestKind(req.Kind); kind {
	case policy.FreshStart:
		return kind, nil
	}
	return "", errors.New("this agent knows no request " + req.Kind)
}

func reply(w http.ResponseWriter, code int, a Answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(a) // an error here is the reader's, who is gone
}
