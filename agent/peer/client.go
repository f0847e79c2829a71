package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// MaxSize is the most bytes a status may have: ten times what a cluster of
	// nine needs.
	MaxSize = 256 << 10
	// Timeout is the longest that one Fetch takes.
	Timeout = 3 * time.Second
	// MaxAge is the age of a pass from which on its agent counts as hung. The loop
	// runs at least every 10 s, and systemd kills it after 30 s without.
	MaxAge = 30 * time.Second
)

// ErrHung means that the agent answers while its loop does not run: what it says
// is old, so it is no word of its present state.
var ErrHung = errors.New("the agent answers but does not decide")

// ErrUnreachable means that there was no answer at all.
var ErrUnreachable = errors.New("the agent cannot be reached")

// ErrCannotTell means that certificates stand in between, or that one side speaks TLS
// and the other does not. The agent may be well: it is no evidence of anything.
var ErrCannotTell = errors.New("cannot tell")

// Fetch reads the status that an agent serves at baseURL (such as
// http://10.0.0.1:2382), usually with a client of [NewClient]. The answer is not
// trusted: its kind, its size, its version and its consistency are checked, and
// redirects are not followed. With [ErrHung] the status is returned all the same, for
// people to see; with any other error it is empty.
func Fetch(ctx context.Context, client *http.Client, baseURL string) (Status, error) {
	s, err := fetch(ctx, client, baseURL)
	if err != nil {
		return s, fmt.Errorf("read status of the agent at %s: %w", baseURL, err)
	}
	return s, nil
}

func fetch(ctx context.Context, client *http.Client, baseURL string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(baseURL, "/")+"/v1/status", nil)
	if err != nil {
		return Status{}, err
	}
	direct := *client
	// What is asked for is there or it is not.
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := direct.Do(req)
	if err != nil {
		return Status{}, callError(err)
	}
	defer resp.Body.Close() // read in full, or given up
	if err := ofAnswer(resp); err != nil {
		return Status{}, err
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxSize+1))
	if err != nil {
		return Status{}, fmt.Errorf("its answer does not end: %w", err)
	}
	s, err := Decode(data)
	if err != nil {
		return Status{}, err
	}
	if age := time.Duration(s.AgeSeconds * float64(time.Second)); age > MaxAge {
		return s, fmt.Errorf("%w: its last pass was %s ago", ErrHung, age.Round(time.Second))
	}
	return s, nil
}

// callError leaves the method and the URL out, which Fetch says already.
func callError(err error) error {
	if call := (*url.Error)(nil); errors.As(err, &call) {
		err = call.Err
	}
	if errors.Is(err, ErrCannotTell) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// maxValues bounds what a status may make us allocate: a list of 256 KiB may hold
// 100,000 objects. A cluster of nine needs some hundreds.
const maxValues = 20_000

// Decode reads and checks a status.
func Decode(data []byte) (Status, error) {
	if len(data) > MaxSize {
		return Status{}, fmt.Errorf("the status is longer than %d bytes", MaxSize)
	}
	if n := bytes.Count(data, []byte(",")) + bytes.Count(data, []byte("[")) + bytes.Count(data, []byte("{")); n > maxValues {
		return Status{}, fmt.Errorf("the status has more than %d values", maxValues)
	}
	// The version first: the rest of another version may have another shape.
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Status{}, fmt.Errorf("this is no status: %w", err)
	}
	switch {
	case head.Version < 1:
		return Status{}, errors.New("this is no status: it has no version")
	case head.Version > Version:
		return Status{}, fmt.Errorf("the status is of version %d, this quorumd knows version %d", head.Version, Version)
	}
	var s Status
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&s); err != nil {
		return Status{}, fmt.Errorf("this is no status: %w", err)
	}
	if err := s.check(); err != nil {
		return Status{}, fmt.Errorf("this is no sound status: %w", err)
	}
	return s, nil
}

// check refuses what no agent says.
func (s Status) check() error {
	switch {
	case s.Instance == "":
		return errors.New("it names no instance")
	case !sane(s.AgeSeconds):
		return fmt.Errorf("its age is %g s", s.AgeSeconds)
	}
	if p := s.Record.Promise; p != nil {
		if got := p.policy().Hash(); got != p.Hash {
			return fmt.Errorf("its promise's hash is %q, the content's is %q", p.Hash, got)
		}
	}
	return s.checkElection()
}
