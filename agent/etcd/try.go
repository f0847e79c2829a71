package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// read asks one endpoint after another until one answers. The next one is also
// asked when the one before has not answered after a moment, so f must only
// read. The answer's endpoint URL comes first in later calls.
func read[T any](ctx context.Context, c *Client, f func(context.Context, *endpoint) (T, error)) (T, string, error) {
	type answer struct {
		value T
		url   string
		err   error
	}
	var none T
	urls := c.order()
	if len(urls) == 0 {
		return none, "", errNoEndpoints
	}
	actx, cancel := context.WithCancel(ctx)
	answers := make(chan answer, len(urls)) // so that none waits to be heard
	running := 0
	defer func() { // the attempts end promptly once cancelled
		cancel()
		for ; running > 0; running-- {
			<-answers
		}
	}()
	var errs []error
	stagger := time.NewTimer(0)
	defer stagger.Stop()
	for next := 0; next < len(urls) || running > 0; {
		var more <-chan time.Time
		if next < len(urls) {
			more = stagger.C
		}
		select {
		case <-more:
			url := urls[next]
			next++
			running++
			go func() {
				a := answer{url: url}
				a.err = c.through(actx, url, c.timing.call, func(ctx context.Context, e *endpoint) (err error) {
					a.value, err = f(ctx, e)
					return err
				})
				answers <- a
			}()
			stagger.Reset(c.timing.stagger)
		case a := <-answers:
			running--
			if a.err == nil {
				return a.value, a.url, nil
			}
			errs = append(errs, a.err)
			if ctx.Err() != nil {
				return none, "", joined(errs)
			}
			stagger.Reset(0)
		}
	}
	return none, "", joined(errs)
}

// write asks one endpoint after another, first the preferred one (may be
// empty), until one gives an answer that the others would give too. f must bear
// repetition: an endpoint that gave no answer may have done it.
func (c *Client) write(ctx context.Context, prefer string, f func(context.Context, *endpoint) error) error {
	urls := c.order()
	if i := slices.Index(urls, prefer); i > 0 {
		urls = slices.Insert(slices.Delete(urls, i, i+1), 0, prefer)
	}
	if len(urls) == 0 {
		return errNoEndpoints
	}
	var errs []error
	for _, url := range urls {
		err := c.through(ctx, url, c.timing.call, f)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil || !othersMayDiffer(err) {
			break
		}
	}
	return joined(errs)
}

// through calls f on one endpoint.
func (c *Client) through(ctx context.Context, url string, bound time.Duration, f func(context.Context, *endpoint) error) error {
	e, err := c.acquire(url)
	if err != nil {
		return err
	}
	defer c.release(e)
	err = e.do(ctx, bound, f)
	c.noted(e, err)
	return err
}

// endpointError is what one endpoint said, or that it said nothing.
type endpointError struct {
	url string
	err error
}

func (e *endpointError) Error() string { return e.url + ": " + reason(e.err) }
func (e *endpointError) Unwrap() error { return e.err }

// reason is an error's text without gRPC's wrapping, which says "connection
// refused" in two hundred characters.
func reason(err error) string {
	text := err.Error()
	var st interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &st) || st.GRPCStatus().Code() != codes.Unavailable {
		return text
	}
	if i := strings.LastIndex(text, "connect: "); i >= 0 {
		return strings.Trim(text[i+len("connect: "):], `"`)
	}
	return text
}

// joined makes one error of the attempts', on one line.
func joined(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return &attemptsError{errs}
}

// attemptsError is what every endpoint that was asked said.
type attemptsError struct{ errs []error }

// Error says each thing once, with the endpoints that said it.
func (e *attemptsError) Error() string {
	var said []string
	by := map[string][]string{}
	for _, err := range e.errs {
		text, url := err.Error(), ""
		if ee := (*endpointError)(nil); errors.As(err, &ee) && ee.Error() == text {
			text, url = reason(ee.err), ee.url
		}
		if _, ok := by[text]; !ok {
			said = append(said, text)
			by[text] = nil
		}
		if url != "" {
			by[text] = append(by[text], url)
		}
	}
	for i, text := range said {
		if urls := by[text]; len(urls) > 0 {
			said[i] = strings.Join(urls, ", ") + ": " + text
		}
	}
	return strings.Join(said, "; ")
}

func (e *attemptsError) Unwrap() []error { return e.errs }

var (
	errNoEndpoints = fmt.Errorf("no endpoint of a member is known")
	errClosed      = errors.New("client is closed")
)
