package fakeaws

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	serviceAutoScaling = "autoscaling"
	serviceEC2         = "ec2"
	serviceIMDS        = "imds"

	versionAutoScaling = "2011-01-01"
	versionEC2         = "2016-11-15"

	maxRequest = 1 << 20 // bytes of a request's body
)

// Handler serves the APIs at / and the admin API under /_fake/.
func (c *Cloud) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/_fake/", c.admin)
	mux.HandleFunc("/", c.serveAPI)
	return mux
}

// request is one API request, parsed.
type request struct {
	service   string
	action    string
	id        string
	form      url.Values
	accessKey string
	instance  string // the caller, if its key came from metadata
}

// by names the caller in the event log.
func (r *request) by() string {
	if r.instance != "" {
		return r.instance
	}
	return r.accessKey
}

// answer is what goes back.
type answer struct {
	status int
	code   string // of an error, for the log of calls
	body   []byte
	cut    bool // no answer: close the connection
}

func (c *Cloud) serveAPI(w http.ResponseWriter, r *http.Request) {
	req := c.parse(w, r)
	a := c.answer(r, req)
	call := Call{Service: req.service, Action: req.action, Instance: req.instance, AccessKey: req.accessKey,
		Group: req.form.Get("AutoScalingGroupName"), Status: a.status, Code: a.code}
	if call.Group == "" {
		call.Group = req.form.Get("AutoScalingGroupNames.member.1")
	}
	c.record(call)
	if a.cut {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("X-Amzn-Requestid", req.id)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller may have gone
}

// credential matches the credential of a Signature Version 4 header:
// key/date/region/service/aws4_request.
var credential = regexp.MustCompile(`Credential=([^/,\s]+)/[^/]+/[^/]+/([^/]+)/aws4_request`)

// parse never fails: what is missing or wrong is refused later, when the service that has
// to word the refusal is known.
func (c *Cloud) parse(w http.ResponseWriter, r *http.Request) *request {
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	_ = r.ParseForm() // an unreadable form has no Action
	req := &request{form: r.Form, action: r.Form.Get("Action")}
	c.mu.Lock()
	req.id = c.ids.request()
	c.mu.Unlock()
	scope := ""
	if m := credential.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		req.accessKey, scope = m[1], m[2]
		req.instance = instanceOfKey(req.accessKey)
	}
	switch v := r.Form.Get("Version"); {
	case v == versionAutoScaling:
		req.service = serviceAutoScaling
	case v == versionEC2 || scope == serviceEC2:
		req.service = serviceEC2
	default:
		req.service = serviceAutoScaling
	}
	return req
}

// answer applies the faults in place, and dispatches.
func (c *Cloud) answer(r *http.Request, req *request) answer {
	f, delay := c.fault(func(f *Fault) bool {
		return (f.Service == "" || f.Service == req.service) && (f.Action == "" || f.Action == req.action) &&
			(f.Instance == "" || f.Instance == req.instance)
	})
	if !c.wait(r.Context(), delay) {
		return answer{cut: true}
	}
	if f == nil {
		return c.perform(req)
	}
	switch f.Kind {
	case Cut:
		return answer{cut: true}
	case LostAnswer:
		c.perform(req)
		return answer{cut: true}
	case Malformed:
		return answer{status: http.StatusOK, body: []byte("<" + req.action + "Response><" + req.action + "Res")}
	}
	return failed(req, f.apiError(req.service, req.action))
}

func (c *Cloud) perform(req *request) answer {
	if req.accessKey == "" {
		return failed(req, &Error{http.StatusForbidden, "MissingAuthenticationToken", "Missing Authentication Token"})
	}
	var result any
	var err error
	if req.service == serviceEC2 {
		result, err = c.performEC2(req)
	} else {
		result, err = c.performAutoScaling(req)
	}
	if err != nil {
		return failed(req, asError(err))
	}
	return succeeded(req, result)
}

func unknownAction(req *request) error {
	if req.action == "" {
		return &Error{http.StatusBadRequest, "MissingAction", "The request must contain the parameter Action"}
	}
	if req.service == serviceEC2 {
		return &Error{http.StatusBadRequest, "InvalidAction",
			"The action " + req.action + " is not valid for this web service."}
	}
	return &Error{http.StatusBadRequest, "InvalidAction",
		"Could not find operation " + req.action + " for version " + req.form.Get("Version")}
}

