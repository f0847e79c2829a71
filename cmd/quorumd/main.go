// Command quorumd runs beside etcd on every node of an EC2 auto scaling group and
// makes the cluster live safely in it.
//
// `quorumd agent` is the daemon; the other commands ask it or the configuration.
// `quorumd help` is the manual of the commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Set by the linker; see version.go.
var version, revision string

func main() { os.Exit(mainCode()) }

// mainCode is main up to the exit, so that deferred work is done.
func mainCode() int {
	// A stop by systemd and Ctrl-C end the context, and with it everything.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, os.Args[1:], os.Environ(), newUI(os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
