package fakeaws

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

func (c *Cloud) performEC2(req *request) (any, error) {
	change, changes := map[string]func([]string) error{"StartInstances": c.startInstances, "StopInstances": c.stopInstances,
		"TerminateInstances": c.terminateInstances}[req.action]
	if !changes && req.action != "DescribeInstances" {
		return nil, unknownAction(req)
	}
	if req.form.Get("DryRun") == "true" {
		return nil, &Error{http.StatusPreconditionFailed, "DryRunOperation",
			"Request would have succeeded, but DryRun flag is set."}
	}
	for _, id := range req.list("InstanceId") {
		if !instanceID.MatchString(id) {
			return nil, &Error{http.StatusBadRequest, "InvalidInstanceID.Malformed", `Invalid id: "` + id + `"`}
		}
	}
	if changes {
		return c.changeStates(req, change)
	}
	return c.describeInstances(req)
}

var instanceID = regexp.MustCompile(`^i-([0-9a-f]{8}|[0-9a-f]{17})$`)

func (c *Cloud) describeInstances(req *request) (any, error) {
	ids := req.list("InstanceId")
	limit, err := req.number("MaxResults", 1000)
	switch {
	case err != nil:
		return nil, err
	case req.form.Has("MaxResults") && len(ids) > 0:
		return nil, &Error{http.StatusBadRequest, "InvalidParameterCombination",
			"The parameter instancesSet cannot be used with the parameter maxResults"}
	case limit < 5 || limit > 1000:
		return nil, &Error{http.StatusBadRequest, "InvalidParameterValue",
			"Value ( " + req.form.Get("MaxResults") + " ) for parameter maxResults is invalid. Expecting a value between 5 and 1000."}
	}
	v := c.see()
	if err := noInstances(v.unknown(ids)); err != nil {
		return nil, err
	}
	filters := req.filters("Filter", "Value")
	var matching []Instance
	for _, m := range v.instances {
		if len(ids) > 0 && !slices.Contains(ids, m.ID) {
			continue
		}
		ok, err := instanceMatches(m, filters)
		if err != nil {
			return nil, err
		}
		if ok {
			matching = append(matching, m)
		}
	}
	part, next, err := page(matching, req.form.Get("NextToken"), limit)
	if err != nil {
		return nil, err
	}
	out := xmlInstances{RequestID: req.id, NextToken: next}
	for _, m := range part {
		out.Reservations.add(xmlReservation{
			ID: "r-" + strings.TrimPrefix(m.ID, "i-"), Owner: c.cfg.AccountID, Instances: items[xmlInstance]{[]xmlInstance{newXMLInstance(m)}}})
	}
	return out, nil
}

// unknown returns those of the ids that EC2 does not know, or no longer.
func (v *view) unknown(ids []string) []string {
	var out []string
	for _, id := range ids {
		if !slices.ContainsFunc(v.instances, func(m Instance) bool { return m.ID == id }) {
			out = append(out, id)
		}
	}
	return out
}

func instanceMatches(m Instance, filters []filter) (bool, error) {
	for _, f := range filters {
		hit := false
		if key, ok := strings.CutPrefix(f.name, "tag:"); ok {
			v, tagged := m.Tags[key]
			hit = tagged && likeAny(f.values, v)
		} else if f.name == "tag-key" {
			for k := range m.Tags {
				hit = hit || likeAny(f.values, k)
			}
		} else {
			v, err := attribute(m, f.name)
			if err != nil {
				return false, err
			}
			hit = likeAny(f.values, v)
		}
		if !hit {
			return false, nil
		}
	}
	return true, nil
}

func attribute(m Instance, name string) (string, error) {
	switch name {
	case "instance-id":
		return m.ID, nil
	case "instance-state-name":
		return string(m.State), nil
	case "private-ip-address", "network-interface.addresses.private-ip-address":
		if m.State == Terminated {
			return "", nil
		}
		return m.PrivateIP.String(), nil
	case "availability-zone":
		return m.Zone, nil
	case "instance-type":
		return m.Type, nil
	case "image-id":
		return m.ImageID, nil
	}
	return "", &Error{http.StatusBadRequest, "InvalidParameterValue", "The filter '" + name + "' is invalid"}
}

