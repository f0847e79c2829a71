package lifecycle

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/quorumd/quorumd/agent/policy"
)

const (
	defaultTimeout  = 5 * time.Second
	defaultAttempts = 2
	defaultBackoff  = time.Second

	// maxPages bounds the following of NextToken: a service that never stops
	// handing out tokens is broken.
	maxPages = 100
)

// FleetConfig is what [NewFleet] needs to know. Instance and Region are required, see
// [Metadata.Identity].
type FleetConfig struct {
	Instance policy.InstanceID
	Region   string

	// LaunchHook and TerminateHook are the configured names, see [policy.ChooseHook]. They only
	// decide when the group's hooks are read anew.
	LaunchHook, TerminateHook string

	// Timeout bounds one API call, its retry included. Default 5 s.
	Timeout time.Duration
	// Attempts is how often one call is tried. Default 2: the loop has a backoff of its own.
	Attempts int
	// Backoff bounds the wait before a retry, which is random. Default 1 s.
	Backoff time.Duration
	// Observe, if set, is told of every API call: the service (autoscaling, ec2), the
	// operation, one of the Result words, and how long it took. A call and its retry
	// count once. It is called from the calling goroutine.
	Observe func(service, operation, result string, d time.Duration)
	// Now is this machine's clock, for the age of the cached hooks. Default time.Now.
	Now func() time.Time
}

// Fleet is the side of the group and of EC2. Its methods may be called concurrently, and
// each API call is bounded by FleetConfig.Timeout.
type Fleet struct {
	cfg  FleetConfig
	http *boundedClient
	imds *boundedClient // of the credentials
	// Concrete, and never an interface value: see "Size" in the package's documentation.
	asg *autoscaling.Client
	ec2 *ec2.Client

	mu      sync.Mutex
	group   string // the group's name; empty until it was found
	hooks   []policy.Hook
	hooksAt time.Time // when hooks was read; zero: never
}

// NewFleet makes the clients. It asks AWS nothing yet; ctx bounds the reading of the SDK's
// configuration files.
func NewFleet(ctx context.Context, cfg FleetConfig) (*Fleet, error) {
	switch {
	case !instanceID.MatchString(string(cfg.Instance)):
		return nil, fmt.Errorf("make AWS clients: instance id %.64q is none", cfg.Instance)
	case cfg.Region == "":
		return nil, fmt.Errorf("make AWS clients: no region")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Attempts <= 0 {
		cfg.Attempts = defaultAttempts
	}
	if cfg.Backoff <= 0 {
		cfg.Backoff = defaultBackoff
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Fleet{cfg: cfg}
	sdk, err := f.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	f.asg = autoscaling.NewFromConfig(sdk)
	f.ec2 = ec2.NewFromConfig(sdk)
	return f, nil
}

// Close closes idle connections.
func (f *Fleet) Close() {
	f.http.close()
	f.imds.close()
}

// load makes the SDK's configuration: endpoints and credentials from where the SDK looks
// for them, credentials from metadata by the same careful client as [Metadata]'s.
func (f *Fleet) load(ctx context.Context) (aws.Config, error) {
	region := config.WithRegion(f.cfg.Region)
	bare, err := config.LoadDefaultConfig(ctx, region)
	if err != nil {
		return aws.Config{}, err
	}
	metadata, hc := newIMDS(bare)
	f.imds = hc
	sdk, err := config.LoadDefaultConfig(ctx, region, config.WithAppID("quorumd"),
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = metadata }))
	if err != nil {
		return aws.Config{}, err
	}
	// The SDK's client has the CA bundle and the proxy by now; ours adds the bounds.
	var tr *http.Transport
	if b, ok := sdk.HTTPClient.(*awshttp.BuildableClient); ok {
		tr = b.GetTransport()
	} else {
		tr = awshttp.NewBuildableClient().GetTransport()
	}
	f.http = newBoundedClient(tr, maxAPIAnswer, checkXML)
	sdk.HTTPClient = f.http
	attempts, backoff := f.cfg.Attempts, f.cfg.Backoff
	sdk.Retryer = func() aws.Retryer {
		return retry.AddWithErrorCodes(retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = attempts, backoff
		}), resourceContention)
	}
	return sdk, nil
}

// call makes one API call: bounded, observed, its error classified. do is a client's method
// value, so that the client itself stays concrete.
func call[In, Out, Opt any](ctx context.Context, f *Fleet, service, operation string,
	do func(context.Context, *In, ...func(*Opt)) (*Out, error), in *In,
) (*Out, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
	defer cancel()
	began := time.Now()
	out, err := do(ctx, in)
	if err == nil && out == nil {
		err = malformed("no result")
	}
	result, err := classify(service+":"+operation, err)
	if f.cfg.Observe != nil {
		f.cfg.Observe(service, operation, result, time.Since(began))
	}
	return out, err
}

const (
	serviceAutoScaling = "autoscaling"
	serviceEC2         = "ec2"
)
