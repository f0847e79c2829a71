//go:build faults && linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/lifecycle/fakeaws"
	"github.com/quorumd/quorumd/test/hosts"
)

// chaosLine lets things happen by chance, for -more rounds: what nobody thought of.
func chaosLine(name string, cfg func(*hosts.Config)) line {
	l := line{name: name, cfg: cfg}
	for round := range *more {
		seed := rand.Uint64()
		l.scenarios = append(l.scenarios, scenario{
			name: fmt.Sprintf("round %d seed %d", round+1, seed), within: 4 * time.Minute,
			run: func(w *world) error { return (&chaos{world: w, by: rand.New(rand.NewPCG(seed, 0))}).play(15) },
		})
	}
	return l
}

// chaos is one round. Nothing in it takes a majority of disks at once.
type chaos struct {
	*world
	by   *rand.Rand
	said []string
}

func (c *chaos) play(steps int) error {
	err := c.steps(steps)
	if err == nil {
		c.Cloud.ClearFaults()
		_, err = c.Settle(c.ctx)
	}
	if err != nil {
		err = fmt.Errorf("%w\nafter %q", err, c.said)
	}
	return err
}

func (c *chaos) steps(steps int) error {
	defer c.Cloud.ClearFaults()
	for range steps {
		if err := c.wait(time.Duration(c.by.Float64() * float64(2500*time.Millisecond))); err != nil {
			return err
		}
		c.step()
	}
	return nil
}

// step lets one thing happen; what cannot happen just now does not.
func (c *chaos) step() {
	on := c.Hosts()
	if len(on) == 0 {
		return
	}
	h := on[c.by.IntN(len(on))]
	what, err := "", error(nil)
	switch n := c.by.IntN(20); {
	case n < 5:
		what, err = "terminate", c.Terminate(h.ID)
	case n < 8:
		what, err = "kill agent", c.KillAgent(h.ID)
	case n < 10:
		what, err = "kill etcd", c.KillEtcd(h.ID)
	case n < 12:
		what, err = "power cycle", h.Cycle()
	case n < 14:
		size := 3 + c.by.IntN(3)
		what, err = fmt.Sprintf("scale to %d", size), c.Scale(size)
	case n < 15:
		what, err = "stall etcd", c.stall(h)
	case n < 16 && c.spare():
		what, err = "lose", c.Lose(h.ID)
		c.ranOut[h.ID] = true
		c.Excuse(h.ID)
	case n < 17:
		what, err = "fail calls", c.fault(fakeaws.Fault{Kind: fakeaws.Outage, Times: 10})
	case n < 18:
		what, err = "cut calls", c.fault(fakeaws.Fault{Kind: fakeaws.Cut, Times: 10})
	default:
		what, err = "lose answers", c.fault(fakeaws.Fault{Kind: fakeaws.LostAnswer, Times: 5})
	}
	c.said = append(c.said, fmt.Sprintf("%s %s %s %v", time.Now().Format("15:04:05.000"), what, h.Name, err))
}

func (c *chaos) fault(f fakeaws.Fault) error {
	_, err := c.Cloud.AddFault(f)
	return err
}

// spare: all is settled, so one machine may be lost.
func (c *chaos) spare() bool {
	_, err := c.Settled(c.ctx)
	return err == nil
}

// stall stops a member for a while.
func (c *chaos) stall(h *hosts.Host) error {
	m := h.Machine()
	if m == nil {
		return nil
	}
	if err := m.KillUnit(hosts.EtcdUnit, syscall.SIGSTOP); err != nil {
		return err
	}
	if err := c.wait(3 * time.Second); err != nil {
		return err
	}
	return m.KillUnit(hosts.EtcdUnit, syscall.SIGCONT)
}
