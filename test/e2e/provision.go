//go:build e2e && linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/quorumd/quorumd/test/lab"
	"github.com/quorumd/quorumd/units"
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
	out := filepath.Join(lab.Repo(), ".cache/e2e/bin/quorumd")
	cmd := exec.Command("go", "build", "-o", out, "./cmd/quorumd")
	cmd.Dir = lab.Repo()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // /opt/bin is on hosts without our libc
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w\n%s", err, text)
	}
	return out, nil
})

const unitDir = "/etc/systemd/system/"

// provision puts onto a new host what user-data would: binaries, the units that
// we ship, the guard, the agent's configuration. Only the address of AWS differs.
func (f *Fleet) provision(h *lab.Host) error {
	h.Bind(f.bin.quorumd, "/opt/bin/quorumd")
	h.Bind(f.bin.etcd, "/opt/bin/etcd")
	h.Bind(f.bin.etcdctl, "/opt/bin/etcdctl")
	for path, name := range map[string]string{
		unitDir + "quorumd.service":                             "quorumd.service",
		unitDir + "etcd-member.service":                         "etcd-member.service",
		unitDir + "etcd-member.service.d/10-quorumd-guard.conf": "10-quorumd-guard.conf",
		"/etc/sysusers.d/etcd.conf":                             "sysusers-etcd.conf",
	} {
		data, err := units.File(name)
		if err != nil {
			return err
		}
		if err := h.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	for path, text := range map[string]string{
		unitDir + "quorumd.service.d/50-lab.conf": "[Service]\nEnvironment=AWS_ENDPOINT_URL=http://" + awsURL + "\n",
		"/etc/quorumd/quorumd.yaml":               "log: {level: debug}\n" + f.cfg.Agent,
	} {
		if err := h.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, unit := range []string{"etcd-member.service", "quorumd.service"} {
		if err := h.Enable(unit); err != nil {
			return err
		}
	}
	if f.cfg.Provision != nil {
		return f.cfg.Provision(h)
	}
	return nil
}
