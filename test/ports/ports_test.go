//go:build linux

package ports

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// The test binary is also the process that is started and ends at once.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "end" {
		return
	}
	os.Exit(m.Run())
}

// TestFree listens at one address again and again while processes are started. With
// Close in place of Free most of it fails.
func TestFree(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var starters sync.WaitGroup
	defer starters.Wait()
	defer close(stop)
	for range 3 {
		starters.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = exec.Command(self, "end").Run() // that it is started is all
				}
			}
		})
	}
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr().String()
	for n, ln := 0, first; n < 1000; n++ {
		if err := Free(ln); err != nil {
			t.Fatal(err)
		}
		if ln, err = net.Listen("tcp", addr); err != nil {
			t.Fatalf("the %d. time: %v", n+1, err)
		}
		if n == 999 {
			ln.Close()
		}
	}
}

// TestTake: no two hold the same subnet.
func TestTake(t *testing.T) {
	held := map[string]bool{}
	for range 300 {
		n, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		defer n.Return()
		if held[n.String()] {
			t.Fatalf("%s was taken twice", n)
		}
		held[n.String()] = true
	}
}

// TestPortsOfAll: a port that something has at all addresses is nobody else's.
func TestPortsOfAll(t *testing.T) {
	n, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Return()
	all, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if n.Listenable(all.Addr().(*net.TCPAddr).Port) {
		t.Error("a port on which something listens at all addresses is said to be free")
	}
	ports, err := n.Ports(3)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range ports {
		ln, err := net.Listen("tcp", netip.AddrPortFrom(n.Addr(11), uint16(port)).String())
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
	}
}
