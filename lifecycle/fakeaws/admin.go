package fakeaws

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"
)

// AdminHandler serves the admin API described by AdminUsage, also part of Handler.
//
// Nobody is asked for credentials: let it listen on loopback only.
func (c *Cloud) AdminHandler() http.Handler { return c.admin }

func (c *Cloud) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_fake/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, AdminUsage) })
	mux.HandleFunc("GET /_fake/state", show(func(*http.Request) (any, error) {
		return map[string]any{"now": c.cfg.Clock.Now(), "groups": c.Groups(), "instances": c.Instances()}, nil
	}))
	mux.HandleFunc("GET /_fake/timeline", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_ = WriteTimeline(w, c.Events()) // the caller may have gone
	})
	mux.HandleFunc("GET /_fake/events", show(func(r *http.Request) (any, error) {
		since, err := strconv.Atoi(r.FormValue("since"))
		if err != nil || since < 0 {
			since = 0
		}
		events, _ := c.since(since)
		return events, nil
	}))
	mux.HandleFunc("GET /_fake/calls", show(func(*http.Request) (any, error) { return c.Calls(), nil }))
	mux.HandleFunc("GET /_fake/faults", show(func(*http.Request) (any, error) {
		out := []wireFault{}
		for _, f := range c.Faults() {
			out = append(out, newWireFault(f))
		}
		return out, nil
	}))
	c.adminGroups(mux)
	c.adminInstances(mux)
	c.adminFaults(mux)
	return mux
}

func (c *Cloud) adminGroups(mux *http.ServeMux) {
	type body struct {
		Desired   *int
		Min, Max  *int
		Processes []string
	}
	change := func(f func(name string, b body) error) http.HandlerFunc {
		return act(func(r *http.Request, b body) (any, error) { return nil, f(r.PathValue("name"), b) })
	}
	mux.HandleFunc("POST /_fake/groups/{name}/desired", change(func(name string, b body) error {
		if b.Desired == nil {
			return invalid("desired is missing")
		}
		return c.SetDesired(name, *b.Desired)
	}))
	mux.HandleFunc("POST /_fake/groups/{name}/limits", change(func(name string, b body) error {
		if b.Min == nil || b.Max == nil {
			return invalid("min or max is missing")
		}
		return c.SetLimits(name, *b.Min, *b.Max)
	}))
	mux.HandleFunc("POST /_fake/groups/{name}/suspend", change(func(name string, b body) error {
		return c.Suspend(name, b.Processes...)
	}))
	mux.HandleFunc("POST /_fake/groups/{name}/resume", change(func(name string, b body) error {
		return c.Resume(name, b.Processes...)
	}))
	mux.HandleFunc("DELETE /_fake/groups/{name}", show(func(r *http.Request) (any, error) {
		return nil, c.DeleteGroup(r.PathValue("name"), r.FormValue("force") == "true")
	}))
}

func (c *Cloud) adminInstances(mux *http.ServeMux) {
	type terminate struct {
		Via       string
		Decrement bool
		In        duration
	}
	mux.HandleFunc("POST /_fake/instances/{id}/terminate", act(func(r *http.Request, b terminate) (any, error) {
		id := r.PathValue("id")
		switch b.Via {
		case "", "group":
			return nil, c.TerminateInGroup(id, b.Decrement)
		case "ec2":
			return nil, c.TerminateInstance(id)
		case "spot":
			return nil, c.InterruptSpot(id, time.Duration(b.In))
		}
		return nil, invalid("via is group, ec2 or spot, not %s", b.Via)
	}))
	type override struct{ Path, Value string }
	mux.HandleFunc("POST /_fake/instances/{id}/metadata", act(func(r *http.Request, b override) (any, error) {
		return nil, c.SetMetadata(r.PathValue("id"), b.Path, b.Value)
	}))
	mux.HandleFunc("DELETE /_fake/instances/{id}/metadata", show(func(r *http.Request) (any, error) {
		return nil, c.ResetMetadata(r.PathValue("id"), r.FormValue("path"))
	}))
}

func (c *Cloud) adminFaults(mux *http.ServeMux) {
	mux.HandleFunc("POST /_fake/faults", act(func(_ *http.Request, b wireFault) (any, error) {
		id, err := c.AddFault(b.fault())
		if err != nil {
			return nil, invalid("%v", err)
		}
		return map[string]string{"id": id}, nil
	}))
	mux.HandleFunc("DELETE /_fake/faults", show(func(*http.Request) (any, error) {
		c.ClearFaults()
		return nil, nil
	}))
	mux.HandleFunc("DELETE /_fake/faults/{id}", show(func(r *http.Request) (any, error) {
		if !c.RemoveFault(r.PathValue("id")) {
			return nil, &Error{http.StatusNotFound, "NotFound", "no such fault"}
		}
		return nil, nil
	}))
	type staleness struct{ Delay duration }
	mux.HandleFunc("POST /_fake/staleness", act(func(_ *http.Request, b staleness) (any, error) {
		c.SetStaleness(time.Duration(b.Delay))
		return nil, nil
	}))
}

// act serves a request with a JSON body; an unknown field is an error.
func act[T any](f func(*http.Request, T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		d.DisallowUnknownFields()
		if err := d.Decode(&body); err != nil && err != io.EOF {
			reply(w, nil, invalid("unreadable body: %v", err))
			return
		}
		result, err := f(r, body)
		reply(w, result, err)
	}
}

func show(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := f(r)
		reply(w, result, err)
	}
}

func reply(w http.ResponseWriter, result any, err error) {
	status := http.StatusOK
	if err != nil {
		e := asError(err)
		status, result = e.Status, map[string]string{"code": e.Code, "error": e.Message}
	} else if result == nil {
		result = map[string]bool{"ok": true}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(result) // the caller may have gone
}

// duration is a time.Duration that JSON writes as text.
type duration time.Duration

func (d *duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = duration(v)
	return err
}

func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

type wireFault struct {
	ID       string    `json:"id,omitempty"`
	Kind     FaultKind `json:"kind"`
	Service  string    `json:"service,omitempty"`
	Action   string    `json:"action,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Status   int       `json:"status,omitempty"`
	Latency  duration  `json:"latency,omitempty"`
	Times    int       `json:"times,omitempty"`
}

func newWireFault(f Fault) wireFault {
	return wireFault{ID: f.ID, Kind: f.Kind, Service: f.Service, Action: f.Action, Instance: f.Instance,
		Status: f.Status, Latency: duration(f.Latency), Times: f.Times}
}

func (f wireFault) fault() Fault {
	return Fault{Kind: f.Kind, Service: f.Service, Action: f.Action, Instance: f.Instance,
		Status: f.Status, Latency: time.Duration(f.Latency), Times: f.Times}
}

// WriteTimeline writes events as a table, times relative to the first.
func WriteTimeline(w io.Writer, events []Event) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "TIME\tGROUP\tINSTANCE\tEVENT\tHOOK\tRESULT\tBY\tNOTE")
	for _, e := range events {
		at := e.At.Sub(events[0].At).Round(time.Millisecond)
		fmt.Fprintf(tw, "+%.3fs\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			at.Seconds(), e.Group, e.Instance, e.Kind, e.Hook, e.Result, e.By, e.Note)
	}
	return tw.Flush()
}
