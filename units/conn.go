package units

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	sddbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// ErrClosed is returned by the methods of a Conn after Close.
var ErrClosed = errors.New("connection to systemd is closed")

// Options of a Conn. The zero value is what the agent uses on a real machine.
type Options struct {
	// Connect makes one authenticated connection to the bus, after its Hello.
	// The connection must end when ctx does. It is called twice for every
	// (re)connection, because go-systemd keeps signals apart from calls.
	// Default: the system bus, at DBUS_SYSTEM_BUS_ADDRESS if that is set.
	Connect func(ctx context.Context) (*dbus.Conn, error)

	// CallTimeout bounds every single call, including the wait for a bus that
	// is away. Default 10 s. Reload, which systemd may take long for, has nine
	// times as much.
	CallTimeout time.Duration

	// Reread is how often Watch and Stop read a unit's state even though no
	// signal said that it changed. Default 5 s.
	Reread time.Duration

	// RetryMin and RetryMax bound the pause between attempts to reconnect,
	// which doubles from one to the other. Defaults 100 ms and 5 s.
	RetryMin, RetryMax time.Duration

	// Log gets a line when the bus goes away and when it is back. Default:
	// discard.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Connect == nil {
		o.Connect = connectSystemBus
	}
	if o.CallTimeout <= 0 {
		o.CallTimeout = 10 * time.Second
	}
	if o.Reread <= 0 {
		o.Reread = 5 * time.Second
	}
	if o.RetryMin <= 0 {
		o.RetryMin = 100 * time.Millisecond
	}
	if o.RetryMax < o.RetryMin {
		o.RetryMax = max(5*time.Second, o.RetryMin)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// connectSystemBus does what go-systemd's NewSystemConnectionContext does for
// each of its two connections. The uid instead of a user name avoids a look-up
// that a static binary may not be able to make.
func connectSystemBus(ctx context.Context) (*dbus.Conn, error) {
	return dbus.ConnectSystemBus(dbus.WithContext(ctx), dbus.WithAuth(dbus.AuthExternal(strconv.Itoa(os.Getuid()))))
}

// Conn is a connection to systemd that mends itself. Make one with Dial and end
// it with Close. Its methods may be called concurrently.
type Conn struct {
	opts   Options
	stop   context.CancelFunc
	done   chan struct{} // closed when the owning goroutine has ended
	wanted chan struct{} // tells the owner that subs changed; capacity 1

	mu     sync.Mutex
	cur    *session      // nil while the bus is away
	change chan struct{} // closed and replaced whenever cur changes
	closed bool
	subs   map[dbus.ObjectPath]map[*subscription]struct{}
}

// Dial connects to systemd. ctx bounds this first connection only; it must
// succeed, so that a wrong address is noticed at start. Later ones are retried
// until Close.
func Dial(ctx context.Context, opts Options) (*Conn, error) {
	opts = opts.withDefaults()
	life, stop := context.WithCancel(context.Background()) // ended by Close, not by ctx
	c := &Conn{
		opts: opts, stop: stop,
		done:   make(chan struct{}),
		wanted: make(chan struct{}, 1),
		change: make(chan struct{}),
		subs:   map[dbus.ObjectPath]map[*subscription]struct{}{},
	}
	s, err := c.connect(ctx, life)
	if err != nil {
		stop()
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	go c.own(life, s)
	return c, nil
}

// Close ends the connection and waits for its goroutine. Calls in flight return
// ErrClosed or the error of the broken connection.
func (c *Conn) Close() {
	c.stop()
	<-c.done
}

// own keeps a session until life ends: it serves the one there is, and when that
// breaks makes another.
func (c *Conn) own(life context.Context, s *session) {
	defer close(c.done)
	defer c.publish(nil, true)
	for s != nil {
		c.publish(s, false)
		err := c.serve(life, s)
		c.publish(nil, false)
		s.close()
		if life.Err() == nil {
			c.opts.Log.Warn("connection to systemd lost", "err", err)
		}
		s = c.reconnect(life)
	}
}

// reconnect tries until it has a session or life ends (then nil).
func (c *Conn) reconnect(life context.Context) *session {
	pause := c.opts.RetryMin
	for attempt := 1; life.Err() == nil; attempt++ {
		ctx, cancel := context.WithTimeout(life, c.opts.CallTimeout)
		s, err := c.connect(ctx, life)
		cancel()
		if err == nil {
			c.opts.Log.Info("connected to systemd again", "attempts", attempt)
			return s
		}
		timer := time.NewTimer(pause)
		select {
		case <-life.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		pause = min(2*pause, c.opts.RetryMax)
	}
	return nil
}

// publish makes s the session that calls use and wakes who waits for one.
func (c *Conn) publish(s *session, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cur, c.closed = s, closed
	close(c.change)
	c.change = make(chan struct{})
}

// session returns the current session, waiting for one while the bus is away.
func (c *Conn) session(ctx context.Context) (*session, error) {
	for {
		c.mu.Lock()
		s, closed, change := c.cur, c.closed, c.change
		c.mu.Unlock()
		switch {
		case closed:
			return nil, ErrClosed
		case s != nil && s.connected():
			return s, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the bus: %w", ctx.Err())
		}
	}
}

// session is one pair of connections to the bus.
type session struct {
	systemd *sddbus.Conn
	calls   *dbus.Conn // also inside systemd; kept to see when it ends
	events  *dbus.Conn // likewise; our match rules are on this one
	signals chan *dbus.Signal
	matched map[dbus.ObjectPath]bool // units whose signals we asked for; of the owner only
	end     context.CancelFunc
}

// connect makes a session. The connections' life is life's; ctx only bounds the
// making.
//
// go-systemd's own subscription is not used: it asks for the signals of every
// unit on the machine, and its setters race with its dispatcher.
func (c *Conn) connect(ctx, life context.Context) (*session, error) {
	life, end := context.WithCancel(life)
	giveUp := context.AfterFunc(ctx, end) // closes a connection that hangs in its handshake
	s := &session{signals: make(chan *dbus.Signal, 64), matched: map[dbus.ObjectPath]bool{}, end: end}
	var err error
	s.systemd, err = sddbus.NewConnection(func() (*dbus.Conn, error) {
		conn, err := c.opts.Connect(life)
		s.calls, s.events = s.events, conn // called twice: first for calls, then for signals
		return conn, err
	})
	if err == nil {
		s.events.Signal(s.signals)
		err = s.subscribe(ctx)
	}
	if !giveUp() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		end()
		if s.systemd != nil {
			s.systemd.Close()
		}
		return nil, err
	}
	return s, nil
}

func (s *session) connected() bool { return s.calls.Connected() && s.events.Connected() }

func (s *session) close() {
	s.systemd.Close()
	s.end()
}
