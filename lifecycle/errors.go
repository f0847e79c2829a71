package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/aws/smithy-go"
)

var (
	// ErrNoGroup: the instance belongs to no auto scaling group.
	ErrNoGroup = errors.New("instance is in no auto scaling group")
	// ErrNoActiveAction: the hook does not wait for this instance (any more): it was
	// completed, ran out, or never opened.
	ErrNoActiveAction = errors.New("no active lifecycle action")
	// ErrTagDiffers: the group bears another cluster's id than the caller thinks.
	ErrTagDiffers = errors.New("tag has another value")
	// ErrThrottled: AWS asks to come back later, or works on the same resource.
	ErrThrottled = errors.New("throttled")
	// ErrMalformed: something answered, but not in the form that AWS documents.
	ErrMalformed = errors.New("malformed answer")
)

// MissingPermission is the error of a call that IAM refused.
type MissingPermission struct {
	// Action is what the instance's role must be allowed to do, as a policy
	// writes it: "autoscaling:CompleteLifecycleAction".
	Action string
	// Err is AWS's own answer.
	Err error
}

func (e *MissingPermission) Error() string {
	return fmt.Sprintf("missing permission %s: %v", e.Action, e.Err)
}

func (e *MissingPermission) Unwrap() error { return e.Err }

// Permissions lists every IAM action that [Fleet] needs, sorted.
func Permissions() []string {
	return []string{
		"autoscaling:CompleteLifecycleAction",
		"autoscaling:CreateOrUpdateTags",
		"autoscaling:DeleteTags",
		"autoscaling:DescribeAutoScalingGroups",
		"autoscaling:DescribeAutoScalingInstances",
		"autoscaling:DescribeLifecycleHooks",
		"autoscaling:RecordLifecycleActionHeartbeat",
		"ec2:DescribeInstances",
	}
}

// Results of a call, as Observe is told.
const (
	ResultOK        = "ok"
	ResultNone      = "none"      // asked, and the answer is: there is none (metadata's 404)
	ResultDenied    = "denied"    // a permission is missing
	ResultThrottled = "throttled" // or ResourceContention
	ResultRefused   = "refused"   // AWS answered with another error: InvalidInstanceID.NotFound, ValidationError, ...
	ResultServer    = "server"    // AWS's own fault: 5xx
	ResultMalformed = "malformed"
	ResultTimeout   = "timeout"     // or the caller gave up
	ResultNoAnswer  = "unreachable" // no connection, no credentials
)

// throttleCodes are the codes by which AWS asks to come back later. ResourceContention
// is Auto Scaling's "another change to this group is under way".
var throttleCodes = map[string]bool{
	"Throttling": true, "ThrottlingException": true, "ThrottledException": true,
	"RequestThrottled": true, "RequestThrottledException": true, "TooManyRequestsException": true,
	"RequestLimitExceeded": true, "BandwidthLimitExceeded": true, "EC2ThrottledException": true,
	"SlowDown": true, "PriorRequestNotComplete": true,
	resourceContention: true, "ResourceContentionFault": true,
}

const resourceContention = "ResourceContention"

// classify says in one word how a call ended, and gives its error the form
// that callers tell apart. action is the IAM action.
func classify(action string, err error) (result string, classified error) {
	if err == nil {
		return ResultOK, nil
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); {
		case throttleCodes[code]:
			return ResultThrottled, fmt.Errorf("%w: %w", ErrThrottled, err)
		case code == "AccessDenied" || code == "AccessDeniedException" || code == "UnauthorizedOperation":
			return ResultDenied, &MissingPermission{Action: action, Err: err}
		case noActiveAction(api):
			return ResultRefused, fmt.Errorf("%w: %w", ErrNoActiveAction, err)
		}
	}
	var answered interface{ HTTPStatusCode() int }
	var unreadable *smithy.DeserializationError
	var network net.Error
	switch {
	case errors.Is(err, ErrMalformed):
		return ResultMalformed, err
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &network) && network.Timeout():
		return ResultTimeout, err
	case errors.As(err, &answered) && answered.HTTPStatusCode() >= 500:
		return ResultServer, err
	case errors.As(err, &unreadable):
		return ResultMalformed, fmt.Errorf("%w: %w", ErrMalformed, err)
	case api != nil:
		return ResultRefused, err
	}
	return ResultNoAnswer, err
}

// noActiveAction recognises Auto Scaling's answer for a hook that does not wait. It has no
// code of its own, only ValidationError and the words.
func noActiveAction(api smithy.APIError) bool {
	return api.ErrorCode() == "ValidationError" && strings.Contains(api.ErrorMessage(), "No active Lifecycle Action found")
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Permission is the missing right, for whoever does not know this package.
func (e *MissingPermission) Permission() string { return e.Action }