// changeStates answers the calls that turn instances on or off, or end them.
func (c *Cloud) changeStates(req *request, change func([]string) error) (any, error) {
	ids := req.list("InstanceId")
	if len(ids) == 0 {
		return nil, &Error{http.StatusBadRequest, "MissingParameter",
			"The request must contain the parameter InstanceId"}
	}
	before := map[string]InstanceState{}
	for _, m := range c.Instances() {
		before[m.ID] = m.State
	}
	if err := change(ids); err != nil {
		return nil, err
	}
	// EC2 answers before the machine has followed, also where that takes no time.
	first := map[string]InstanceState{"StartInstances": Pending, "StopInstances": Stopping, "TerminateInstances": ShuttingDown}[req.action]
	last := map[string]InstanceState{"StartInstances": Running, "StopInstances": Stopped, "TerminateInstances": Terminated}[req.action]
	out := xmlStateChanges{RequestID: req.id}
	for _, id := range ids {
		now := first
		if before[id] == last {
			now = last
		}
		out.Instances.add(xmlStateChange{ID: id,
			Current: newXMLState(now), Previous: newXMLState(before[id])})
	}
	return out, nil
}

type xmlInstances struct {
	RequestID    string                `xml:"requestId"`
	Reservations items[xmlReservation] `xml:"reservationSet"`
	NextToken    string                `xml:"nextToken,omitempty"`
}

type xmlReservation struct {
	ID        string             `xml:"reservationId"`
	Owner     string             `xml:"ownerId"`
	Instances items[xmlInstance] `xml:"instancesSet"`
}

type xmlInstance struct {
	ID          string           `xml:"instanceId"`
	ImageID     string           `xml:"imageId"`
	State       xmlState         `xml:"instanceState"`
	DNSName     string           `xml:"privateDnsName"`
	Reason      string           `xml:"reason"`
	LaunchIndex int              `xml:"amiLaunchIndex"`
	Type        string           `xml:"instanceType"`
	LaunchTime  string           `xml:"launchTime"`
	Zone        string           `xml:"placement>availabilityZone"`
	Tenancy     string           `xml:"placement>tenancy"`
	IP          string           `xml:"privateIpAddress,omitempty"`
	StateReason *xmlStateReason  `xml:"stateReason"`
	Arch        string           `xml:"architecture"`
	Tags        items[xmlEC2Tag] `xml:"tagSet"`
}

type xmlState struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

type xmlStateReason struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

type xmlEC2Tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type xmlStateChanges struct {
	RequestID string                `xml:"requestId"`
	Instances items[xmlStateChange] `xml:"instancesSet"`
}

type xmlStateChange struct {
	ID       string   `xml:"instanceId"`
	Current  xmlState `xml:"currentState"`
	Previous xmlState `xml:"previousState"`
}

func newXMLState(s InstanceState) xmlState { return xmlState{s.code(), string(s)} }

func newXMLInstance(m Instance) xmlInstance {
	x := xmlInstance{ID: m.ID, ImageID: m.ImageID, State: newXMLState(m.State), Type: m.Type,
		LaunchTime: timestamp(m.LaunchTime), Zone: m.Zone, Tenancy: "default", Arch: "arm64"}
	switch m.State {
	case ShuttingDown, Terminated, Stopping, Stopped:
		x.StateReason = &xmlStateReason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}
	}
	if m.State == Terminated {
		x.Reason = "User initiated (" + m.TerminatedAt.UTC().Format("2006-01-02 15:04:05") + " GMT)"
	} else {
		x.IP = m.PrivateIP.String()
		x.DNSName = privateDNS(m)
	}
	for _, k := range sortedKeys(m.Tags) {
		x.Tags.add(xmlEC2Tag{k, m.Tags[k]})
	}
	return x
}
