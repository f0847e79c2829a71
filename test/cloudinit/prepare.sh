#!/usr/bin/env bash
# Unpacks Debian's cloud-init, for its schema, into .cache/cloud-init and prints the
# command that runs it. Nothing is installed: a machine that has cloud-init among its
# units would run it at its next boot. On a machine without apt or Debian's python3 it
# says so and ends with 3.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/.cache/cloud-init
# cloud-init, what it imports, and what those do.
packages="cloud-init libyaml-0-2 python3-attr python3-certifi python3-chardet python3-configobj
          python3-idna python3-jinja2 python3-json-pointer python3-jsonpatch python3-jsonschema
          python3-markupsafe python3-netifaces python3-oauthlib python3-pkg-resources
          python3-pyrsistent python3-requests python3-serial python3-six python3-urllib3 python3-yaml"

unpack() {
	local new
	new=$(mktemp -d "$out/.new.XXXXXX")
	trap "rm -rf '$new'" EXIT
	# shellcheck disable=SC2086 # a list
	if ! (cd "$new" && chmod 755 . && { apt-get download -q $packages || { apt-get update -q && apt-get download -q $packages; }; }) >"$out/log" 2>&1; then
		cat "$out/log" >&2
		return 1
	fi
	local deb
	for deb in "$new"/*.deb; do dpkg -x "$deb" "$new/root"; done
	cat >"$new/root/run" <<-'RUN'
		#!/bin/sh
		root=$(dirname "$0")
		export PYTHONPATH="$root/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1
		LD_LIBRARY_PATH=$(echo "$root"/usr/lib/*-linux-gnu) && export LD_LIBRARY_PATH
		exec /usr/bin/python3 -m cloudinit.cmd.main "$@"
	RUN
	chmod 755 "$new/root/run"
	rm -rf "$out/root"
	mv "$new/root" "$out/root" # whoever finds it finds a whole one
}

if [ ! -x "$out/root/run" ]; then
	command -v apt-get >/dev/null && [ -x /usr/bin/python3 ] ||
		{ echo "cloud-init: not checked, this machine has no apt or no /usr/bin/python3" >&2; exit 3; }
	mkdir -p "$out"
	exec 9>"$out/.lock"
	flock 9
	[ -x "$out/root/run" ] || unpack
fi
echo "$out/root/run"
