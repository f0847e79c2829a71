package fakesystemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/godbus/dbus/v5"
)

const (
	busName     = "org.freedesktop.DBus"
	systemdName = "org.freedesktop.systemd1" // the well-known name
	systemdID   = ":1.0"                     // and the unique one behind it
)

// outQueue is how many messages may wait for a client that does not read. More
// and it is cut off, as a bus daemon does at its quota.
const outQueue = 4096

// bus is the message bus and the one service on it in one. It can be stopped and
// started again.
type bus struct {
	host  *Host
	guid  string
	conns sync.WaitGroup // goroutines of the listener and the connections

	mu      sync.Mutex
	ln      net.Listener
	clients map[*client]struct{}
	lastID  int
}

// client is one connection.
type client struct {
	bus   *bus
	conn  *net.UnixConn
	name  string // ":1.7"
	out   chan []byte
	gone  chan struct{} // closed by drop
	rules []rule        // guarded by bus.mu, like subscribed
	// subscribed is set by org.freedesktop.systemd1.Manager.Subscribe.
	subscribed bool
	serial     uint32 // of the last message sent; guarded by bus.mu
}

func newBus(h *Host) *bus {
	return &bus{host: h, guid: randomHex(), clients: map[*client]struct{}{}}
}

func (b *bus) start() error {
	path := b.host.socketPath()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ln != nil {
		return errors.New("start bus: it runs already")
	}
	// A socket file left by a killed process is nobody's: the directory is ours.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("start bus: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("start bus (the path may have 107 bytes, it has %d): %w", len(path), err)
	}
	b.ln = ln
	b.conns.Go(func() { b.accept(ln) })
	return nil
}

func (b *bus) stop() {
	b.mu.Lock()
	if b.ln != nil {
		b.ln.Close()
		b.ln = nil
	}
	for c := range b.clients {
		b.drop(c)
	}
	b.mu.Unlock()
	b.conns.Wait()
}

func (b *bus) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.ln != ln { // stopped meanwhile
			b.mu.Unlock()
			conn.Close()
			return
		}
		b.lastID++
		c := &client{bus: b, conn: conn.(*net.UnixConn), name: ":1." + strconv.Itoa(b.lastID),
			out: make(chan []byte, outQueue), gone: make(chan struct{})}
		b.clients[c] = struct{}{}
		b.conns.Go(func() { c.serve() })
		b.mu.Unlock()
	}
}

// drop ends a connection. b.mu is held.
func (b *bus) drop(c *client) {
	if _, ok := b.clients[c]; ok {
		delete(b.clients, c)
		close(c.gone)
		c.conn.Close()
	}
}

// serve reads the client's calls and answers them, one after another.
func (c *client) serve() {
	defer func() {
		c.bus.mu.Lock()
		c.bus.drop(c)
		c.bus.mu.Unlock()
	}()
	in := bufio.NewReader(c.conn)
	if err := handshake(c.conn, in, c.bus.guid); err != nil {
		c.bus.host.log.Debug("client did not authenticate", "client", c.name, "err", err)
		return
	}
	c.bus.conns.Go(c.write)
	for {
		msg, err := dbus.DecodeMessage(in)
		if err != nil {
			return
		}
		if msg.Type == dbus.TypeMethodCall {
			c.answer(msg)
		}
	}
}

// write sends what waits in out.
func (c *client) write() {
	for {
		select {
		case data := <-c.out:
			if _, err := c.conn.Write(data); err != nil {
				c.conn.Close() // the reader notices
				return
			}
		case <-c.gone:
			return
		}
	}
}

// answer runs one method call and sends its reply.
func (c *client) answer(msg *dbus.Message) {
	call := methodCall{client: c, body: msg.Body}
	call.path, _ = msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	call.iface, _ = msg.Headers[dbus.FieldInterface].Value().(string)
	call.member, _ = msg.Headers[dbus.FieldMember].Value().(string)
	call.to, _ = msg.Headers[dbus.FieldDestination].Value().(string)
	body, derr := call.run()
	if msg.Flags&dbus.FlagNoReplyExpected == 0 {
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(msg.Serial()),
			dbus.FieldDestination: dbus.MakeVariant(c.name),
			dbus.FieldSender:      dbus.MakeVariant(call.sender()),
		}}
		if derr != nil {
			reply.Type, reply.Body = dbus.TypeError, derr.Body
			reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(derr.Name)
		}
		c.bus.mu.Lock()
		c.send(reply)
		c.bus.mu.Unlock()
	}
	if call.after != nil {
		call.after()
	}
}

// send queues msg. bus.mu is held, which also keeps the order of serials.
func (c *client) send(msg *dbus.Message) {
	if len(msg.Body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(msg.Body...))
	}
	msg.Flags |= dbus.FlagNoReplyExpected // nothing the bus sends is a call
	var buf bytes.Buffer
	if err := msg.EncodeTo(&buf, binary.LittleEndian); err != nil {
		c.bus.host.log.Error("message cannot be encoded", "err", err)
		c.bus.drop(c)
		return
	}
	// godbus sets serials only in its own connections, so write it into the
	// fixed part of the header: byte order, type, flags, version, length, serial.
	c.serial++
	binary.LittleEndian.PutUint32(buf.Bytes()[8:], c.serial)
	select {
	case c.out <- buf.Bytes():
	default:
		c.bus.drop(c)
	}
}

// signal is one signal from systemd.
type signal struct {
	path          dbus.ObjectPath
	iface, member string
	body          []any
}

// emit sends a signal to every client with a matching rule, if any client asked
// systemd for signals.
func (b *bus) emit(s signal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.host.off.Err() != nil {
		return // a machine without power says nothing
	}
	wanted := false
	for c := range b.clients {
		wanted = wanted || c.subscribed
	}
	if wanted {
		b.deliver(s, systemdName, systemdID)
	}
}

// deliver sends a signal of a sender with these names, the unique one last. b.mu is
// held.
func (b *bus) deliver(s signal, names ...string) {
	for c := range b.clients {
		for _, r := range c.rules {
			if r.matchesFrom(s, names...) {
				c.sendSignal(s, names[len(names)-1])
				break
			}
		}
	}
}

func (c *client) sendSignal(s signal, sender string) {
	c.send(&dbus.Message{Type: dbus.TypeSignal, Body: s.body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(s.path),
		dbus.FieldInterface: dbus.MakeVariant(s.iface),
		dbus.FieldMember:    dbus.MakeVariant(s.member),
		dbus.FieldSender:    dbus.MakeVariant(sender),
	}})
}

// peerUID asks the kernel who is at the other end.
func peerUID(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, cerr); err != nil {
		return 0, fmt.Errorf("read peer credentials: %w", err)
	}
	return cred.Uid, nil
}
