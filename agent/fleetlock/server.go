package fleetlock

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	preRebootPath   = "/v1/pre-reboot"
	steadyStatePath = "/v1/steady-state"
	protocolHeader  = "Fleet-Lock-Protocol"

	maxBody = 8 << 10 // far more than two words take
	maxID   = 256
	maxName = 128 // of a group

	// answerWithin bounds one question. A client waits for half an hour and then
	// asks again; a refusal that says why is worth more than a connection that hangs.
	answerWithin = 30 * time.Second
)

// Client is who asks.
type Client struct {
	// ID is the client's own name for its machine, case-sensitive.
	ID string
	// Group is the reboot group that it belongs to.
	Group string
}

// Outcome is the answer to one question.
type Outcome struct {
	// OK: granted, or released. For a grant it means that the lock is held for this
	// client and that it may reboot now.
	OK bool
	// Reason is the word for why not, one of few; Detail says it to people.
	Reason, Detail string
}

// Lock answers the questions. Both are idempotent. An error means that the outcome
// is not known.
type Lock interface {
	PreReboot(ctx context.Context, c Client) (Outcome, error)
	SteadyState(ctx context.Context, c Client) (Outcome, error)
}

// What is wrong with a request, in the words of "kind".
const (
	kindBadRequest = "bad_request"
	kindMethod     = "method_not_allowed"
	kindPath       = "not_found"
	kindTooLarge   = "request_too_large"
	kindUnknown    = "outcome_unknown"
	kindRefused    = "refused" // by a Lock that gives no word
)

// failure is the body of every answer that is no grant.
type failure struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`

	status int
}

func refuse(status int, kind, value string) *failure {
	return &failure{Kind: kind, Value: value, status: status}
}

func malformed(value string) *failure { return refuse(http.StatusBadRequest, kindBadRequest, value) }

// NewServer makes the server of a listener that the caller has.
func NewServer(lock Lock) *http.Server {
	return &http.Server{
		Handler:           Handler(lock),
		ReadHeaderTimeout: 2 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      answerWithin + 10*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    8 << 10,
	}
}

// Handler serves the two questions, and refuses everything else.
func Handler(lock Lock) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := serve(w, r, lock)
		if f == nil {
			w.WriteHeader(http.StatusOK) // the only 2xx there is
			return
		}
		body, err := json.Marshal(f)
		if err != nil { // strings only: cannot happen
			body = nil
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(f.status)
		_, _ = w.Write(body) // the client may have gone
	})
}

// serve asks the lock; nil is a grant or a release.
func serve(w http.ResponseWriter, r *http.Request, lock Lock) *failure {
	ask := lock.PreReboot
	switch r.URL.Path {
	case preRebootPath:
	case steadyStatePath:
		ask = lock.SteadyState
	default:
		return refuse(http.StatusNotFound, kindPath, "only "+preRebootPath+" and "+steadyStatePath+" are served here; does the client's base URL end in a slash?")
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return refuse(http.StatusMethodNotAllowed, kindMethod, "only POST is allowed")
	}
	if got := r.Header.Values(protocolHeader); len(got) != 1 || got[0] != "true" {
		return malformed("the header fleet-lock-protocol: true is missing")
	}
	client, f := readClient(http.MaxBytesReader(w, r.Body, maxBody))
	if f != nil {
		return f
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	out, err := ask(ctx, client)
	switch {
	case err != nil:
		return refuse(http.StatusServiceUnavailable, kindUnknown, err.Error())
	case out.OK:
		return nil
	case out.Reason == "":
		out.Reason = kindRefused
	}
	return refuse(http.StatusConflict, out.Reason, out.Detail)
}

var groupName = regexp.MustCompile(`^[a-zA-Z0-9.-]+$`)

// readClient reads one body. Keys that it does not know are a later protocol's.
func readClient(body io.Reader) (Client, *failure) {
	var req struct {
		Params struct {
			ID    string `json:"id"`
			Group string `json:"group"`
		} `json:"client_params"`
	}
	dec := json.NewDecoder(body)
	if err := dec.Decode(&req); err != nil {
		return Client{}, unreadable("the body is no JSON object with client_params", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Client{}, unreadable("something follows the JSON object in the body", err)
	}
	c := Client{ID: req.Params.ID, Group: req.Params.Group}
	switch {
	case c.ID == "":
		return Client{}, malformed("client_params.id is empty")
	case len(c.ID) > maxID || !printable(c.ID):
		return Client{}, malformed("client_params.id is no name of at most " + strconv.Itoa(maxID) + " printable characters")
	case c.Group == "":
		return Client{}, malformed("client_params.group is empty")
	case len(c.Group) > maxName || !groupName.MatchString(c.Group):
		return Client{}, malformed("client_params.group may have letters, digits, dots and dashes, at most " + strconv.Itoa(maxName))
	}
	return c, nil
}

// unreadable tells a body that is too long from one that is wrong.
func unreadable(value string, err error) *failure {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return refuse(http.StatusRequestEntityTooLarge, kindTooLarge, "the body may have at most "+strconv.Itoa(maxBody)+" bytes")
	}
	return malformed(value)
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
