// Command size fails when a file is larger than it may be:
//
//	go run ./test/size FILE MAX
//
// It guards the agent's binary. One SDK client that becomes an interface value
// makes the linker keep every operation of its service, which doubles the binary
// and is noticed nowhere else.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintln(stderr, "usage: size FILE MAX")
		return 2
	}
	most, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || most < 0 {
		fmt.Fprintf(stderr, "size: %q is no number of bytes\n", args[1])
		return 2
	}
	info, err := os.Stat(args[0])
	if err != nil {
		fmt.Fprintf(stderr, "size: %v\n", err)
		return 1
	}
	if info.Size() > most {
		fmt.Fprintf(stderr, "size: %s has %d bytes, %d more than the %d it may have\n", args[0], info.Size(), info.Size()-most, most)
		return 1
	}
	fmt.Fprintf(stdout, "%s: %d bytes, %d allowed\n", args[0], info.Size(), most)
	return 0
}
