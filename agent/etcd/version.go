package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/quorumd/quorumd/agent/certs"
)

// ClusterVersion is the version that the cluster's members agreed on ("3.6.0"): the
// lowest minor version among them. All peer URLs are asked at once and the first good
// answer counts. etcd tells it nowhere over gRPC; its peer port, unlike its client port,
// always speaks HTTP, and tells it without a password.
func (c *Client) ClusterVersion(ctx context.Context, peerURLs []string) (string, error) {
	var asked sync.WaitGroup
	defer asked.Wait() // after cancel: the others are not waited for
	ctx, cancel := context.WithTimeout(ctx, c.timing.call)
	defer cancel()
	type answer struct {
		version string
		err     error
	}
	answers := make(chan answer, len(peerURLs))
	for _, u := range peerURLs {
		asked.Go(func() {
			v, err := c.versionAt(ctx, u)
			answers <- answer{v, err}
		})
	}
	errs := []error{}
	for range peerURLs {
		a := <-answers
		if a.err == nil {
			return a.version, nil
		}
		errs = append(errs, a.err)
	}
	if len(errs) == 0 {
		errs = append(errs, errNoEndpoints)
	}
	return "", fmt.Errorf("read the cluster's version: %w", joined(errs))
}

func (c *Client) versionAt(ctx context.Context, peerURL string) (string, error) {
	u, err := url.Parse(peerURL)
	if err != nil {
		return "", err
	}
	transport := &http.Transport{DisableKeepAlives: true} // it is asked seldom, and never through a proxy
	if c.cfg.PeerTLS != nil {
		transport.TLSClientConfig = c.cfg.PeerTLS.Client(u.Hostname())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, normalize(peerURL)+"/version", nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("%s: %w", peerURL, explained(c.cfg.PeerTLS, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", peerURL, resp.Status)
	}
	var is struct {
		Cluster string `json:"etcdcluster"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4096)).Decode(&is); err != nil {
		return "", fmt.Errorf("%s: %w", peerURL, err)
	}
	if is.Cluster == "" || is.Cluster == "not_decided" {
		return "", fmt.Errorf("%s: %w", peerURL, errUndecided)
	}
	return is.Cluster, nil
}

var errUndecided = errors.New("the members have not agreed on a version yet")

func explained(set *certs.Set, err error) error {
	if set == nil {
		return err
	}
	return set.Explain(err)
}
