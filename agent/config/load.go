package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// maxFile is the size beyond which a file is not a configuration of ours.
const maxFile = 1 << 20

// Load reads the configuration from path, then applies the QUORUMD_ variables of
// environ (os.Environ's form) over it. An empty path means what QUORUMD_CONFIG
// names, else [DefaultPath]. A missing file is an error except at DefaultPath.
//
// The error is an [Errors] whenever the configuration is at fault; any other
// error means that the file could not be read. Either way nothing but the error
// is to be used.
func Load(path string, environ []string) (Config, Provenance, error) {
	path = Path(path, environ)
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && path == DefaultPath:
		data = nil
	case err != nil:
		return Config{}, nil, fmt.Errorf("read configuration: %w", err)
	case len(data) > maxFile:
		return Config{}, nil, Errors{{Origin: Origin{File: path}, Problem: fmt.Sprintf("has %d bytes, allowed: at most %d", len(data), maxFile)}}
	}
	return Parse(path, data, environ)
}

// Path is the file that Load reads for these arguments.
func Path(path string, environ []string) string {
	if path != "" {
		return path
	}
	for _, e := range slices.Backward(environ) {
		if v, ok := strings.CutPrefix(e, EnvConfig+"="); ok && v != "" {
			return v
		}
	}
	return DefaultPath
}

// Parse is Load on content that was already read; file is its name in messages.
func Parse(file string, data []byte, environ []string) (Config, Provenance, error) {
	c := Default()
	l := newLoader(&c, file)
	l.yaml(data)
	l.environ(environ)
	l.combinations(c)
	if len(l.errs) > 0 {
		return Config{}, nil, l.errs
	}
	return c, l.from, nil
}

// loader fills one Config and collects what is wrong.
type loader struct {
	file     string
	fields   map[string]field
	sections map[string]bool
	names    []string // of all fields and sections
	defaults map[string]string
	from     Provenance
	failed   map[string]bool // keys whose value was refused
	errs     Errors
}

func newLoader(c *Config, file string) *loader {
	fs := fields(c)
	l := &loader{
		file:     file,
		fields:   map[string]field{},
		sections: sections(fs),
		from:     Provenance{},
		defaults: map[string]string{},
		failed:   map[string]bool{},
	}
	for _, f := range fs {
		l.fields[f.key] = f
		l.from[f.key] = Origin{}
		l.defaults[f.key] = f.val.String()
		l.names = append(l.names, f.key)
	}
	for s := range l.sections {
		l.names = append(l.names, s)
	}
	slices.Sort(l.names)
	return l
}

func (l *loader) fail(at Origin, key, format string, args ...any) {
	if key != "" {
		l.failed[key] = true
	}
	l.errs = append(l.errs, Error{Origin: at, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// environ applies the variables. Like the shell's, the last of two wins.
func (l *loader) environ(environ []string) {
	byEnv := map[string]field{}
	var names []string
	for _, f := range l.fields {
		byEnv[f.env()] = f
		names = append(names, f.env())
	}
	slices.Sort(names)
	given := map[string]string{}
	for _, e := range environ {
		if name, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, envPrefix) && name != EnvConfig {
			given[name] = v
		}
	}
	order := make([]string, 0, len(given))
	for name := range given {
		order = append(order, name)
	}
	slices.Sort(order)
	for _, name := range order {
		at := Origin{Env: name}
		f, ok := byEnv[name]
		if !ok {
			l.fail(at, "", "no key has this variable, allowed: %s and a key in upper case%s", envPrefix, didYouMean(name, names))
			continue
		}
		if err := f.val.fromText(given[name]); err != nil {
			l.fail(at, f.key, "%v", err)
			continue
		}
		l.from[f.key] = at
	}
}
