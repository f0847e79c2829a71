package cloudconfig

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// octal is a file's mode as people write it: 0644.
type octal int

// MarshalYAML implements yaml.Marshaler.
func (o octal) MarshalYAML() (any, error) {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: fmt.Sprintf("%#o", int(o))}, nil
}

// object is a mapping whose keys keep their order, with comments for people.
type object []pair

// pair is one key; note is a comment above it, for YAML only: JSON has none.
type pair struct {
	key   string
	value any
	note  string
}

// MarshalYAML implements yaml.Marshaler.
func (o object) MarshalYAML() (any, error) { return nodeOf(o) }

// nodeOf goes into objects and lists itself: yaml's own way from a value to a node
// loses the comments of what is nested.
func nodeOf(v any) (*yaml.Node, error) {
	switch v := v.(type) {
	case object:
		return v.node()
	case []object:
		return sequence(v)
	case []any:
		return sequence(v)
	}
	n := new(yaml.Node)
	err := n.Encode(v)
	return n, err
}

func (o object) node() (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, p := range o {
		v, err := nodeOf(p.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.key, err)
		}
		key := new(yaml.Node)
		key.SetString(p.key)
		key.HeadComment = p.note
		n.Content = append(n.Content, key, v)
	}
	return n, nil
}

func sequence[T any](list []T) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, item := range list {
		v, err := nodeOf(item)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, v)
	}
	return n, nil
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(p.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(p.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.key, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// yamlOf is v as YAML with texts of several lines in blocks.
func yamlOf(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	err := enc.Close()
	return b.Bytes(), err
}
