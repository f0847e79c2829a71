package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quorumd/quorumd/units"
)

// loaded is what systemd has loaded for etcd's unit.
type loaded struct {
	service units.Service
	err     error
}

func (l *loaded) Service(context.Context, string) (units.Service, error) { return l.service, l.err }

func TestEtcdVersion(t *testing.T) {
	dir := t.TempDir()
	// What runs is a script; what it prints is etcd's own text.
	program := func(name, text string) string {
		path := filepath.Join(dir, name, "etcd")
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := filepath.Join(dir, "environment")
	if err := os.WriteFile(file, []byte("# of an image\nETCD_IMAGE_TAG=\"v3.6.4\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const wrapper, podman = "/usr/lib/flatcar/etcd-wrapper", "/usr/bin/podman"
	good := program("good", `[ "$ETCD_NAME$1" = --version ] && printf 'etcd Version: 3.6.16\nGit SHA: 3.9.9\nGo Version: go1.26.0\n'`)
	t.Setenv("ETCD_NAME", "not for the program")
	for _, c := range []struct {
		name    string
		command []string
		unit    loaded
		want    string // a version, or, with a space in it, words of the error
	}{
		{name: "etcd itself", unit: loaded{service: units.Service{Path: good, Environment: []string{"ETCD_IMAGE_TAG=v3.5.0"}}}, want: "3.6.16"},
		{name: "Flatcar", unit: loaded{service: units.Service{Path: wrapper, Environment: []string{"ETCD_IMAGE_TAG=v3.5.16", "ETCD_IMAGE_TAG=v3.6.16-arm64"}}}, want: "3.6.16"},
		{name: "Flatcar, all of the reference", unit: loaded{service: units.Service{Path: wrapper, Environment: []string{"ETCD_IMAGE_TAG=v3.5.16", "ETCD_IMAGE=registry:5000/etcd:v3.7.3@sha256:0"}}}, want: "3.7.3"},
		{name: "a file counts more", unit: loaded{service: units.Service{Path: wrapper, Environment: []string{"ETCD_IMAGE_TAG=v3.5.16"}, EnvironmentFiles: []string{filepath.Join(dir, "none"), file}}}, want: "3.6.4"},
		{name: "a quadlet", unit: loaded{service: units.Service{Path: podman, Args: []string{"run", "--name", "etcd", "--env=ETCD_*", "quay.io/coreos/etcd:v3.7.3"}}}, want: "3.7.3"},
		{name: "a tag that moves", unit: loaded{service: units.Service{Path: podman, Args: []string{"run", "quay.io/coreos/etcd:latest"}}}, want: `whose tag is "latest"`},
		{name: "a wrapper of one's own", unit: loaded{service: units.Service{Path: "/opt/bin/start-etcd"}}, want: "etcd.version_command can"},
		{name: "no such unit", unit: loaded{err: units.ErrNoUnit}, want: "no such unit"},
		{name: "no such program", unit: loaded{service: units.Service{Path: filepath.Join(dir, "none", "etcd")}}, want: "no such file"},
		{name: "a program that prints something else", unit: loaded{service: units.Service{Path: program("bad", "echo hello")}}, want: "printed none"},
		{name: "a program that fails", unit: loaded{service: units.Service{Path: program("failing", "exit 3")}}, want: "exit status 3"},
		{name: "a command", command: []string{"/bin/sh", "-c", "echo v3.6.1"}, unit: loaded{service: units.Service{Path: good}}, want: "3.6.1"},
	} {
		e := &etcdVersion{unit: "etcd.service", command: c.command, services: &c.unit}
		got, err := e.Version(t.Context())
		if strings.Contains(c.want, " ") {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %q, %v; want an error with %q", c.name, got, err, c.want)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; want %s", c.name, got, err, c.want)
		}
	}

	// A program is asked again only when it is another.
	count := filepath.Join(dir, "count")
	path := program("counting", "echo x >>"+count+"; echo etcd Version: 3.6.1")
	e := &etcdVersion{unit: "etcd.service", services: &loaded{service: units.Service{Path: path}}}
	for i, want := range []string{"3.6.1", "3.6.1", "3.7.10"} {
		if i == 2 {
			program("counting", "echo x >>"+count+"; echo etcd Version: 3.7.10")
		}
		if got, err := e.Version(t.Context()); err != nil || got != want {
			t.Errorf("look %d: %q, %v", i, got, err)
		}
	}
	if text, err := os.ReadFile(count); err != nil || len(text) != 4 {
		t.Errorf("asked %d times: %v", len(text)/2, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&etcdVersion{command: []string{"/bin/sleep", "60"}}).Version(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with its context over: %v", err)
	}
}
