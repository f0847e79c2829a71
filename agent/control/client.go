package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/quorumd/quorumd/agent/peer"
	"github.com/quorumd/quorumd/agent/policy"
)

// ErrRefused means that the agent decided against a request; see [Refusal].
var ErrRefused = errors.New("refused")

// Refusal is why the agent decided against a request. It is an [ErrRefused].
type Refusal struct {
	Reason policy.Reason // may be empty
	Words  string
}

func (r Refusal) Error() string {
	if r.Reason == "" {
		return fmt.Sprintf("%v: %s", ErrRefused, r.Words)
	}
	return fmt.Sprintf("%v: %s: %s", ErrRefused, r.Reason, r.Words)
}

// Is makes it an ErrRefused.
func (Refusal) Is(target error) bool { return target == ErrRefused }

// maxAnswer bounds an answer: the locks of a group of thousands are the longest.
const maxAnswer = 16 << 20

// base stands for the agent in URLs; the connection goes to the socket.
const base = "http://localhost"

// Client talks to the agent behind a control socket. Errors are
// [peer.ErrUnreachable] when nothing answers there.
type Client struct{ http *http.Client }

// NewClient makes a client; it connects when it is used.
func NewClient(path string) *Client {
	var d net.Dialer
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true, // a command asks once
	}}}
}

// Status reads the agent's status.
func (c *Client) Status(ctx context.Context) (peer.Status, error) {
	return peer.Fetch(ctx, c.http, base)
}

// Submit asks for something and waits for the outcome. When the agent refuses,
// the error is a [Refusal].
func (c *Client) Submit(ctx context.Context, r Request) (answer string, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("ask the agent: %w", err)
	}
	var a Answer
	code, err := c.do(ctx, http.MethodPost, "/v1/requests", bytes.NewReader(body), &a)
	switch {
	case err != nil:
		return "", err
	case code == http.StatusOK && a.OK:
		return a.Answer, nil
	case code == http.StatusConflict:
		return "", Refusal{Reason: policy.Reason(a.Reason), Words: a.Answer}
	}
	return "", fmt.Errorf("ask the agent: %s", a.Answer)
}

// Locks reads the locks of all groups, through the agent.
func (c *Client) Locks(ctx context.Context) ([]peer.Lock, error) {
	var a struct {
		Locks
		Answer string `json:"answer"`
	}
	code, err := c.do(ctx, http.MethodGet, "/v1/locks", nil, &a)
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("ask the agent: %s", a.Answer)
	}
	return a.Locks.Locks, nil
}

// do makes one call and reads what is answered.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, into any) (code int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return 0, fmt.Errorf("ask the agent: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("ask the agent: %w: %w", peer.ErrUnreachable, err)
	}
	defer resp.Body.Close() // read in full, or given up
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return 0, fmt.Errorf("ask the agent: it answers %s: %w", resp.Status, err)
	}
	return resp.StatusCode, nil
}
