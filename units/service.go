package units

import (
	"context"
	"errors"
	"fmt"
)

// Service is what a service starts, as systemd has it loaded: the unit file with all
// its drop-ins.
type Service struct {
	// Path is the program of ExecStart=, Args its arguments without its own name. Both
	// are empty where the unit has no ExecStart=.
	Path string
	Args []string
	// Environment holds the assignments of Environment=, the last of a name counts.
	Environment []string
	// EnvironmentFiles are the files of EnvironmentFile=, in order; what is in them
	// counts more than Environment.
	EnvironmentFiles []string
}

// ErrNoUnit: systemd knows no unit of that name.
var ErrNoUnit = errors.New("there is no such unit")

// Service reads what unit starts. A unit that does not exist is ErrNoUnit.
func (c *Conn) Service(ctx context.Context, unit string) (Service, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.CallTimeout)
	defer cancel()
	s, err := c.session(ctx)
	if err != nil {
		return Service{}, fmt.Errorf("read what %s starts: %w", unit, err)
	}
	props, err := s.systemd.GetAllPropertiesContext(ctx, unit)
	if load, _ := props["LoadState"].(string); isNoSuchUnit(err) || err == nil && load == LoadStateNotFound {
		err = ErrNoUnit
	}
	if err != nil {
		return Service{}, fmt.Errorf("read what %s starts: %w", unit, err)
	}
	return parseService(props), nil
}

// parseService picks a Service out of D-Bus properties: ExecStart is a(sasbttttuii),
// path and argument vector first, EnvironmentFiles a(sb).
func parseService(props map[string]any) (out Service) {
	if runs, ok := props["ExecStart"].([][]any); ok && len(runs) > 0 && len(runs[0]) > 1 {
		out.Path, _ = runs[0][0].(string)
		if argv, ok := runs[0][1].([]string); ok && len(argv) > 0 {
			out.Args = argv[1:]
		}
	}
	out.Environment, _ = props["Environment"].([]string)
	files, _ := props["EnvironmentFiles"].([][]any)
	for _, f := range files {
		if len(f) == 0 {
			continue
		}
		if path, ok := f[0].(string); ok {
			out.EnvironmentFiles = append(out.EnvironmentFiles, path)
		}
	}
	return out
}
