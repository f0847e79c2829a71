package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const (
	scheduledPath = "events/maintenance/scheduled"
	// maxScheduled is far more events than EC2 plans for one instance.
	maxScheduled = 100
	// scheduledTime is how metadata writes times: 21 Jan 2019 09:00:43 GMT.
	scheduledTime = "2 Jan 2006 15:04:05 GMT"
)

// The codes of scheduled events that a reboot by the instance itself, ahead of
// NotBefore, answers or at least prepares.
const (
	// InstanceReboot: EC2 reboots the instance; one that rebooted by itself may be
	// spared.
	InstanceReboot = "instance-reboot"
	// SystemReboot: the host below is rebooted, and the instance with it.
	SystemReboot = "system-reboot"
)

// ScheduledEvent is something that EC2 is going to do to this instance.
type ScheduledEvent struct {
	ID   string
	Code string
	// NotBefore and NotAfter are EC2's window; NotAfter may be zero. The times are
	// AWS's, not this machine's.
	NotBefore, NotAfter time.Time
	Description         string
}

// Reboot reports whether the event is a reboot.
func (e ScheduledEvent) Reboot() bool { return e.Code == InstanceReboot || e.Code == SystemReboot }

// Scheduled reads the events that are planned for this instance and still to come:
// active ones, neither completed nor canceled. An instance without any has an empty
// list; so has a metadata service that does not know the path.
func (m *Metadata) Scheduled(ctx context.Context) ([]ScheduledEvent, error) {
	var out []ScheduledEvent
	_, _, err := m.get(ctx, "scheduled", scheduledPath, func(b string) (err error) {
		out, err = parseScheduled(b)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read scheduled events: %w", err)
	}
	return out, nil
}

func parseScheduled(body string) ([]ScheduledEvent, error) {
	var docs []struct {
		EventID, Code, State, Description string
		NotBefore, NotAfter               string
	}
	if err := json.Unmarshal([]byte(body), &docs); err != nil {
		return nil, malformed("%.64q: %v", body, err)
	}
	if len(docs) > maxScheduled {
		return nil, malformed("%d events", len(docs))
	}
	var out []ScheduledEvent
	for _, d := range docs {
		if d.State != "active" {
			continue
		}
		before, err := time.Parse(scheduledTime, d.NotBefore)
		if err != nil || !isWord(d.Code) || !isWord(d.EventID) {
			return nil, malformed("event %.64q, code %.64q, not before %.64q", d.EventID, d.Code, d.NotBefore)
		}
		e := ScheduledEvent{ID: d.EventID, Code: d.Code, NotBefore: before, Description: d.Description}
		if d.NotAfter != "" {
			if e.NotAfter, err = time.Parse(scheduledTime, d.NotAfter); err != nil {
				return nil, malformed("event %.64q, not after %.64q", d.EventID, d.NotAfter)
			}
		}
		out = append(out, e)
	}
	return out, nil
}
