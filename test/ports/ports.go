//go:build unix

// Package ports gives tests addresses and ports that nobody else takes, and frees ports.
//
// A listener that is closed may listen on: a process that another goroutine starts at
// that moment has a copy of its socket from fork until the kernel closes it in exec,
// which is after Go believes that the process has begun. Whoever listens there next
// gets "address already in use", as rarely as processes are started.
package ports

import (
	"errors"
	"net"
	"syscall"
)

// Free closes a TCP listener and all copies of it, so that its port is free when Free
// returns. Connections that it has accepted live on.
func Free(ln net.Listener) error {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return errors.Join(errors.New("free a port: no TCP listener"), ln.Close())
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	var ended error
	err = raw.Control(func(fd uintptr) { ended = syscall.Shutdown(int(fd), syscall.SHUT_RDWR) })
	return errors.Join(err, ended, ln.Close())
}
