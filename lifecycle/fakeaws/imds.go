package fakeaws

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	maxTokenTTL = 21600 // seconds

	// InstanceRole is the role whose credentials metadata hands out.
	InstanceRole = "fakeaws-instance-role"
)

// metadata is an instance's metadata service (IMDSv2 only). Guarded by Cloud.mu.
type metadata struct {
	tokens    map[string]time.Time // when each expires
	overrides map[string]*string   // by path below meta-data; nil: 404
	servers   []*http.Server
}

func newMetadata() *metadata {
	return &metadata{tokens: map[string]time.Time{}, overrides: map[string]*string{}}
}

// SetMetadata makes an instance's metadata answer with value at a path below
// /latest/meta-data/: a scheduled event, another target state, anything.
func (c *Cloud) SetMetadata(id, path, value string) error { return c.override(id, path, &value, true) }

// HideMetadata makes a path answer 404.
func (c *Cloud) HideMetadata(id, path string) error { return c.override(id, path, nil, true) }

// ResetMetadata ends SetMetadata and HideMetadata for a path.
func (c *Cloud) ResetMetadata(id, path string) error { return c.override(id, path, nil, false) }

func (c *Cloud) override(id, path string, value *string, set bool) error {
	path = strings.Trim(strings.TrimPrefix(path, "/latest/meta-data/"), "/")
	return c.try(func() error {
		m := c.findInstance(id)
		if m == nil {
			return noInstances([]string{id})
		}
		if set {
			m.meta.overrides[path] = value
		} else {
			delete(m.meta.overrides, path)
		}
		return nil
	})
}

// MetadataHandler serves the metadata of one instance. Once its machine is gone, it
// cuts the connection.
func (c *Cloud) MetadataHandler(id string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := c.metadataAnswer(w, r, id)
		c.record(Call{Service: serviceIMDS, Action: r.Method + " " + r.URL.Path, Instance: id, Status: status})
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Server", "EC2ws")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // the caller may have gone
	})
}

// metadataAnswer makes the answer to one request; status 0 means none.
func (c *Cloud) metadataAnswer(w http.ResponseWriter, r *http.Request, id string) (status int, body string) {
	f, delay := c.fault(func(f *Fault) bool {
		return (f.Service == "" || f.Service == serviceIMDS) && strings.HasPrefix(r.URL.Path, f.Action) &&
			(f.Instance == "" || f.Instance == id)
	})
	if !c.wait(r.Context(), delay) {
		return 0, ""
	}
	if f != nil {
		switch f.Kind {
		case Outage:
			return f.Status, "fault injected\n"
		case Throttling:
			return http.StatusTooManyRequests, "fault injected\n"
		case AccessDenied:
			return http.StatusForbidden, "fault injected\n"
		case Malformed:
			return http.StatusOK, "\x00<html"
		default:
			return 0, ""
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.findInstance(id)
	switch {
	case m == nil || m.State == Terminated || m.State == Stopped:
		return 0, ""
	case r.URL.Path == "/latest/api/token":
		return c.issueToken(w, r, m)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return http.StatusMethodNotAllowed, ""
	}
	if expires, ok := m.meta.tokens[r.Header.Get(tokenHeader)]; !ok || !c.now().Before(expires) {
		return http.StatusUnauthorized, "401 - Unauthorized\n"
	}
	return lookUp(c.metadataTree(m), strings.TrimPrefix(r.URL.Path, "/latest/"))
}

func (c *Cloud) issueToken(w http.ResponseWriter, r *http.Request, m *machine) (int, string) {
	if r.Method != http.MethodPut {
		return http.StatusMethodNotAllowed, ""
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		return http.StatusForbidden, "403 - Forbidden\n" // through a proxy
	}
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTokenTTL {
		return http.StatusBadRequest, "400 - Bad Request\n"
	}
	now := c.now()
	maps.DeleteFunc(m.meta.tokens, func(_ string, expires time.Time) bool { return !now.Before(expires) })
	token := c.ids.session()
	m.meta.tokens[token] = now.Add(time.Duration(ttl) * time.Second)
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	return http.StatusOK, token
}

// metadataTree is all that metadata has to say, by path below /latest/. c.mu is held.
func (c *Cloud) metadataTree(m *machine) map[string]string {
	tree := map[string]string{
		"dynamic/instance-identity/document":                 c.identityDocument(m),
		"meta-data/ami-id":                                   m.ImageID,
		"meta-data/events/maintenance/scheduled":             "[]",
		"meta-data/hostname":                                 privateDNS(m.Instance),
		"meta-data/iam/security-credentials/" + InstanceRole: c.credentials(m),
		"meta-data/instance-id":                              m.ID,
		"meta-data/instance-type":                            m.Type,
		"meta-data/local-hostname":                           privateDNS(m.Instance),
		"meta-data/local-ipv4":                               m.PrivateIP.String(),
		"meta-data/placement/availability-zone":              m.Zone,
		"meta-data/placement/region":                         c.cfg.Region,
	}
	if m.Target != "" {
		tree["meta-data/autoscaling/target-lifecycle-state"] = m.Target
	}
	for k, v := range m.Tags {
		tree["meta-data/tags/instance/"+k] = v
	}
	for path, v := range m.meta.overrides {
		if v == nil {
			delete(tree, "meta-data/"+path)
		} else {
			tree["meta-data/"+path] = *v
		}
	}
	return tree
}

// lookUp returns a leaf of the tree, or lists the names below an inner path.
func lookUp(tree map[string]string, path string) (int, string) {
	if v, ok := tree[path]; ok {
		return http.StatusOK, v
	}
	dir := strings.TrimSuffix(path, "/") + "/"
	names := map[string]string{}
	for k := range tree {
		if rest, ok := strings.CutPrefix(k, dir); ok {
			name, _, inner := strings.Cut(rest, "/")
			if inner {
				name += "/"
			}
			names[name] = ""
		}
	}
	if len(names) == 0 {
		return http.StatusNotFound, "404 - Not Found\n"
	}
	return http.StatusOK, strings.Join(sortedKeys(names), "\n")
}

func (c *Cloud) identityDocument(m *machine) string {
	return indentJSON(map[string]any{
		"accountId":        c.cfg.AccountID,
		"architecture":     "arm64",
		"availabilityZone": m.Zone,
		"imageId":          m.ImageID,
		"instanceId":       m.ID,
		"instanceType":     m.Type,
		"pendingTime":      m.LaunchTime.UTC().Format(time.RFC3339),
		"privateIp":        m.PrivateIP.String(),
		"region":           c.cfg.Region,
		"version":          "2017-09-30",
	})
}

// credentials are fake and never expire, whatever the Cloud's clock says: the SDKs compare
// their expiry with the machine's.
func (c *Cloud) credentials(m *machine) string {
	return indentJSON(map[string]any{
		"Code":            "Success",
		"Type":            "AWS-HMAC",
		"AccessKeyId":     accessKey(m.ID),
		"SecretAccessKey": "fake",
		"Token":           "fake",
		"LastUpdated":     m.LaunchTime.UTC().Format(time.RFC3339),
		"Expiration":      "2099-12-31T00:00:00Z",
	})
}

func indentJSON(v map[string]any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // strings only: cannot happen
		return err.Error()
	}
	return string(b)
}

func privateDNS(m Instance) string {
	return fmt.Sprintf("ip-%s.ec2.internal", strings.NewReplacer(".", "-", ":", "-").Replace(m.PrivateIP.String()))
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
