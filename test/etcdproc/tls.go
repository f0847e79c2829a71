package etcdproc

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/quorumd/quorumd/test/testca"
)

// CA is a certificate authority for one test.
type CA struct {
	*testca.CA
	// File is its certificate, in PEM.
	File string

	tb  testing.TB
	dir string
}

// NewCA makes a certificate authority.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	authority, err := testca.New("test ca")
	if err != nil {
		tb.Fatal(err)
	}
	ca := &CA{CA: authority, tb: tb, dir: tb.TempDir()}
	ca.File = filepath.Join(ca.dir, "ca.pem")
	write(tb, ca.File, authority.PEM)
	return ca
}

// Issue writes a certificate for server and client use, and its key, valid for
// these IP addresses; none: IPs.
func (ca *CA) Issue(name string, ips ...net.IP) (certFile, keyFile string) {
	ca.tb.Helper()
	if len(ips) == 0 {
		ips = IPs(ca.tb)
	}
	return ca.IssueLeaf(testca.Leaf{Name: name, IPs: ips})
}

// IssueLeaf writes a certificate and its key, as the leaf says.
func (ca *CA) IssueLeaf(l testca.Leaf) (certFile, keyFile string) {
	ca.tb.Helper()
	cert, key, err := ca.CA.Issue(l)
	if err != nil {
		ca.tb.Fatal(err)
	}
	certFile, keyFile = filepath.Join(ca.dir, l.Name+".pem"), filepath.Join(ca.dir, l.Name+".key")
	write(ca.tb, certFile, cert)
	write(ca.tb, keyFile, key)
	return certFile, keyFile
}

func write(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
