//go:build linux

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/units/fakesystemd"
)

// driver makes hosts of the cloud's instances.
type driver struct{ f *Fleet }

func (d driver) Start(_ context.Context, inst fakeaws.Instance) error {
	h := d.f.newHost(inst)
	if err := h.provision(); err != nil {
		return err
	}
	return h.boot()
}

// Stop ends a machine as EC2 does: the power button first, then the power. Its
// disks go with it.
func (d driver) Stop(ctx context.Context, id string) error {
	d.f.mu.Lock()
	h, abrupt := d.f.hosts[id], d.f.abrupt
	d.f.mu.Unlock()
	if h == nil {
		return nil // its start failed early
	}
	if !abrupt {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		h.shutDown(ctx)
	}
	h.end()
	return os.RemoveAll(h.Dir)
}

// PowerOff stops a machine as EC2 does; its disks stay.
func (d driver) PowerOff(ctx context.Context, id string) error {
	h := d.f.Host(id)
	if h == nil {
		return fmt.Errorf("stop: no host %s", id)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	h.shutDown(ctx)
	return nil
}

// PowerOn starts a stopped machine.
func (d driver) PowerOn(_ context.Context, inst fakeaws.Instance) error { return d.f.PowerOn(inst.ID) }

func (f *Fleet) machine(id string) *fakesystemd.Host {
	if h := f.Host(id); h != nil {
		return h.Machine()
	}
	return nil
}

// machineIsWell is what must hold on every machine that is in service.
func (f *Fleet) machineIsWell(_ context.Context, inst fakeaws.Instance) error {
	m := f.machine(inst.ID)
	if m == nil {
		return errors.New("its machine is off")
	}
	for _, unit := range []string{EtcdUnit, AgentUnit} {
		if s := m.UnitState(unit); !s.Running() {
			return fmt.Errorf("%s is %s (%s)", unit, s.ActiveState, s.SubState)
		}
	}
	return nil
}
