package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/quorumd/quorumd/agent/policy"
)

// MetadataConfig is what [NewMetadata] needs to know. The zero value is usable.
type MetadataConfig struct {
	// Timeout bounds one question, its token and its retry included. Default 5 s.
	Timeout time.Duration
	// Observe, if set, is told of every question: service "imds", the operation
	// (identity, target, spot), one of the Result words, and how long it took.
	Observe func(service, operation, result string, d time.Duration)
}

// Metadata reads this instance's metadata service (IMDSv2 only). Its methods may be
// called concurrently.
//
// The SDK's client keeps the session token and asks for a new one when it has expired or
// the service refuses it (401).
type Metadata struct {
	cfg    MetadataConfig
	client *imds.Client
	http   *boundedClient
}

// Identity is who this instance is: its instance identity document.
type Identity struct {
	InstanceID policy.InstanceID
	Region     string
	AZ         string
	PrivateIP  netip.Addr // the primary interface's private IPv4 address
	AccountID  string
}

// NewMetadata makes a client. It asks nothing yet; ctx bounds the reading of the SDK's
// configuration files.
func NewMetadata(ctx context.Context, cfg MetadataConfig) (*Metadata, error) {
	sdk, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	client, hc := newIMDS(sdk)
	return &Metadata{cfg: cfg, client: client, http: hc}, nil
}

// Close closes idle connections.
func (m *Metadata) Close() { m.http.close() }

// newIMDS makes the SDK's metadata client, with the endpoint that its environment names.
// The service is on the host: it is asked directly, quickly, and the one retry does not wait,
// so that a refused token costs nothing.
func newIMDS(sdk aws.Config) (*imds.Client, *boundedClient) {
	hc := newBoundedClient(&http.Transport{
		Proxy:                 nil, // link-local: a proxy's IMDS, if it had one, is another machine's
		DialContext:           (&net.Dialer{Timeout: time.Second}).DialContext,
		ResponseHeaderTimeout: 2 * time.Second,
		MaxIdleConns:          4,
		IdleConnTimeout:       30 * time.Second,
	}, maxMetadataAnswer, nil)
	sdk.HTTPClient = hc
	sdk.Retryer = nil
	client := imds.NewFromConfig(sdk, func(o *imds.Options) {
		o.EnableFallback = aws.FalseTernary
		o.DisableDefaultMaxBackoff = true
		o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = 2
			o.RateLimiter = ratelimit.None
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
		})
	})
	return client, hc
}

// Identity reads who this instance is.
func (m *Metadata) Identity(ctx context.Context) (Identity, error) {
	id, err := observe(m.cfg.Observe, "identity", func() (Identity, error) {
		ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
		defer cancel()
		out, err := m.client.GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
		if err != nil {
			return Identity{}, err
		}
		return parseIdentity(out.InstanceIdentityDocument)
	})
	if err != nil {
		return Identity{}, fmt.Errorf("read instance identity: %w", err)
	}
	return id, nil
}

func parseIdentity(d imds.InstanceIdentityDocument) (Identity, error) {
	ip, err := netip.ParseAddr(d.PrivateIP)
	switch {
	case !instanceID.MatchString(d.InstanceID):
		return Identity{}, malformed("instance id %.64q", d.InstanceID)
	case !isWord(d.Region) || !isWord(d.AvailabilityZone):
		return Identity{}, malformed("region %.64q, availability zone %.64q", d.Region, d.AvailabilityZone)
	case err != nil || !ip.Is4():
		return Identity{}, malformed("private IPv4 address %.64q", d.PrivateIP)
	}
	return Identity{InstanceID: policy.InstanceID(d.InstanceID), Region: d.Region,
		AZ: d.AvailabilityZone, PrivateIP: ip, AccountID: d.AccountID}, nil
}

// Target reads where the group wants this instance to be. "" without an error: the service
// answered that there is none (yet, or the instance is in no group).
func (m *Metadata) Target(ctx context.Context) (policy.Target, error) {
	body, found, err := m.get(ctx, "target", "autoscaling/target-lifecycle-state", func(b string) error {
		if !isWord(b) {
			return malformed("%.64q", b)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read target lifecycle state: %w", err)
	}
	if !found {
		return "", nil
	}
	return policy.Target(body), nil
}

// Spot reads the Spot interruption notice; the zero Notice means that there is none. Its
// time is AWS's, not this machine's.
func (m *Metadata) Spot(ctx context.Context) (policy.Notice, error) {
	var n policy.Notice
	_, _, err := m.get(ctx, "spot", "spot/instance-action", func(b string) error {
		var doc struct {
			Action string    `json:"action"`
			Time   time.Time `json:"time"`
		}
		if err := json.Unmarshal([]byte(b), &doc); err != nil {
			return malformed("%.64q: %v", b, err)
		}
		if !isWord(doc.Action) || doc.Time.IsZero() {
			return malformed("%.64q", b)
		}
		n = policy.Notice{Action: doc.Action, Time: doc.Time}
		return nil
	})
	if err != nil {
		return policy.Notice{}, fmt.Errorf("read Spot notice: %w", err)
	}
	return n, nil
}

// get reads a path below /latest/meta-data/, and reports whether it exists.
func (m *Metadata) get(ctx context.Context, operation, path string, check func(string) error) (body string, found bool, err error) {
	body, err = observe(m.cfg.Observe, operation, func() (string, error) {
		ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
		defer cancel()
		out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
		if err != nil {
			return "", err
		}
		defer out.Content.Close()
		b, err := io.ReadAll(out.Content)
		if err != nil {
			return "", err
		}
		return string(b), check(string(b))
	})
	switch {
	case err == nil:
		return body, true, nil
	case isNotFound(err):
		return "", false, nil
	}
	return "", false, err
}

// isNotFound reports whether the metadata service said 404 of the path asked for. A 404
// of the token's path is not that: the SDK does not let that answer through.
func isNotFound(err error) bool {
	var answered interface{ HTTPStatusCode() int }
	return errors.As(err, &answered) && answered.HTTPStatusCode() == http.StatusNotFound
}

// observe runs f and tells the observer how it ended.
func observe[T any](o func(service, operation, result string, d time.Duration), operation string, f func() (T, error)) (T, error) {
	began := time.Now()
	v, err := f()
	result, err := classify("imds:"+operation, err)
	if isNotFound(err) {
		result = ResultNone
	}
	if o != nil {
		o("imds", operation, result, time.Since(began))
	}
	return v, err
}

// instanceID is the form of EC2's instance ids: 8 digits until 2016, 17 since.
var instanceID = regexp.MustCompile(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)

// isWord reports whether s can be a name that AWS gives to something: at most 64
// visible ASCII characters, none of which begins a tag or a document.
func isWord(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '<' || c == '>' || c == '"' || c == '{' {
			return false
		}
	}
	return true
}
