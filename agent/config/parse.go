package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml applies the file. It walks the nodes itself instead of decoding into a
// struct: a struct would lose the lines, stop at the first error, and take the
// last of two equal keys.
func (l *loader) yaml(data []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // nothing but comments
	}
	if err != nil {
		l.syntax(err)
		return
	}
	for _, n := range doc.Content {
		l.root(n)
	}
	var second yaml.Node
	err = dec.Decode(&second)
	switch {
	case errors.Is(err, io.EOF):
	case err != nil:
		l.syntax(err)
	default:
		l.fail(Origin{l.file, second.Line, ""}, "", "a second document begins here, allowed: one")
	}
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// syntax reports the parser's own error in our form.
func (l *loader) syntax(err error) {
	msg := err.Error()
	m := syntaxLine.FindStringSubmatch(msg)
	line, _ := strconv.Atoi(m[1]) // no line: 0, the file as a whole
	problem := strings.ReplaceAll(msg[len(m[0]):], "\n", " ")
	l.fail(Origin{l.file, line, ""}, "", "this is not YAML: %s", problem)
}

func (l *loader) root(n *yaml.Node) {
	switch {
	case n.Kind == yaml.MappingNode:
		l.mapping("", n)
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
	default:
		l.fail(Origin{l.file, n.Line, ""}, "", "the file is %s, allowed: keys with values", typeName(n))
	}
}

// mapping applies the keys of one section; prefix is "" or "section.".
func (l *loader) mapping(prefix string, n *yaml.Node) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := Origin{l.file, k.Line, ""}
		if k.Kind != yaml.ScalarNode {
			l.fail(at, "", "a key is %s, allowed: a word", typeName(k))
			continue
		}
		key := prefix + k.Value
		if line, twice := seen[key]; twice {
			l.fail(at, printable(key), "is given twice, first at line %d; allowed: once", line)
			continue
		}
		seen[key] = k.Line
		l.entry(at, key, v)
	}
}

// entry applies one key.
func (l *loader) entry(at Origin, key string, v *yaml.Node) {
	f, known := l.fields[key]
	switch {
	case !known && !l.sections[key]:
		l.fail(at, printable(key), "no such key%s", didYouMean(key, l.names))
	case v.Kind == yaml.AliasNode || v.Anchor != "":
		l.fail(at, key, "anchors and aliases are not allowed; write the value out")
	case known:
		if err := f.val.fromYAML(v); err != nil {
			l.fail(at, key, "%v", err)
			return
		}
		l.from[key] = at
	case v.Kind == yaml.MappingNode:
		l.mapping(key+".", v)
	case v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null":
		// A section of which every key is commented out.
	default:
		l.fail(at, key, "is %s, allowed: a section with keys of its own", typeName(v))
	}
}

// printable makes a key that is not ours fit for a message of one line.
func printable(key string) string {
	if q := strconv.Quote(key); q != `"`+key+`"` || key == "" {
		return q
	}
	return key
}
