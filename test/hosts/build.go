//go:build linux

package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the programs that every host of a fleet runs.
type Binaries struct{ Quorumd, Etcd, Etcdctl string }

// Build finds or makes etcd of a minor version ("3.6") and the agent; with quorumd
// given, that one, else this checkout's. Minutes the first time, a second later; it
// says on progress what takes long. It needs the checkout: the working directory must be in it.
func Build(ctx context.Context, etcd, quorumd string, progress io.Writer) (Binaries, error) {
	repo, err := Repo()
	if err != nil {
		return Binaries{}, err
	}
	if quorumd == "" {
		quorumd, err = BuildAgent(ctx, repo, progress)
	} else if quorumd, err = filepath.Abs(quorumd); err == nil {
		_, err = os.Stat(quorumd)
	}
	if err != nil {
		return Binaries{}, fmt.Errorf("find the agent: %w", err)
	}
	dir, err := BuildEtcd(ctx, etcd, progress)
	return Binaries{Quorumd: quorumd, Etcd: filepath.Join(dir, "etcd"), Etcdctl: filepath.Join(dir, "etcdctl")}, err
}

// BuildEtcd finds or makes etcd of a minor version, and gives the directory of its
// programs.
func BuildEtcd(ctx context.Context, version string, progress io.Writer) (dir string, err error) {
	repo, err := Repo()
	if err != nil {
		return "", err
	}
	script := exec.CommandContext(ctx, filepath.Join(repo, "test/etcd/build.sh"), version)
	script.Stderr = progress
	out, err := script.Output()
	if err != nil {
		return "", fmt.Errorf("build etcd %s: %w", version, err)
	}
	return string(bytes.TrimSpace(out)), nil
}

// BuildAgent builds the agent as it is released: static and stripped.
func BuildAgent(ctx context.Context, repo string, progress io.Writer) (string, error) {
	out := filepath.Join(repo, ".cache/hosts/bin/quorumd")
	if _, err := os.Stat(out); err != nil {
		fmt.Fprintln(progress, "quorumd: building (a minute, once)")
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./cmd/quorumd")
	cmd.Dir = repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w\n%s", err, text)
	}
	return out, nil
}

// Repo is the checkout that the working directory is in.
func Repo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module github.com/quorumd/quorumd\n")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the working directory is not in a checkout of github.com/quorumd/quorumd")
		}
		dir = filepath.Dir(dir)
	}
}
