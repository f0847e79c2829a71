package cloudconfig

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
)

// Ignition and Butane say the same in almost the same words, so both are written
// from these types: their JSON is Ignition's, their YAML Butane's.
type (
	ignitionDoc struct {
		Ignition struct {
			Version string `json:"version"`
		} `json:"ignition" yaml:"-"`
		Variant string          `json:"-" yaml:"variant"`
		Version string          `json:"-" yaml:"version"`
		Storage ignitionStorage `json:"storage" yaml:"storage"`
		Systemd ignitionSystemd `json:"systemd" yaml:"systemd"`
	}
	ignitionStorage struct {
		Directories []ignitionDir  `json:"directories,omitempty" yaml:"directories,omitempty"`
		Files       []ignitionFile `json:"files,omitempty" yaml:"files,omitempty"`
	}
	ignitionDir struct {
		Path string `json:"path" yaml:"path"`
		Mode int    `json:"mode" yaml:"-"`
		// Octal is the mode for people: Butane is read by them.
		Octal octal `json:"-" yaml:"mode"`
	}
	ignitionFile struct {
		Path      string           `json:"path" yaml:"path"`
		Overwrite bool             `json:"overwrite" yaml:"overwrite"`
		Mode      int              `json:"mode" yaml:"-"`
		Octal     octal            `json:"-" yaml:"mode"`
		Contents  ignitionContents `json:"contents" yaml:"contents"`
	}
	ignitionContents struct {
		// Inline is Butane's; Ignition has a data URL in Source.
		Inline       string                `json:"-" yaml:"inline,omitempty"`
		Source       string                `json:"source,omitempty" yaml:"source,omitempty"`
		Verification *ignitionVerification `json:"verification,omitempty" yaml:"verification,omitempty"`
	}
	ignitionVerification struct {
		Hash string `json:"hash" yaml:"hash"`
	}
	ignitionSystemd struct {
		Units []ignitionUnit `json:"units" yaml:"units"`
	}
	ignitionUnit struct {
		Name     string           `json:"name" yaml:"name"`
		Enabled  bool             `json:"enabled,omitempty" yaml:"enabled,omitempty"`
		Mask     bool             `json:"mask,omitempty" yaml:"mask,omitempty"`
		Contents string           `json:"contents,omitempty" yaml:"contents,omitempty"`
		DropIns  []ignitionDropIn `json:"dropins,omitempty" yaml:"dropins,omitempty"`
	}
	ignitionDropIn struct {
		Name     string `json:"name" yaml:"name"`
		Contents string `json:"contents" yaml:"contents"`
	}
)

// The versions are the oldest that have all that is used here, so that the images
// of the last years understand them.
const (
	ignitionVersion      = "3.3.0"
	flatcarButaneVersion = "1.0.0" // becomes Ignition 3.3.0
	fcosButaneVersion    = "1.4.0" // becomes Ignition 3.3.0
)

// ignitionOf is a machine in the words that Ignition and Butane share; the text of
// files is put where butane says.
func ignitionOf(m machine, butane bool) ignitionDoc {
	var doc ignitionDoc
	for _, dir := range m.dirs {
		doc.Storage.Directories = append(doc.Storage.Directories, ignitionDir{Path: dir, Mode: 0o755, Octal: 0o755})
	}
	for _, f := range m.files {
		// Overwrite: the file is ours, whatever an image has there.
		out := ignitionFile{Path: f.path, Overwrite: true, Mode: f.mode, Octal: octal(f.mode)}
		switch {
		case f.from.URL != "":
			out.Contents.Source = f.from.URL
			out.Contents.Verification = &ignitionVerification{Hash: "sha256-" + f.from.SHA256}
		case butane:
			out.Contents.Inline = f.content
		default:
			out.Contents.Source = "data:;base64," + base64.StdEncoding.EncodeToString([]byte(f.content))
		}
		doc.Storage.Files = append(doc.Storage.Files, out)
	}
	for _, u := range m.units {
		out := ignitionUnit{Name: u.name, Enabled: u.enabled, Mask: u.masked, Contents: u.content}
		for _, d := range u.dropIns {
			out.DropIns = append(out.DropIns, ignitionDropIn{Name: d.name, Contents: d.content})
		}
		doc.Systemd.Units = append(doc.Systemd.Units, out)
	}
	return doc
}

func renderIgnition(m machine) ([]byte, error) {
	doc := ignitionOf(m, false)
	doc.Ignition.Version = ignitionVersion
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(doc)
	return b.Bytes(), err
}

func renderButane(f Format, m machine) ([]byte, error) {
	doc := ignitionOf(m, true)
	doc.Variant, doc.Version = "flatcar", flatcarButaneVersion
	if f.system() == fedoraCoreOS {
		doc.Variant, doc.Version = "fcos", fcosButaneVersion
	}
	out, err := yamlOf(doc)
	return slices.Concat([]byte("# Translate with: butane --strict\n"), out), err
}
