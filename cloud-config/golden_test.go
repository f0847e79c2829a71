package cloudconfig_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	cloudconfig "github.com/quorumd/quorumd/cloud-config"
)

var update = flag.Bool("update", false, "write testdata anew from what is rendered now")

const (
	agentSum = "1111111111111111111111111111111111111111111111111111111111111111"
	etcdSum  = "2222222222222222222222222222222222222222222222222222222222222222"
)

// configured is a configuration that differs where it shows.
const configured = `# etcd of the payments team; 100% theirs: "quoted", $HOME and 'so'
cluster: payments
etcd:
  data_dir: /var/lib/payments/etcd
  client_port: 12379
lifecycle: {launch_hook: up, terminate_hook: down}
state_dir: /var/lib/payments-agent
`

// worker is a configuration of one, which runs no etcd.
const worker = `role: worker
etcd: {members_tag: "quorumd:cluster-id=cdf818194e3a8c32"}
reboot:
  group: web.blue
  windows:
  - {days: [mon-fri], start: "23:00", length: 4h, time_zone: Europe/Berlin}
`

func download() cloudconfig.Download {
	return cloudconfig.Download{URL: "https://downloads.example.com/quorumd-1.0?os=linux&arch=amd64", SHA256: agentSum}
}

type golden struct {
	file    string
	format  cloudconfig.Format
	options cloudconfig.Options
}

// goldens are what testdata holds; test/ignition reads the same files.
func goldens() []golden {
	agent := cloudconfig.Options{Binary: download()}
	mine := cloudconfig.Options{Binary: download(), Config: []byte(configured), EtcdVersion: "3.7.3"}
	generic := cloudconfig.Options{Binary: download(), Etcd: cloudconfig.Download{
		URL: "https://github.com/etcd-io/etcd/releases/download/v3.6.16/etcd-v3.6.16-linux-amd64.tar.gz", SHA256: etcdSum}}
	present := cloudconfig.Options{Binary: cloudconfig.Download{Present: true}, Etcd: cloudconfig.Download{Present: true}, Config: []byte(configured)}
	web := cloudconfig.Options{Binary: download(), Config: []byte(worker)}
	return []golden{
		{"flatcar-worker.bu", cloudconfig.Butane, web},
		{"flatcar-worker.ign", cloudconfig.Ignition, web},
		{"fcos-worker.bu", cloudconfig.FCOSButane, web},
		{"fcos-worker.ign", cloudconfig.FCOS, web},
		{"cloud-init-worker.yaml", cloudconfig.CloudInit, web},
		{"flatcar.bu", cloudconfig.Butane, agent},
		{"flatcar.ign", cloudconfig.Ignition, agent},
		{"flatcar-configured.bu", cloudconfig.Butane, mine},
		{"flatcar-configured.ign", cloudconfig.Ignition, mine},
		{"flatcar-classic.yaml", cloudconfig.CloudConfig, agent},
		{"fcos.bu", cloudconfig.FCOSButane, agent},
		{"fcos.ign", cloudconfig.FCOS, agent},
		{"fcos-configured.bu", cloudconfig.FCOSButane, mine},
		{"fcos-configured.ign", cloudconfig.FCOS, mine},
		{"cloud-init.yaml", cloudconfig.CloudInit, generic},
		{"cloud-init-present.yaml", cloudconfig.CloudInit, present},
		{"iam.json", cloudconfig.IAM, cloudconfig.Options{Group: "payments", Region: "eu-central-1", Account: "123456789012"}},
		{"iam-anywhere.json", cloudconfig.IAM, cloudconfig.Options{Group: "payments"}},
		{"cloudformation.yaml", cloudconfig.CloudFormation, agent},
		{"cloudformation-cloud-init.yaml", cloudconfig.CloudFormation, cloudconfig.Options{
			Binary: present.Binary, Etcd: present.Etcd, Config: present.Config, UserData: cloudconfig.CloudInit}},
	}
}

func (g golden) render(t *testing.T) string {
	t.Helper()
	out, err := cloudconfig.Render(g.format, g.options)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestGolden(t *testing.T) {
	for _, g := range goldens() {
		t.Run(g.file, func(t *testing.T) {
			got := g.render(t)
			path := filepath.Join("testdata", g.file)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("go test ./cloud-config -update writes it anew (-want +got):\n%s", d)
			}
		})
	}
}

// Every file of testdata is made by a case; what is left over would be checked
// elsewhere as if it were current.
func TestNoStrayGolden(t *testing.T) {
	made := map[string]bool{}
	for _, g := range goldens() {
		made[g.file] = true
	}
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !made[e.Name()] {
			t.Errorf("no case makes testdata/%s", e.Name())
		}
	}
}
