package fakeaws

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

// Transport carries requests to a handler without a network, in the caller's goroutine.
// Inside a testing/synctest bubble, where sockets do not work, it stands in for one:
//
//	client := &http.Client{Transport: fakeaws.Transport{Handler: cloud.Handler()}}
type Transport struct{ Handler http.Handler }

// RoundTrip reports a connection that the handler cuts as io.ErrUnexpectedEOF.
func (t Transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r.Clone(r.Context()) // a RoundTripper must not touch its request, a handler may
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	defer func() {
		switch p := recover(); {
		case p == nil:
		case p != http.ErrAbortHandler:
			panic(p)
		case r.Context().Err() != nil:
			resp, err = nil, r.Context().Err()
		default:
			resp, err = nil, fmt.Errorf("connection cut: %w", io.ErrUnexpectedEOF)
		}
	}()
	rec := &recorder{header: http.Header{}}
	t.Handler.ServeHTTP(rec, in)
	rec.WriteHeader(http.StatusOK) // where the handler wrote nothing
	return &http.Response{
		Status:     http.StatusText(rec.status),
		StatusCode: rec.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        rec.header,
		Body:          io.NopCloser(&rec.body),
		ContentLength: int64(rec.body.Len()),
		Request:       r,
	}, nil
}

// recorder keeps an answer in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}
