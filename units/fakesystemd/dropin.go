package fakesystemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/quorumd/quorumd/units"
)

// settings is what drop-ins may say of a unit.
type settings struct {
	env        []string // "K=V", later ones win
	conditions []condition
	check      []string // ExecCondition=, of which there may be one
	files      []string // the drop-ins read, in order
}

// condition is one ConditionPathExists=.
type condition struct {
	path   string
	negate bool // ConditionPathExists=!path
}

func (c condition) holds() bool {
	_, err := os.Stat(c.path)
	return (err == nil) != c.negate
}

// specifiers are the values of %m and its like.
type specifiers map[byte]string

// readDropIns reads the drop-ins of unit as systemd orders them: by file name,
// over all directories; of two with one name, the one in System wins.
func readDropIns(dirs units.Dirs, unit string, spec specifiers) (settings, error) {
	byName := map[string]string{}
	for _, root := range []string{dirs.Runtime, dirs.System} {
		entries, err := os.ReadDir(filepath.Join(root, unit+".d"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return settings{}, err
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") && !strings.HasPrefix(e.Name(), ".") {
				byName[e.Name()] = filepath.Join(root, unit+".d", e.Name())
			}
		}
	}
	var names []string
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	var s settings
	for _, name := range names {
		text, err := os.ReadFile(byName[name])
		if err != nil {
			return settings{}, err
		}
		if err := s.parse(string(text), spec); err != nil {
			return settings{}, fmt.Errorf("%s: %w", byName[name], err)
		}
		s.files = append(s.files, byName[name])
	}
	return s, nil
}

// parse adds the settings of one drop-in.
func (s *settings) parse(text string, spec specifiers) error {
	section := ""
	for i, line := range joinLines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
			continue
		case line[0] == '[' && line[len(line)-1] == ']':
			section = line[1 : len(line)-1]
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("line %d is no assignment: %q", i+1, line)
		}
		if err := s.set(section+"."+strings.TrimSpace(key), strings.TrimSpace(value), spec); err != nil {
			return fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return nil
}

func (s *settings) set(key, value string, spec specifiers) error {
	switch key {
	case "Service.Environment":
		return s.addEnv(value, spec)
	case "Service.ExecCondition":
		return s.setCheck(value, spec)
	case "Unit.ConditionPathExists":
		if value == "" {
			s.conditions = nil
			return nil
		}
		path, negate := strings.CutPrefix(value, "!")
		path, err := expand(path, spec)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(path) {
			return fmt.Errorf("condition on a relative path %q", path)
		}
		s.conditions = append(s.conditions, condition{path, negate})
		return nil
	case "Unit.Description", "Unit.Documentation", "Unit.Wants", "Unit.After":
		return nil // no effect on what this package does
	}
	return fmt.Errorf("unknown setting %s", key)
}

// setCheck takes a command as systemd does; "+" asks for root's rights, and there
// is only one user here.
func (s *settings) setCheck(value string, spec specifiers) (err error) {
	if s.check != nil && value != "" {
		return errors.New("more than one ExecCondition=")
	}
	if s.check, err = splitWords(strings.TrimPrefix(value, "+")); err != nil {
		return err
	}
	for i := range s.check {
		if s.check[i], err = expand(s.check[i], spec); err != nil {
			return err
		}
	}
	if len(s.check) > 0 && !filepath.IsAbs(s.check[0]) {
		return fmt.Errorf("ExecCondition= on a relative path %q", s.check[0])
	}
	return nil
}

func (s *settings) addEnv(value string, spec specifiers) error {
	if value == "" {
		s.env = nil
		return nil
	}
	words, err := splitWords(value)
	if err != nil {
		return err
	}
	for _, w := range words {
		if w, err = expand(w, spec); err != nil {
			return err
		}
		if name, _, ok := strings.Cut(w, "="); !ok || name == "" {
			return fmt.Errorf("bad environment assignment %q", w)
		}
		s.env = append(s.env, w)
	}
	return nil
}

// joinLines splits text into lines and joins those that end in a backslash with
// the next, a space in between. Comments inside a continuation are skipped. The
// index of a joined line is not its number in the file; errors name it anyway.
func joinLines(text string) []string {
	var lines []string
	open := false
	for line := range strings.SplitSeq(text, "\n") {
		if t := strings.TrimLeft(line, " \t"); open && (strings.HasPrefix(t, "#") || strings.HasPrefix(t, ";")) {
			continue
		}
		body, more := line, strings.HasSuffix(line, `\`)
		if more {
			body = line[:len(line)-1] + " "
		}
		if open {
			lines[len(lines)-1] += body
		} else {
			lines = append(lines, body)
		}
		open = more
	}
	return lines
}

// splitWords splits a value at white space as systemd does for Environment=:
// quotes group, inside and outside of them a backslash begins a C escape.
func splitWords(s string) ([]string, error) {
	var words []string
	var word []byte
	inWord, quote := false, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			r, n, err := unescape(s[i+1:])
			if err != nil {
				return nil, err
			}
			word, inWord = append(word, r...), true
			i += n
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			if inWord {
				words, word, inWord = append(words, string(word)), nil, false
			}
		default:
			word, inWord = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("unbalanced quotes in %q", s)
	}
	if inWord {
		words = append(words, string(word))
	}
	return words, nil
}

// unescape reads one C escape, of which the backslash is taken already, and
// returns its bytes and how many of s it took.
func unescape(s string) (string, int, error) {
	if s == "" {
		return "", 0, errors.New("backslash at the end")
	}
	simple := map[byte]string{'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t",
		'v': "\v", '\\': `\`, '"': `"`, '\'': `'`, 's': " "}
	if r, ok := simple[s[0]]; ok {
		return r, 1, nil
	}
	if s[0] == 'x' && len(s) >= 3 {
		var b byte
		if _, err := fmt.Sscanf(s[1:3], "%2x", &b); err == nil && b != 0 {
			return string([]byte{b}), 3, nil
		}
	}
	return "", 0, fmt.Errorf("unknown escape \\%s", s[:1])
}

// expand replaces % specifiers.
func expand(s string, spec specifiers) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("single %% at the end of %q", s)
		}
		v, ok := spec[s[i]]
		if s[i] == '%' {
			v, ok = "%", true
		}
		if !ok {
			return "", fmt.Errorf("unknown specifier %%%c in %q", s[i], s)
		}
		b.WriteString(v)
	}
	return b.String(), nil
}
