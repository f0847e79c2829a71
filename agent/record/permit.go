package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/quorumd/quorumd/agent/durable"
	"github.com/quorumd/quorumd/agent/policy"
)

// Machine is where a permit holds. A disk that was copied to another machine, or
// made into an image, differs in at least one of them: the machine id is the
// installation's and may be copied along, the other two are the hardware's (on EC2
// the asset tag is the instance id). What a machine does not have is empty.
type Machine struct {
	ID       string `json:"machine_id"`
	Product  string `json:"product_uuid,omitempty"`
	AssetTag string `json:"asset_tag,omitempty"`
}

// permit is the content of the marker file.
type permit struct {
	Note    string  `json:"note"`
	Machine Machine `json:"machine"`
	// Boot is the boot in which an agent gave it: only then may etcd start on an
	// empty data directory, with what that agent wrote for it.
	Boot string `json:"boot"`
}

const permitNote = "quorumd allowed etcd to start on this machine; without this file its unit does not start. " +
	"quorumd makes and removes it."

// AllowEtcd lets etcd start at boot from now on, also when no agent runs, on this
// machine and with this node's data.
func (s Store) AllowEtcd(here Machine, boot string) error {
	data, err := json.MarshalIndent(permit{permitNote, here, boot}, "", "  ")
	if err != nil {
		return fmt.Errorf("allow etcd to start: %w", err)
	}
	data = append(data, '\n')
	if old, err := os.ReadFile(s.path(markerFile)); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := durable.WriteFile(s.path(markerFile), data, 0o644); err != nil {
		return fmt.Errorf("allow etcd to start: %w", err)
	}
	return nil
}

// ForbidEtcd keeps etcd from starting at boot. It does not stop it.
func (s Store) ForbidEtcd() error {
	if err := durable.Remove(s.path(markerFile)); err != nil {
		return fmt.Errorf("forbid etcd to start: %w", err)
	}
	return nil
}

// MayStart says why etcd may not start here without an agent's decision; nil: it
// may. It may with the data that the record knows, on the machine that the permit
// was given for; and with no data in the boot in which an agent allowed just that.
// data is what is in etcd's data directory now.
func (s Store) MayStart(here Machine, boot string, data policy.Data) error {
	p, err := s.readPermit()
	if err != nil {
		return err
	}
	r, err := s.Load()
	if err != nil {
		return err
	}
	switch {
	case p.Machine != here:
		return fmt.Errorf("this machine is %s, the disk was allowed on %s: a copy must not start as the same member", here, p.Machine)
	case data.Empty && r.Ran:
		return fmt.Errorf("the data of member %s is gone: it would come back as a member that forgot its vote", r.Member)
	case data.Empty && p.Boot != boot:
		return errors.New("the data directory is empty, and no agent decided in this boot what etcd starts with")
	case data.Empty:
		return nil
	case data.Member != r.Member || data.Cluster != r.Cluster:
		return fmt.Errorf("the data is of member %s of cluster %s, this node's is member %s of cluster %s",
			data.Member, data.Cluster, r.Member, r.Cluster)
	}
	return nil
}

// readPermit reads the marker. One that cannot be read in full allows nothing.
func (s Store) readPermit() (permit, error) {
	var p permit
	data, err := os.ReadFile(s.path(markerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, errors.New("no agent has allowed it yet")
	}
	if err != nil {
		return p, fmt.Errorf("read permit: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil || p.Machine.ID == "" || p.Boot == "" {
		return p, fmt.Errorf("permit %s is damaged, or another version's: the agent makes it anew when it starts etcd", s.path(markerFile))
	}
	return p, nil
}

func (m Machine) String() string {
	if m.AssetTag != "" {
		return m.AssetTag + " (machine id " + m.ID + ")"
	}
	return "machine id " + m.ID
}
