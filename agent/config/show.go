package config

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting is one key with its value as it is shown.
type Setting struct {
	Key   string
	Value string
	// Env is the variable that overrides it.
	Env string
}

// Settings lists every key of the configuration, in the order of the manual.
func (c Config) Settings() []Setting {
	var out []Setting
	for _, f := range fields(&c) {
		out = append(out, Setting{Key: f.key, Value: f.val.String(), Env: f.env()})
	}
	return out
}

// Tree is the configuration as nested maps of strings, ints and lists, for JSON.
func (c Config) Tree() map[string]any {
	tree := map[string]any{}
	for _, f := range fields(&c) {
		at, name := tree, f.key
		if section, key, ok := strings.Cut(f.key, "."); ok {
			if tree[section] == nil {
				tree[section] = map[string]any{}
			}
			at, name = tree[section].(map[string]any), key
		}
		at[name] = f.val.plain()
	}
	return tree
}

// YAML is the configuration as a file that Load reads back to the same.
func (c Config) YAML() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	sections := map[string]*yaml.Node{}
	for _, f := range fields(&c) {
		at, name := root, f.key
		if section, key, ok := strings.Cut(f.key, "."); ok {
			if sections[section] == nil {
				sections[section] = &yaml.Node{Kind: yaml.MappingNode}
				root.Content = append(root.Content, word(section), sections[section])
			}
			at, name = sections[section], key
		}
		var v yaml.Node
		if err := v.Encode(f.val.plain()); err != nil {
			return nil, err
		}
		at.Content = append(at.Content, word(name), &v)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

func word(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
