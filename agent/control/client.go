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

// ErrRefused means that the agent decided against a request; the error's text is
// its reason.
var ErrRefused = errors.New("refused")

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
// the error is [ErrRefused].
func (c *Client) Submit(ctx context.Context, kind policy.RequestKind) (answer string, err error) {
	body, err := json.Marshal(Request{Kind: string(kind)})
	if err != nil {
		return "", fmt.Errorf("ask the agent: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/requests", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("ask the agent: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the agent: %w: %w", peer.ErrUnreachable, err)
	}
	defer resp.Body.Close() // read in full, or given up
	var a Answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, peer.MaxSize)).Decode(&a); err != nil {
		return "", fmt.Errorf("ask the agent: it answers %s: %w", resp.Status, err)
	}
	switch {
	case resp.StatusCode == http.StatusOK && a.OK:
		return a.Answer, nil
	case resp.StatusCode == http.StatusConflict:
		return "", fmt.Errorf("%w: %s", ErrRefused, a.Answer)
	}
	return "", fmt.Errorf("ask the agent: %s", a.Answer)
}
