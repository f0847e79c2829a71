package fakeaws

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// FaultKind is what goes wrong.
type FaultKind string

const (
	Outage       FaultKind = "outage"        // 500 InternalFailure, or Fault.Status
	Throttling   FaultKind = "throttling"    // Throttling (EC2: RequestLimitExceeded); imds: 429
	AccessDenied FaultKind = "access-denied" // 403 AccessDenied (EC2: UnauthorizedOperation)
	Malformed    FaultKind = "malformed"     // 200 and a body that ends in the middle
	Cut          FaultKind = "cut"           // the connection is closed without an answer, the call has no effect
	LostAnswer   FaultKind = "lost-answer"   // the call takes effect, then the connection is closed
	Delay        FaultKind = "delay"         // only Fault.Latency
)

// Fault is something that goes wrong with every request that it matches.
type Fault struct {
	ID       string // given by AddFault
	Kind     FaultKind
	Service  string        // autoscaling, ec2 or imds; "": any of the three
	Action   string        // of the API; imds: a prefix of the path. "": all
	Instance string        // imds: whose metadata; else the calling instance. "": all
	Status   int           // of an outage: 500 (default) or 503
	Latency  time.Duration // on the Cloud's clock, before anything else
	Times    int           // ends after this many requests; 0: lasts until it is removed
}

// AddFault puts a fault in place and returns its id. Of several that match a request,
// the delays add up and the first of the other kinds decides.
func (c *Cloud) AddFault(f Fault) (id string, err error) {
	switch f.Kind {
	case Outage, Throttling, AccessDenied, Malformed, Cut, LostAnswer, Delay:
	default:
		return "", fmt.Errorf("unknown fault %q", f.Kind)
	}
	if f.Status == 0 {
		f.Status = http.StatusInternalServerError
	}
	if f.Status < 400 || f.Status > 599 || f.Latency < 0 || f.Times < 0 {
		return "", fmt.Errorf("fault %s: status %d, latency %s or times %d out of range", f.Kind, f.Status, f.Latency, f.Times)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faultSeq++
	f.ID = fmt.Sprintf("fault-%d", c.faultSeq)
	c.faults = append(c.faults, &f)
	return f.ID, nil
}

// RemoveFault ends a fault; it reports whether there was one.
func (c *Cloud) RemoveFault(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.faults)
	c.faults = slices.DeleteFunc(c.faults, func(f *Fault) bool { return f.ID == id })
	return len(c.faults) < n
}

// ClearFaults ends all faults; staleness is not one.
func (c *Cloud) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// Faults returns the faults in place.
func (c *Cloud) Faults() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	fs := []Fault{}
	for _, f := range c.faults {
		fs = append(fs, *f)
	}
	return fs
}

// fault returns what goes wrong with one request: the fault that decides, nil if none,
// and how long the request is delayed.
func (c *Cloud) fault(matches func(*Fault) bool) (decisive *Fault, delay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = slices.DeleteFunc(c.faults, func(f *Fault) bool {
		if !matches(f) || (decisive != nil && f.Kind != Delay) {
			return false
		}
		delay += f.Latency
		if f.Kind != Delay {
			decisive = f
		}
		if f.Times == 0 {
			return false
		}
		f.Times--
		return f.Times == 0
	})
	if decisive != nil {
		f := *decisive
		decisive = &f
	}
	return decisive, delay
}

// apiError is the answer of a fault that answers an API call with an error, nil for the other kinds.
func (f *Fault) apiError(service, action string) *Error {
	ec2 := service == serviceEC2
	switch f.Kind {
	case Outage:
		if f.Status == http.StatusServiceUnavailable {
			code := "ServiceUnavailable"
			if ec2 {
				code = "Unavailable"
			}
			return &Error{f.Status, code, "The server is overloaded and can't handle the request."}
		}
		code := "InternalFailure"
		if ec2 {
			code = "InternalError"
		}
		return &Error{f.Status, code, "An internal error has occurred"}
	case Throttling:
		if ec2 {
			return &Error{http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded."}
		}
		return &Error{http.StatusBadRequest, "Throttling", "Rate exceeded"}
	case AccessDenied:
		if ec2 {
			return &Error{http.StatusForbidden, "UnauthorizedOperation",
				"You are not authorized to perform this operation."}
		}
		return &Error{http.StatusForbidden, "AccessDenied",
			"User is not authorized to perform: autoscaling:" + action + " because no identity-based policy allows the action"}
	}
	return nil
}
