package lifecycle

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
)

const (
	maxAPIAnswer      = 16 << 20 // bytes; a group of 500 instances answers with about 300 KiB
	maxMetadataAnswer = 64 << 10 // bytes; the largest document asked for has about 1 KiB
)

// boundedClient is the SDK's HTTP client: it reads each answer whole, up to a limit, and
// leaves redirects alone.
type boundedClient struct {
	http  http.Client
	limit int64
	check func(body []byte) error // of answers with status 200; nil: none
}

func newBoundedClient(tr *http.Transport, limit int64, check func([]byte) error) *boundedClient {
	return &boundedClient{limit: limit, check: check, http: http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Do is what the SDK calls.
func (c *boundedClient) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.limit+1))
	_ = resp.Body.Close() // it was read to its end, or is of no use
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	case int64(len(body)) > c.limit:
		return nil, malformed("more than %d bytes", c.limit)
	}
	if c.check != nil && resp.StatusCode == http.StatusOK {
		if err := c.check(body); err != nil {
			return nil, err
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// close closes idle connections, and with them the transport's goroutines.
func (c *boundedClient) close() { c.http.CloseIdleConnections() }

// checkXML requires an answer to be one whole XML document named <...Response>. The SDK
// itself takes an empty body for an empty result, and for EC2 any document without
// known elements: a proxy's page would read as "there are no instances".
func checkXML(body []byte) error {
	d := xml.NewDecoder(bytes.NewReader(body))
	root := false
	for {
		t, err := d.Token()
		if err == io.EOF && root {
			return nil
		}
		if err != nil {
			return malformed("%d bytes that are no XML document: %v", len(body), err)
		}
		if start, ok := t.(xml.StartElement); ok && !root {
			if !strings.HasSuffix(start.Name.Local, "Response") {
				return malformed("unexpected document <%.40s>", start.Name.Local)
			}
			root = true
		}
	}
}
