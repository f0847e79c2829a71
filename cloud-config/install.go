package cloudconfig

import "strings"

// The installer is for formats that cannot download by themselves.
const (
	installScript = "/etc/quorumd/install.sh"
	installUnit   = "quorumd-install.service"
)

// catalogLine installs what 'journalctl -x' shows, where /usr/local can be written; a
// failure of it stops nothing.
const catalogLine = `ExecStartPost=-/bin/sh -c 'test -w /usr/local || exit 0; mkdir -p /usr/local/lib/systemd/catalog && ` +
	binDir + `/quorumd explain --output catalog >/usr/local/lib/systemd/catalog/quorumd.catalog && journalctl --update-catalog'
`

// installer adds the script that downloads what is not there, and its unit. A
// download that fails at boot is tried until it succeeds: nobody is there to do it
// by hand.
func (b *builder) installer() {
	lines := installLine("etcd", b.options.Etcd) + installLine("quorumd", b.options.Binary)
	if lines == "" {
		return
	}
	before := []string{agentUnit}
	if !b.config.Worker() {
		before = append(before, b.config.Etcd.Unit)
	}
	b.file(installScript, 0o755, installHead+lines)
	b.unit(unit{name: installUnit, enabled: true, start: true, content: `[Unit]
Description=Download the binaries that quorumd's user-data names
Wants=network-online.target
After=network-online.target
Before=` + strings.Join(before, " ") + `
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh ` + installScript + `
` + catalogLine + `Restart=on-failure
RestartSec=5s

[Install]
WantedBy=multi-user.target
`})
}

// installLine calls the script's function for one download. Neither word can hold
// a quote, see urlPattern and sumPattern.
func installLine(name string, d Download) string {
	if d.Present || d.URL == "" {
		return ""
	}
	return "install_one " + strings.Join([]string{name, "'" + d.URL + "'", "'" + d.SHA256 + "'"}, " ") + "\n"
}

// installHead: etcd comes before quorumd, so that where quorumd runs etcd can be
// started. A file gets its final name only when it is whole and right, by a rename
// within one directory.
const installHead = `#!/bin/sh
# Downloads the binaries that user-data names. It runs at every boot, and leaves
# alone what it installed before.
set -eu
bin=${1:-` + binDir + `}
mkdir -p "$bin"
work=$(mktemp -d "$bin/.install.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetch() { # URL FILE
	case $1 in
	file://*) cp "${1#file://}" "$2" ;;
	*)
		if command -v curl >/dev/null; then
			curl --fail --silent --show-error --location --connect-timeout 10 --max-time 600 --output "$2" "$1"
		else
			wget -q -O "$2" "$1"
		fi
		;;
	esac
}

put() { # FILE NAME
	chmod 0755 "$1"
	mv -f "$1" "$bin/$2"
}

install_one() { # NAME URL SHA256
	stamp=$bin/.$1.sha256
	if [ -n "$3" ] && [ -x "$bin/$1" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$3" ]; then
		return
	fi
	fetch "$2" "$work/$1.download"
	if [ -n "$3" ]; then
		sum=$(sha256sum "$work/$1.download" | cut -d ' ' -f 1)
		if [ "$sum" != "$3" ]; then
			echo "$2 has SHA-256 $sum, not $3: not installed" >&2
			exit 1
		fi
	fi
	case $2 in
	*.tar.gz)
		mkdir "$work/$1.d"
		tar -xzf "$work/$1.download" -C "$work/$1.d" --strip-components=1
		for tool in etcdctl etcdutl; do
			if [ -f "$work/$1.d/$tool" ]; then put "$work/$1.d/$tool" "$tool"; fi
		done
		put "$work/$1.d/$1" "$1"
		;;
	*) put "$work/$1.download" "$1" ;;
	esac
	echo "$3" >"$stamp"
}

`
