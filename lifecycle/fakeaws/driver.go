package fakeaws

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Driver makes machines of instances. For one instance the Cloud calls Start once
// and, after Start has returned, Stop until it succeeds; for different instances at
// the same time. It may call the Cloud.
type Driver interface {
	// Start brings the machine up and returns when it boots. ctx lives as long as the
	// machine should: it ends at shutting-down and when the Cloud is closed. An error
	// terminates the instance and the group launches another.
	Start(ctx context.Context, inst Instance) error

	// Stop returns when the machine is gone for good. It is also called after a Start that
	// failed. ctx is bounded by Config.StopTimeout; after an error Stop is called again.
	Stop(ctx context.Context, id string) error
}

// PowerDriver is a Driver whose machines can be stopped and started again, for EC2's
// StopInstances and StartInstances and for a warm pool of stopped instances. They are
// called in the order of the orders, between Start and Stop.
type PowerDriver interface {
	Driver
	// PowerOff returns when the machine is off, its disks kept. ctx is as Stop's.
	PowerOff(ctx context.Context, id string) error
	// PowerOn returns when the machine boots again. ctx is as Start's.
	PowerOn(ctx context.Context, inst Instance) error
}

// canStop reports whether machines can be stopped and started again.
func (c *Cloud) canStop() bool {
	_, ok := c.cfg.Driver.(PowerDriver)
	return c.cfg.Driver == nil || ok
}

// startMachine hands an instance to the driver. c.mu is held.
func (c *Cloud) startMachine(m *machine) {
	if c.cfg.Driver == nil && c.cfg.ListenMetadata == nil {
		m.started = true
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	m.powerOff, m.power = cancel, make(chan bool, 1)
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		c.runMachine(ctx, m)
	}()
}

// runMachine is a machine's life, from Start to Stop.
func (c *Cloud) runMachine(ctx context.Context, m *machine) {
	err := c.bringUp(ctx, m)
	c.do(func() {
		if err != nil {
			c.emit(Event{Kind: LaunchFailed, Group: m.Group, Instance: m.ID, Note: err.Error()})
			if g := c.groupOf(m); g != nil {
				c.holdOffLaunches(g)
			}
			c.tellToGo(m, "launch failed", true, false)
			return
		}
		m.started = true
		c.tryRunning(m)
	})
	c.followPower(ctx, m)
	for {
		err := c.takeDown(ctx, m.ID)
		if err == nil {
			break
		}
		c.do(func() {
			c.emit(Event{Kind: StopFailed, Group: m.Group, Instance: m.ID, Note: err.Error()})
		})
		if !c.wait(c.ctx, c.cfg.Timing.Retry) {
			break
		}
	}
	c.closeMetadata(m)
	c.do(func() {
		m.stopped = true
		c.tryTerminated(m)
	})
}

// followPower turns a machine off and on as EC2 is asked to, until it is to go for good.
func (c *Cloud) followPower(ctx context.Context, m *machine) {
	driver, _ := c.cfg.Driver.(PowerDriver)
	for {
		select {
		case <-ctx.Done():
			return
		case on := <-m.power:
			var err error
			switch {
			case driver == nil:
			case on:
				err = driver.PowerOn(ctx, c.copyOf(m))
			default:
				err = c.bounded(ctx, func(ctx context.Context) error { return driver.PowerOff(ctx, m.ID) })
			}
			c.do(func() { c.powered(m, on, err) })
		}
	}
}

func (c *Cloud) bringUp(ctx context.Context, m *machine) error {
	if c.cfg.ListenMetadata != nil {
		ln, err := c.cfg.ListenMetadata(ctx, c.copyOf(m))
		if err != nil {
			return fmt.Errorf("listen for metadata: %w", err)
		}
		if _, err := c.ServeMetadata(m.ID, ln); err != nil {
			return err
		}
	}
	if c.cfg.Driver == nil {
		return nil
	}
	if err := c.cfg.Driver.Start(ctx, c.copyOf(m)); err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	return nil
}

// takeDown calls Driver.Stop, see bounded.
func (c *Cloud) takeDown(ctx context.Context, id string) error {
	if c.cfg.Driver == nil {
		return nil
	}
	return c.bounded(ctx, func(ctx context.Context) error { return c.cfg.Driver.Stop(ctx, id) })
}

// bounded calls f with a context that outlives the machine's, which has ended or may end,
// and is bounded in real time: what it bounds is the host, not the emulated cloud.
func (c *Cloud) bounded(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.StopTimeout)
	defer cancel()
	return f(ctx)
}

func (c *Cloud) copyOf(m *machine) Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.snapshot()
}

// ServeMetadata serves the instance's metadata on ln until its machine is gone, then closes
// ln. It returns the URL for AWS_EC2_METADATA_SERVICE_ENDPOINT, which becomes the instance's
// MetadataURL.
func (c *Cloud) ServeMetadata(id string, ln net.Listener) (string, error) {
	s, err := c.serve(ln, c.MetadataHandler(id))
	if err != nil {
		return "", err
	}
	url := "http://" + ln.Addr().String()
	err = c.try(func() error {
		m := c.findInstance(id)
		if m == nil || m.State == Terminated {
			return fmt.Errorf("serve metadata: no instance %s", id)
		}
		m.meta.servers = append(m.meta.servers, s)
		m.MetadataURL = url
		c.dirty = true
		return nil
	})
	if err != nil {
		c.closeServer(s)
		return "", err
	}
	return url, nil
}

func (c *Cloud) closeMetadata(m *machine) {
	c.mu.Lock()
	servers := m.meta.servers
	m.meta.servers, m.MetadataURL = nil, ""
	c.mu.Unlock()
	for _, s := range servers {
		c.closeServer(s)
	}
}

// Serve serves Handler on ln until Close, and closes ln then. It returns the URL for
// AWS_ENDPOINT_URL.
func (c *Cloud) Serve(ln net.Listener) (string, error) {
	if _, err := c.serve(ln, c.Handler()); err != nil {
		return "", err
	}
	return "http://" + ln.Addr().String(), nil
}

// serve starts a server whose every goroutine Close waits for.
func (c *Cloud) serve(ln net.Listener, h http.Handler) (*http.Server, error) {
	s := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !c.enter() {
				panic(http.ErrAbortHandler)
			}
			defer c.wg.Done()
			h.ServeHTTP(w, r)
		}),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = ln.Close()
		return nil, ErrClosed
	}
	c.servers[s] = struct{}{}
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		_ = s.Serve(ln) // always ErrServerClosed, or the listener's end: nobody to tell
	}()
	return s, nil
}

func (c *Cloud) closeServer(s *http.Server) {
	c.mu.Lock()
	delete(c.servers, s)
	c.mu.Unlock()
	_ = s.Close()
}
