package locksmith

import (
	"fmt"
	"strings"
	"unicode"
)

// Settings are locksmithd's variables, and flags as the variables that they stand
// for, in the order in which locksmithd itself lets one win over the other.
type Settings struct {
	unit, file, flag map[string]Setting
}

// Setting is a value and where it was given.
type Setting struct{ Value, From string }

// Get gives the value that locksmithd would have used. Like locksmithd it takes an
// empty value for none.
func (s Settings) Get(name string) (Setting, bool) {
	for _, layer := range []map[string]Setting{s.flag, s.file, s.unit} {
		if v, ok := layer[name]; ok && v.Value != "" {
			return v, true
		}
	}
	return Setting{}, false
}

// names are all that were given with a value.
func (s Settings) names() []string {
	var out []string
	for _, layer := range []map[string]Setting{s.flag, s.file, s.unit} {
		for name := range layer {
			if _, ok := s.Get(name); ok {
				out = append(out, name)
			}
		}
	}
	return out
}

// Read adds one file: assignments as in update.conf, or a drop-in of the unit,
// which is told by its section. A later file wins over an earlier one of its kind.
func (s *Settings) Read(name, content string) error {
	if s.unit == nil {
		*s = Settings{unit: map[string]Setting{}, file: map[string]Setting{}, flag: map[string]Setting{}}
	}
	lines := logicalLines(content)
	isUnit := false
	for _, l := range lines {
		isUnit = isUnit || strings.HasPrefix(l.text, "[")
	}
	section := ""
	for _, l := range lines {
		at := fmt.Sprintf("%s:%d", name, l.number)
		if isUnit && strings.HasPrefix(l.text, "[") {
			section = l.text
			continue
		}
		key, value, ok := strings.Cut(l.text, "=")
		if !ok {
			return fmt.Errorf("%s: %q is no assignment, allowed: NAME=VALUE", at, l.text)
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !isUnit {
			s.file[key] = Setting{unquote(value), at}
			continue
		}
		if section == "[Service]" {
			if err := s.service(at, key, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// service reads one line of a unit's section [Service].
func (s *Settings) service(at, key, value string) error {
	words, err := split(value)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	switch key {
	case "Environment":
		if len(words) == 0 {
			clear(s.unit)
		}
		for _, w := range words {
			if name, v, ok := strings.Cut(w, "="); ok {
				s.unit[name] = Setting{v, at}
			}
		}
	case "ExecStart":
		clear(s.flag)
		s.flags(at, words)
	case "EnvironmentFile":
		// The two that locksmithd's own unit names are asked for anyway.
		for _, w := range words {
			path := strings.TrimPrefix(w, "-")
			if !strings.HasSuffix(path, "/update.conf") {
				return fmt.Errorf("%s: it reads %s, too; name that file instead of this line, after this file", at, path)
			}
		}
	}
	return nil
}

// flags reads the flags of a command line: -name=value, -name value, two dashes.
func (s *Settings) flags(at string, words []string) {
	for i := 1; i < len(words); i++ {
		name, isFlag := strings.CutPrefix(words[i], "-")
		if !isFlag {
			continue
		}
		name, value, given := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if name == "debug" || name == "version" {
			continue
		}
		if !given && i+1 < len(words) {
			i++
			value = words[i]
		}
		variable := "LOCKSMITHD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if before, twice := s.flag[variable]; twice && name == "endpoint" {
			value = before.Value + "," + value
		}
		s.flag[variable] = Setting{value, at}
	}
}

type logicalLine struct {
	number int
	text   string
}

// logicalLines joins what goes on after a backslash, and leaves comments out.
func logicalLines(content string) []logicalLine {
	var out []logicalLine
	goesOn := false
	for i, text := range strings.Split(content, "\n") {
		text = strings.TrimSpace(text)
		if !goesOn && (text == "" || text[0] == '#' || text[0] == ';') {
			continue
		}
		body, more := strings.CutSuffix(text, `\`)
		if goesOn {
			last := &out[len(out)-1]
			last.text = strings.TrimSpace(last.text + " " + body)
		} else {
			out = append(out, logicalLine{i + 1, body})
		}
		goesOn = more
	}
	return out
}

// unquote takes one pair of quotes away.
func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

// split gives the words of a line of a unit, which quotes keep together.
func split(s string) ([]string, error) {
	var out []string
	var word strings.Builder
	var quote rune
	in := false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, in = r, true
		case quote == 0 && unicode.IsSpace(r):
			if in {
				out = append(out, word.String())
				word.Reset()
			}
			in = false
		default:
			word.WriteRune(r)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c is not closed in %q", quote, s)
	}
	if in {
		out = append(out, word.String())
	}
	return out, nil
}
