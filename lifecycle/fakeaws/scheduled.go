package fakeaws

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ScheduledEvent is something that EC2 announces in an instance's metadata, below
// events/maintenance/scheduled. Nothing happens by itself when its time has come.
type ScheduledEvent struct {
	ID string
	// Code is instance-reboot, system-reboot, instance-retirement and so on.
	Code      string
	NotBefore time.Time
	NotAfter  time.Time // zero: left out
}

const scheduledPath = "events/maintenance/scheduled"

// Schedule announces an event to an instance.
func (c *Cloud) Schedule(id string, e ScheduledEvent) error {
	return c.reschedule(id, func(docs []map[string]string) ([]map[string]string, error) {
		if slices.ContainsFunc(docs, func(d map[string]string) bool { return d["EventId"] == e.ID }) {
			return nil, fmt.Errorf("event %s is scheduled already", e.ID)
		}
		doc := map[string]string{"EventId": e.ID, "Code": e.Code, "State": "active",
			"Description": "scheduled by the test", "NotBefore": scheduledTime(e.NotBefore)}
		if !e.NotAfter.IsZero() {
			doc["NotAfter"] = scheduledTime(e.NotAfter)
		}
		return append(docs, doc), nil
	})
}

// EndScheduled ends an event: state is completed or canceled. Like EC2 it still lists
// the event.
func (c *Cloud) EndScheduled(id, event, state string) error {
	return c.reschedule(id, func(docs []map[string]string) ([]map[string]string, error) {
		for _, d := range docs {
			if d["EventId"] == event {
				d["State"], d["Description"] = state, "["+state+"] "+d["Description"]
				return docs, nil
			}
		}
		return nil, fmt.Errorf("no event %s is scheduled", event)
	})
}

// reschedule changes the list that an instance's metadata shows.
func (c *Cloud) reschedule(id string, change func([]map[string]string) ([]map[string]string, error)) error {
	return c.try(func() error {
		m := c.findInstance(id)
		if m == nil {
			return noInstances([]string{id})
		}
		docs := []map[string]string{}
		if old := m.meta.overrides[scheduledPath]; old != nil {
			if err := json.Unmarshal([]byte(*old), &docs); err != nil {
				return fmt.Errorf("metadata of %s is overridden: %w", id, err)
			}
		}
		docs, err := change(docs)
		if err != nil {
			return err
		}
		b, err := json.Marshal(docs)
		if err != nil {
			return err
		}
		text := string(b)
		m.meta.overrides[scheduledPath] = &text
		return nil
	})
}

func scheduledTime(t time.Time) string { return t.UTC().Format("2 Jan 2006 15:04:05") + " GMT" }