// succeeded wraps a result as its service does. A nil result is an empty one.
func succeeded(req *request, result any) answer {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	root := xml.StartElement{Name: xml.Name{Local: req.action + "Response"}}
	meta := struct {
		RequestID string `xml:"RequestId"`
	}{req.id}
	var err error
	if req.service == serviceEC2 {
		root.Attr = xmlns("http://ec2.amazonaws.com/doc/" + versionEC2 + "/")
		err = e.EncodeElement(result, root)
	} else {
		root.Attr = xmlns("http://autoscaling.amazonaws.com/doc/" + versionAutoScaling + "/")
		inner := xml.StartElement{Name: xml.Name{Local: req.action + "Result"}}
		if result == nil {
			result = struct{}{}
		}
		_, none := result.(noResult)
		err = firstError(
			func() error { return e.EncodeToken(root) },
			func() error {
				if none {
					return nil
				}
				return e.EncodeElement(result, inner)
			},
			func() error {
				return e.EncodeElement(meta, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}})
			},
			func() error { return e.EncodeToken(root.End()) },
			e.Flush,
		)
	}
	if err != nil {
		return failed(req, asError(err))
	}
	return answer{status: http.StatusOK, body: b.Bytes()}
}

// failed wraps an error as its service does.
func failed(req *request, e *Error) answer {
	type wireError struct {
		Type    string `xml:",omitempty"`
		Code    string
		Message string
	}
	w := wireError{Code: e.Code, Message: e.Message}
	var v any
	if req.service == serviceEC2 {
		v = struct {
			XMLName   xml.Name    `xml:"Response"`
			Errors    []wireError `xml:"Errors>Error"`
			RequestID string
		}{Errors: []wireError{w}, RequestID: req.id}
	} else {
		w.Type = "Sender"
		if e.Status >= 500 {
			w.Type = "Receiver"
		}
		v = struct {
			XMLName   xml.Name `xml:"http://autoscaling.amazonaws.com/doc/2011-01-01/ ErrorResponse"`
			Error     wireError
			RequestID string `xml:"RequestId"`
		}{Error: w, RequestID: req.id}
	}
	body, err := xml.Marshal(v)
	if err != nil { // strings only: cannot happen
		body = []byte(err.Error())
	}
	return answer{status: e.Status, code: e.Code, body: append([]byte(xml.Header), body...)}
}

func xmlns(uri string) []xml.Attr {
	return []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: uri}}
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// list returns the values of prefix.1, prefix.2, ...
func (r *request) list(prefix string) []string {
	var out []string
	for n := 1; ; n++ {
		v, ok := r.form[prefix+"."+strconv.Itoa(n)]
		if !ok {
			return out
		}
		out = append(out, v[0])
	}
}

// need returns a required parameter.
func (r *request) need(name string) (string, error) {
	if v := r.form.Get(name); v != "" {
		return v, nil
	}
	return "", invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: "+
		"Member must not be null", strings.ToLower(name[:1])+name[1:])
}

// number returns an integer parameter, or fallback where it is absent.
func (r *request) number(name string, fallback int) (int, error) {
	v := r.form.Get(name)
	if v == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, &Error{http.StatusBadRequest, "MalformedInput", "Invalid value for " + name}
	}
	return n, nil
}

// boolean returns a boolean parameter, or fallback where it is absent.
func (r *request) boolean(name string, fallback bool) (bool, error) {
	v := r.form.Get(name)
	if v == "" {
		return fallback, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, &Error{http.StatusBadRequest, "MalformedInput", "Invalid value for " + name}
	}
	return b, nil
}

// needBoolean returns a required boolean parameter.
func (r *request) needBoolean(name string) (bool, error) {
	if _, err := r.need(name); err != nil {
		return false, err
	}
	return r.boolean(name, false)
}

// optional returns an integer parameter, nil where it is absent.
func (r *request) optional(name string) (*int, error) {
	if r.form.Get(name) == "" {
		return nil, nil
	}
	n, err := r.number(name, 0)
	return &n, err
}

// only refuses parameters that have no effect here, rather than to ignore them.
func (r *request) only(names ...string) error {
	for key := range r.form {
		known := key == "Action" || key == "Version" || slices.ContainsFunc(names, func(n string) bool {
			return key == n || strings.HasPrefix(key, n+".member.")
		})
		if !known {
			return invalid("%s: the emulator does not know the parameter %s", r.action, key)
		}
	}
	return nil
}

// filter is one filter of a Describe call: any of the values must match.
type filter struct {
	name   string
	values []string
}

// filters reads prefix.N.Name with values below prefix.N.<values>.M.
func (r *request) filters(prefix, values string) []filter {
	var out []filter
	for n := 1; ; n++ {
		p := prefix + "." + strconv.Itoa(n)
		name := r.form.Get(p + ".Name")
		if name == "" {
			return out
		}
		out = append(out, filter{name, r.list(p + "." + values)})
	}
}

// timestamp is AWS's format of times.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
