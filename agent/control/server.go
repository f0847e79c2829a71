package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	maxWhy        = 500
	// readTimeout is for reads of etcd that try several members.
	readTimeout = 10 * time.Second
)

// Submit hands a request to the loop and waits for its outcome. An error means
// that there is none.
type Submit func(ctx context.Context, r policy.Request) (policy.AnswerRequest, error)

// ReadLocks reads the locks of all groups from etcd, now.
type ReadLocks func(ctx context.Context) ([]policy.Lock, error)

// Agent is what the socket serves.
type Agent struct {
	// Status gives the newest status, nil before the first pass.
	Status func() *peer.Status
	Submit Submit
	Locks  ReadLocks
}

// Request is the body of POST /v1/requests. Which of the rest a kind needs or takes
// is said beside it in [policy.RequestKind].
type Request struct {
	Kind     string `json:"kind"`
	Why      string `json:"why,omitempty"`
	Instance string `json:"instance,omitempty"`
	Revision int64  `json:"revision,omitempty"`
	Slots    int    `json:"slots,omitempty"`
}

// Answer is the body of its answer.
type Answer struct {
	OK bool `json:"ok"`
	// Reason is the word for why not, where it is refused.
	Reason string `json:"reason,omitempty"`
	Answer string `json:"answer"`
}

// Locks is the answer to GET /v1/locks.
type Locks struct {
	Version int         `json:"version"`
	Locks   []peer.Lock `json:"locks"`
}

// NewServer makes the server of the control socket. The caller serves a listener of
// [Listen].
func NewServer(a Agent) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("/", peer.Handler(a.Status))
	mux.HandleFunc("POST /v1/requests", func(w http.ResponseWriter, r *http.Request) { serveRequest(w, r, a.Submit) })
	mux.HandleFunc("GET /v1/locks", func(w http.ResponseWriter, r *http.Request) { serveLocks(w, r, a.Locks) })
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
	req, err := readRequest(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		reply(w, http.StatusBadRequest, Answer{Answer: err.Error()})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), submitTimeout)
	defer cancel()
	a, err := submit(ctx, req)
	switch {
	case err != nil:
		reply(w, http.StatusServiceUnavailable, Answer{Answer: err.Error()})
	case !a.OK:
		reply(w, http.StatusConflict, Answer{Reason: string(a.Reason), Answer: a.Answer})
	default:
		reply(w, http.StatusOK, Answer{OK: true, Answer: a.Answer})
	}
}

func serveLocks(w http.ResponseWriter, r *http.Request, read ReadLocks) {
	ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
	defer cancel()
	locks, err := read(ctx)
	if err != nil {
		reply(w, http.StatusServiceUnavailable, Answer{Answer: err.Error()})
		return
	}
	out := Locks{Version: 1, Locks: []peer.Lock{}}
	for _, l := range locks {
		out.Locks = append(out.Locks, *peer.FromLock(l))
	}
	reply(w, http.StatusOK, out)
}

// readRequest knows the kinds and what belongs to each, so that nothing unknown
// reaches the loop. FleetLock's kinds are not for this socket.
func readRequest(body io.Reader) (policy.Request, error) {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	var req Request
	if err := dec.Decode(&req); err != nil {
		return policy.Request{}, errors.New("the request is not understood: " + err.Error())
	}
	out := policy.Request{Kind: policy.RequestKind(req.Kind), Why: req.Why, Instance: policy.InstanceID(req.Instance), Revision: req.Revision, Slots: req.Slots}
	var want policy.Request // with what may be there only
	switch out.Kind {
	case policy.FreshStart, policy.CancelReboot, policy.ForceElection:
	case policy.OrderReboot, policy.LockAcquire:
		if req.Why == "" || len(req.Why) > maxWhy {
			return out, fmt.Errorf("a reason is wanted, of at most %d bytes", maxWhy)
		}
		want.Why = out.Why
	case policy.LockRelease:
		want.Instance, want.Revision = out.Instance, out.Revision
	case policy.LockSlots:
		want.Slots = out.Slots
	default:
		return out, errors.New("this agent knows no request " + req.Kind)
	}
	want.Kind = out.Kind
	if out != want {
		return out, errors.New("the request has more in it than " + req.Kind + " takes")
	}
	return out, nil
}

func reply(w http.ResponseWriter, code int, a any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(a) // an error here is the reader's, who is gone
}
