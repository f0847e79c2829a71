package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// Fetch reads the status that an agent serves at baseURL (such as
// http://10.0.0.1:2382). The answer is not trusted: its size, its version and its
// consistency are checked, and redirects are not followed. With [ErrHung] the
// status is returned all the same, for people to see.
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
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := direct.Do(req)
	if err != nil {
		return Status{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close() // read in full, or given up
	if resp.StatusCode != http.StatusOK {
		return Status{}, fmt.Errorf("it answers %s", resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxSize+1))
	if err != nil {
		return Status{}, err
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

// Decode reads and checks a status.
func Decode(data []byte) (Status, error) {
	if len(data) > MaxSize {
		return Status{}, fmt.Errorf("the status is longer than %d bytes", MaxSize)
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
	case s.AgeSeconds < 0 || s.AgeSeconds > 1e9:
		return fmt.Errorf("its age is %g s", s.AgeSeconds)
	}
	if p := s.Record.Promise; p != nil {
		if got := p.policy().Hash(); got != p.Hash {
			return fmt.Errorf("its promise's hash is %q, the content's is %q", p.Hash, got)
		}
	}
	return nil
}
