//go:build e2e && linux

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	cloudconfig "github.com/quorumd/quorumd/cloud-config"
	"github.com/quorumd/quorumd/test/lab"
)

// binaries that every host of a fleet gets, by their path on this machine.
type binaries struct{ quorumd, etcd, etcdctl string }

func build(ctx context.Context, etcdVersion string) (binaries, error) {
	etcd, err := lab.Etcd(ctx, etcdVersion)
	if err != nil {
		return binaries{}, err
	}
	quorumd, err := buildAgent()
	return binaries{quorumd, filepath.Join(etcd, "etcd"), filepath.Join(etcd, "etcdctl")}, err
}

// buildAgent builds the agent of this checkout, once a run: what is tested is
// what is there now, whatever lies in bin. QUORUMD_E2E_AGENT names another one,
// such as a release.
var buildAgent = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("QUORUMD_E2E_AGENT"); path != "" {
		return filepath.Abs(path)
	}
	return compile("./cmd/quorumd")
})

// compile builds a program of this checkout for hosts without our libc.
func compile(pkg string) (string, error) {
	out := filepath.Join(lab.Repo(), ".cache/e2e/bin", filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Dir = lab.Repo()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// userData is what a host of this fleet is given at launch, rendered as `quorumd
// cloud-config --format cloud-init` does. Machines download their binaries from a
// directory of their own image, and check them.
func (f *Fleet) userData() ([]byte, error) {
	agent, err := sum(f.bin.quorumd)
	if err != nil {
		return nil, err
	}
	etcd, err := sum(f.bin.etcd)
	if err != nil {
		return nil, err
	}
	return cloudconfig.Render(cloudconfig.CloudInit, cloudconfig.Options{
		Binary: cloudconfig.Download{URL: "file:///srv/quorumd", SHA256: agent},
		Etcd:   cloudconfig.Download{URL: "file:///srv/etcd", SHA256: etcd},
		Config: []byte("log: {level: debug}\n" + f.cfg.Agent),
	})
}

var sums sync.Map // path -> SHA-256 of a binary, which does not change during a run

func sum(path string) (string, error) {
	if s, ok := sums.Load(path); ok {
		return s.(string), nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	s := fmt.Sprintf("%x", sha256.Sum256(data))
	sums.Store(path, s)
	return s, nil
}

// image makes a new host's disk: what its image brings along, and where this lab's
// AWS is. All else comes by user-data.
func (f *Fleet) image(h *lab.Host) error {
	h.Bind(f.bin.quorumd, "/srv/quorumd")
	h.Bind(f.bin.etcd, "/srv/etcd")
	h.Bind(f.bin.etcdctl, "/opt/bin/etcdctl")
	if f.cfg.Provision != nil {
		if err := f.cfg.Provision(h); err != nil {
			return err
		}
	}
	// Hosts in namespaces share a kernel and so its firmware: theirs is in a directory.
	const firmware = "/srv/firmware"
	// A host's boot id is mounted over the kernel's, which a sandbox with a /proc of its
	// own sees again: as a file, all see the same.
	const boot = "/run/boot-id"
	dropIn := []byte("[Service]\nEnvironment=AWS_ENDPOINT_URL=http://" + awsURL +
		" QUORUMD_SYSTEMD_DMI_DIR=" + firmware + " QUORUMD_SYSTEMD_BOOT_ID_FILE=" + boot + "\n")
	for path, text := range map[string][]byte{
		"/etc/systemd/system/quorumd.service.d/50-lab.conf":     dropIn,
		"/etc/systemd/system/etcd-member.service.d/50-lab.conf": dropIn, // for the guard
		"/etc/systemd/system/lab-boot-id.service": []byte("[Unit]\nDefaultDependencies=no\nBefore=basic.target\n" +
			"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/cp /proc/sys/kernel/random/boot_id " + boot + "\n"),
		"/etc/systemd/system/basic.target.d/50-lab.conf": []byte("[Unit]\nRequires=lab-boot-id.service\nAfter=lab-boot-id.service\n"),
		firmware + "/board_asset_tag":                    []byte(h.Spec.Hostname + "\n"),
	} {
		if err := h.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
