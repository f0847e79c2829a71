package cloudconfig

import (
	"fmt"
	"path"
	"slices"
)

const cloudConfigHead = "#cloud-config\n"

// writeFile is an entry of write_files, which both cloud-init and coreos-cloudinit
// understand.
type writeFile struct {
	Path        string `yaml:"path"`
	Owner       string `yaml:"owner"`
	Permissions string `yaml:"permissions"`
	Content     string `yaml:"content"`
}

func writeFiles(files []file) []writeFile {
	out := make([]writeFile, len(files))
	for i, f := range files {
		out[i] = writeFile{f.path, "root:root", fmt.Sprintf("%#o", f.mode), f.content}
	}
	return out
}

// renderCloudInit writes user-data for cloud-init. It runs late at the first boot:
// hence units are started here, without waiting for them, as cloud-init itself is
// part of the boot that they may wait for.
func renderCloudInit(m machine) ([]byte, error) {
	files := slices.Clone(m.files)
	var enable, start []string
	for _, u := range m.units {
		if u.content != "" {
			files = append(files, file{path: path.Join(unitDir, u.name), mode: 0o644, content: u.content})
		}
		for _, d := range u.dropIns {
			files = append(files, file{path: path.Join(unitDir, u.name+".d", d.name), mode: 0o644, content: d.content})
		}
		if u.enabled {
			enable = append(enable, u.name)
		}
		if u.start {
			start = append(start, u.name)
		}
	}
	run := [][]string{
		{"systemctl", "daemon-reload"},
		append([]string{"systemctl", "enable"}, enable...),
		append([]string{"systemctl", "start", "--no-block"}, start...),
	}
	if slices.ContainsFunc(files, func(f file) bool { return f.path == sysusers }) {
		run = slices.Insert(run, 0, []string{"systemd-sysusers", sysusers})
	}
	doc := struct {
		WriteFiles []writeFile `yaml:"write_files"`
		RunCmd     [][]string  `yaml:"runcmd"`
	}{writeFiles(files), run}
	out, err := yamlOf(doc)
	return slices.Concat([]byte(cloudConfigHead), out), err
}

// classicUnit is a unit in the words of coreos-cloudinit.
type classicUnit struct {
	Name    string          `yaml:"name"`
	Mask    bool            `yaml:"mask,omitempty"`
	Enable  bool            `yaml:"enable,omitempty"`
	Command string          `yaml:"command,omitempty"`
	Content string          `yaml:"content,omitempty"`
	DropIns []classicDropIn `yaml:"drop-ins,omitempty"`
}

type classicDropIn struct {
	Name    string `yaml:"name"`
	Content string `yaml:"content"`
}

// renderClassic writes user-data for coreos-cloudinit, which looks like that of
// cloud-init but has words of its own for units. It runs at every boot, so all of
// it is such that a second time changes nothing.
func renderClassic(m machine) ([]byte, error) {
	var doc struct {
		WriteFiles []writeFile `yaml:"write_files"`
		CoreOS     struct {
			Units []classicUnit `yaml:"units"`
		} `yaml:"coreos"`
	}
	doc.WriteFiles = writeFiles(m.files)
	for _, u := range m.units {
		out := classicUnit{Name: u.name, Mask: u.masked, Enable: u.enabled, Content: u.content}
		switch {
		case u.masked:
			out.Command = "stop" // it may have started before
		case u.start:
			out.Command = "start"
		}
		for _, d := range u.dropIns {
			out.DropIns = append(out.DropIns, classicDropIn{d.name, d.content})
		}
		doc.CoreOS.Units = append(doc.CoreOS.Units, out)
	}
	out, err := yamlOf(doc)
	return slices.Concat([]byte(cloudConfigHead), out), err
}
