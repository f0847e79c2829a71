package cloudconfig_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorumd/quorumd/agent/config"
	cloudconfig "github.com/quorumd/quorumd/cloud-config"
)

func TestMistakes(t *testing.T) {
	good := download()
	with := func(change func(o *cloudconfig.Options)) cloudconfig.Options {
		o := cloudconfig.Options{Binary: good}
		change(&o)
		return o
	}
	from := func(url, sum string) cloudconfig.Options {
		return cloudconfig.Options{Binary: cloudconfig.Download{URL: url, SHA256: sum}}
	}
	tests := []struct {
		name    string
		format  cloudconfig.Format
		options cloudconfig.Options
		want    string // each line of it in the error
	}{
		{"format", "ignitoin", cloudconfig.Options{}, `format "ignitoin" is unknown, allowed: butane, ignition`},
		{"nothing", cloudconfig.Ignition, cloudconfig.Options{}, "--binary-url is missing"},
		{"http without sum", cloudconfig.Ignition, from("http://a/b", ""), "--binary-sha256 is missing"},
		{"https without sum", cloudconfig.Butane, from("https://a/b", ""), "--binary-sha256 is missing"},
		{"short sum", cloudconfig.Ignition, from("https://a/b", "abc"), `--binary-sha256 "abc" is no SHA-256`},
		{"upper case", cloudconfig.FCOS, from("https://a/b", strings.Repeat("A", 64)), "in lower case"},
		{"file sum", cloudconfig.CloudConfig, from("file:///b", "abc"), "is no SHA-256"},
		{"file by ignition", cloudconfig.Ignition, from("file:///b", agentSum), "cannot be read by Ignition"},
		{"scheme", cloudconfig.Ignition, from("s3://a/b", agentSum), "is not supported, allowed: https://, http:// and file://"},
		{"no scheme", cloudconfig.Ignition, from("a/b", agentSum), "is not supported"},
		{"no host", cloudconfig.Ignition, from("https:///b", agentSum), "names no host"},
		{"file on a host", cloudconfig.CloudConfig, from("file://a/b", ""), "names no file"},
		{"password", cloudconfig.Ignition, from("https://u:p@a/b", agentSum), "holds a user name"},
		{"quote", cloudconfig.CloudConfig, from("https://a/b';reboot;'", agentSum), "is no URL"},
		{"newline", cloudconfig.CloudConfig, from("https://a/b\nc", agentSum), "is no URL"},
		{"present and not", cloudconfig.Ignition, with(func(o *cloudconfig.Options) { o.Binary.Present = true }), "--binary-present says that nothing is downloaded"},
		{"no etcd", cloudconfig.CloudInit, with(func(*cloudconfig.Options) {}), "--etcd-url is missing"},
		{"etcd for an image", cloudconfig.Ignition, with(func(o *cloudconfig.Options) { o.Etcd.Present = true }), "allowed: --etcd-version"},
		{"version for a binary", cloudconfig.CloudInit,
			with(func(o *cloudconfig.Options) { o.Etcd.Present = true; o.EtcdVersion = "3.6.16" }), "--etcd-version mean nothing to cloud-init"},
		{"version", cloudconfig.FCOS, with(func(o *cloudconfig.Options) { o.EtcdVersion = "v3.6" }), `--etcd-version "v3.6" is no version of etcd`},
		{"group", cloudconfig.Ignition, with(func(o *cloudconfig.Options) { o.Group, o.Account = "g", "1" }), "--account, --group mean nothing to ignition"},
		{"user-data", cloudconfig.Ignition, with(func(o *cloudconfig.Options) { o.UserData = "fcos" }), "--user-data mean nothing to ignition"},
		{"user-data format", cloudconfig.CloudFormation, with(func(o *cloudconfig.Options) { o.UserData = "butane" }), `--user-data "butane" is no format of user-data`},
		{"template's etcd", cloudconfig.CloudFormation, with(func(o *cloudconfig.Options) { o.UserData = "cloud-init" }), "--etcd-url is missing"},
		{"iam group", cloudconfig.IAM, cloudconfig.Options{}, "--group is missing"},
		{"iam star", cloudconfig.IAM, cloudconfig.Options{Group: "*", Region: "Frankfurt", Account: "1"},
			"--group \"*\" is not valid\n--region \"Frankfurt\" is not valid\n--account \"1\" is not valid"},
		{"iam and more", cloudconfig.IAM, with(func(o *cloudconfig.Options) { o.Group = "g" }), "only --group, --region and --account"},
		{"configuration", cloudconfig.Ignition, with(func(o *cloudconfig.Options) { o.Config = []byte("a: b\n"); o.ConfigName = "my.yaml" }), "my.yaml:1: a: no such key"},
		{"directories", cloudconfig.Ignition,
			with(func(o *cloudconfig.Options) {
				o.Config = []byte("state_dir: /srv/x\netcd: {data_dir: /data/etcd}\nsystemd: {boot_id_file: /x}\n")
			}),
			"state_dir: \"/srv/x\" is not where\netcd.data_dir: \"/data/etcd\" is not where\nsystemd: is for tests"},
		{"a worker's etcd", cloudconfig.CloudInit,
			with(func(o *cloudconfig.Options) { o.Etcd.Present = true; o.Config = []byte(worker) }), "a worker runs no etcd"},
		{"a worker's etcd version", cloudconfig.FCOS,
			with(func(o *cloudconfig.Options) { o.EtcdVersion = "3.6.16"; o.Config = []byte(worker) }), "a worker runs no etcd"},
		{"a worker's template", cloudconfig.CloudFormation, with(func(o *cloudconfig.Options) { o.Config = []byte(worker) }), "makes a group of etcd members"},
		{"Flatcar's unit", cloudconfig.CloudConfig, with(func(o *cloudconfig.Options) { o.Config = []byte("etcd: {unit: etcd.service}\n") }), "Flatcar's own unit is etcd-member.service"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := cloudconfig.Render(tt.format, tt.options)
			if mistake := (cloudconfig.Error{}); !errors.As(err, &mistake) || out != nil {
				t.Fatalf("got %d bytes and %v, want an Error", len(out), err)
			}
			for line := range strings.SplitSeq(tt.want, "\n") {
				if !strings.Contains(err.Error(), line) {
					t.Errorf("got %q, want %q in it", err, line)
				}
			}
		})
	}
}

// The configuration's errors stay what they are, so that they are shown as such.
func TestConfigErrors(t *testing.T) {
	_, err := cloudconfig.Render(cloudconfig.Ignition, cloudconfig.Options{Binary: download(), Config: []byte("log: {level: x}\n")})
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) != 1 {
		t.Errorf("got %v", err)
	}
}

// Elsewhere than on Flatcar the unit may have another name, and keeps it everywhere.
func TestUnitName(t *testing.T) {
	o := cloudconfig.Options{Binary: cloudconfig.Download{Present: true}, Config: []byte("etcd: {unit: etcd.service}\n")}
	var paths []string
	for path := range fromIgnition(t, render(t, cloudconfig.FCOS, o)) {
		if strings.Contains(path, "etcd") && !strings.Contains(path, "quorumd.yaml") {
			paths = append(paths, path)
		}
	}
	want := map[string]bool{"/etc/containers/systemd/etcd.container": true, systemDir + "etcd.service.d/10-quorumd-guard.conf": true}
	got := map[string]bool{}
	for _, p := range paths {
		got[p] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
