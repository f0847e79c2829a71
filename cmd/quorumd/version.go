package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build identifies this binary.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

// thisBuild prefers what the linker was told (-X main.version, main.revision) to
// what the Go tool knows by itself.
func thisBuild() build {
	b := build{Version: version, Revision: revision, Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.Version = cmp.Or(b.Version, info.Main.Version)
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Revision = cmp.Or(b.Revision, s.Value)
			}
		}
	}
	b.Version = cmp.Or(b.Version, "(devel)")
	b.Revision = cmp.Or(b.Revision, "unknown")
	return b
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this binary",
		Example: "  quorumd version --output json",
		Args:    cobra.NoArgs,
	}
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = func(*cobra.Command, []string) error {
		b := thisBuild()
		if output.value == "json" {
			return a.ui.json(b)
		}
		_, err := fmt.Fprintf(a.ui.out, "quorumd %s (revision %s, %s)\n", b.Version, b.Revision, b.Go)
		return err
	}
	return cmd
}
