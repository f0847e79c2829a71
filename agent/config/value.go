package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// value is a typed place in a Config. Its errors say what is wrong and what is
// allowed, and leave it to the caller to say where. A failed set changes nothing.
type value interface {
	// fromYAML sets it from a node of the file, which must be of its type.
	fromYAML(n *yaml.Node) error
	// fromText sets it from a variable.
	fromText(s string) error
	// String shows it in a table.
	String() string
	// plain is what YAML and JSON show.
	plain() any
}

// text is a string that passes check.
type text struct {
	p     *string
	check func(string) error
}

func (v text) fromYAML(n *yaml.Node) error {
	if err := scalar(n, "a text"); err != nil {
		return err
	}
	if n.ShortTag() != "!!str" {
		return fmt.Errorf("%s is %s, allowed: a text, in quotes if it looks like something else: %q",
			n.Value, typeName(n), n.Value)
	}
	return v.fromText(n.Value)
}

func (v text) fromText(s string) error {
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("%q contains a control character, allowed: one line of text", s)
	}
	if err := v.check(s); err != nil {
		return err
	}
	*v.p = s
	return nil
}

func (v text) String() string { return *v.p }
func (v text) plain() any     { return *v.p }

// number is an integer within bounds.
type number struct {
	p        *int
	min, max int
}

func (v number) fromYAML(n *yaml.Node) error {
	if err := scalar(n, "a number"); err != nil {
		return err
	}
	if n.ShortTag() != "!!int" {
		return fmt.Errorf("%q is %s, allowed: a number from %d to %d", n.Value, typeName(n), v.min, v.max)
	}
	return v.fromText(n.Value)
}

func (v number) fromText(s string) error {
	i, err := strconv.Atoi(s)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && (i < v.min || i > v.max):
		return fmt.Errorf("%s is out of range, allowed: %d to %d", s, v.min, v.max)
	case err != nil:
		return fmt.Errorf("%q is not a decimal number, allowed: %d to %d", s, v.min, v.max)
	}
	*v.p = i
	return nil
}

func (v number) String() string { return strconv.Itoa(*v.p) }
func (v number) plain() any     { return *v.p }

// flag is yes or no, written true or false.
type flag struct{ p *bool }

func (v flag) fromYAML(n *yaml.Node) error {
	if err := scalar(n, "true or false"); err != nil {
		return err
	}
	if n.ShortTag() != "!!bool" {
		return fmt.Errorf("%q is %s, allowed: true or false", n.Value, typeName(n))
	}
	return v.fromText(n.Value)
}

func (v flag) fromText(s string) error {
	switch strings.ToLower(s) {
	case "true":
		*v.p = true
	case "false":
		*v.p = false
	default:
		return fmt.Errorf("%q is neither, allowed: true or false", s)
	}
	return nil
}

func (v flag) String() string { return strconv.FormatBool(*v.p) }
func (v flag) plain() any     { return *v.p }

// duration is a span of time within bounds, written as Go writes it.
type duration struct {
	p        *time.Duration
	min, max time.Duration
}

func (v duration) fromYAML(n *yaml.Node) error {
	if err := scalar(n, "a duration"); err != nil {
		return err
	}
	// 0 needs no unit; any other number without one is a guess.
	if n.ShortTag() != "!!str" && n.Value != "0" {
		return fmt.Errorf("%s is %s, allowed: a duration with its unit, such as 500ms, 30s, 10m or 1h30m", n.Value, typeName(n))
	}
	return v.fromText(n.Value)
}

func (v duration) fromText(s string) error {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a duration, allowed: a number with its unit, such as 500ms, 30s, 10m or 1h30m", s)
	case d < 0:
		return fmt.Errorf("%s is negative, allowed: %s to %s", s, short(v.min), short(v.max))
	case d < v.min || d > v.max:
		return fmt.Errorf("%s is out of range, allowed: %s to %s", s, short(v.min), short(v.max))
	}
	*v.p = d
	return nil
}

func (v duration) String() string { return short(*v.p) }
func (v duration) plain() any     { return short(*v.p) }

// short is time.Duration's own notation without its zero parts: 10m, not 10m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// list is a list of strings that each pass check.
type list struct {
	p     *[]string
	check func(string) error
}

func (v list) fromYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return fmt.Errorf("is %s, allowed: a list, such as [a, b]", typeName(n))
	}
	var out []string
	for i, e := range n.Content {
		var s string
		if err := (text{&s, v.check}).fromYAML(e); err != nil {
			return fmt.Errorf("entry %d (line %d): %w", i+1, e.Line, err)
		}
		out = append(out, s)
	}
	return v.set(out)
}

func (v list) fromText(s string) error {
	var out []string
	if strings.TrimSpace(s) == "" {
		return v.set(out)
	}
	for i, e := range strings.Split(s, ",") {
		var one string
		if err := (text{&one, v.check}).fromText(strings.TrimSpace(e)); err != nil {
			return fmt.Errorf("entry %d: %w", i+1, err)
		}
		out = append(out, one)
	}
	return v.set(out)
}

func (v list) set(out []string) error {
	for i, s := range out {
		if slices.Contains(out[:i], s) {
			return fmt.Errorf("%q is given twice, allowed: once", s)
		}
	}
	*v.p = out
	return nil
}

func (v list) String() string { return strings.Join(*v.p, ",") }
func (v list) plain() any     { return append([]string{}, *v.p...) }

// scalar refuses everything but one plain value.
func scalar(n *yaml.Node, want string) error {
	switch {
	case n.Kind != yaml.ScalarNode:
		return fmt.Errorf("is %s, allowed: %s", typeName(n), want)
	case n.ShortTag() == "!!null":
		return fmt.Errorf("has no value, allowed: %s; leave the key out for the default", want)
	}
	return nil
}

// typeName names a node's type in words of people who do not know YAML's.
func typeName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.ShortTag() {
	case "!!str":
		return "a text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a yes or no"
	case "!!null":
		return "empty"
	case "!!timestamp":
		return "a date"
	}
	return "of another type"
}
