#!/usr/bin/env bash
# Builds etcd, etcdctl and etcdutl from one of the small modules beside this
# file into .cache/etcd/<version>/, if they are missing or the module's go.sum
# (or Go itself) changed; else it does nothing. Prints the directory.
#
#   test/etcd/build.sh 3.6
#
# Each binary is renamed into its place when complete, so whoever finds one
# finds a whole one, and an etcd that runs meanwhile keeps its own.
set -euo pipefail

[ $# = 1 ] || { echo "usage: $0 VERSION_DIR (e.g. 3.6)" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(basename "$1")
module=$here/$version
out=$(cd "$here/../.." && pwd)/.cache/etcd/$version
[ -f "$module/go.mod" ] || { echo "$0: no module in $module" >&2; exit 2; }

key="$(cd "$module" && go version) $(cat "$module/go.mod" "$module/go.sum" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1)"

is_current() {
	[ -x "$out/etcd" ] && [ -x "$out/etcdctl" ] && [ -x "$out/etcdutl" ] &&
		[ -f "$out/key" ] && [ "$(cat "$out/key")" = "$key" ]
}

build() {
	local new
	new=$(mktemp -d "$out/.new.XXXXXX")
	trap "rm -rf '$new'" EXIT
	echo "etcd: building $version (a minute or two, once)" >&2
	rm -f "$out/key" # not current until every binary is in place
	local pair
	for pair in etcd=server etcdctl=etcdctl etcdutl=etcdutl; do
		(cd "$module" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -trimpath -ldflags='-s -w' \
			-o "$new/${pair%%=*}" "go.etcd.io/etcd/${pair##*=}/v3")
		mv -f "$new/${pair%%=*}" "$out/"
	done
	echo "$key" >"$new/key"
	mv -f "$new/key" "$out/key"
}

mkdir -p "$out"
exec 9>"$out/.lock"
flock 9 # two builds at once would only take turns on the cores
is_current || build
echo "$out"
