//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// userData is the part of cloud-init's cloud-config that [Host.Apply] does.
type userData struct {
	WriteFiles []struct {
		Path        string
		Owner       string
		Permissions string
		Content     string
	} `yaml:"write_files"`
	RunCmd [][]string `yaml:"runcmd"`
}

// Apply does on a running host what cloud-init does with user-data at the first
// boot, in its order: write_files, then runcmd. Not cloud-init's own program: that
// takes longer than all the rest of a boot. So that nothing is left out in silence
// that cloud-init would do, any other key is an error, and so is a file of anyone
// but root.
func (h *Host) Apply(ctx context.Context, data []byte) error {
	if !bytes.HasPrefix(data, []byte("#cloud-config\n")) {
		return errors.New("user-data: its first line is not #cloud-config, cloud-init would ignore it")
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var doc userData
	if err := dec.Decode(&doc); err != nil {
		return fmt.Errorf("user-data: %w", err)
	}
	for _, f := range doc.WriteFiles {
		mode, err := strconv.ParseUint(f.Permissions, 8, 12)
		if err != nil || f.Owner != "root:root" {
			return fmt.Errorf("user-data: %s: owner %q, permissions %q", f.Path, f.Owner, f.Permissions)
		}
		if err := h.WriteFile(f.Path, []byte(f.Content), fs.FileMode(mode)); err != nil {
			return fmt.Errorf("user-data: %w", err)
		}
	}
	for _, argv := range doc.RunCmd {
		if _, err := h.Exec(ctx, argv...); err != nil {
			return fmt.Errorf("user-data: %w", err)
		}
	}
	return nil
}
