#!/usr/bin/env bash
# Makes this machine able to run the lab: Debian packages, then the base tree
# of a small systemd host in .cache/lab/base. Does nothing where nothing is
# missing (a few milliseconds), so the lab runs it at every start.
#
#   test/lab/prepare.sh            install and build what is missing
#   test/lab/prepare.sh --check    only say what is missing, exit 1 if anything
#
# QUORUMD_LAB_CACHE   where the base tree goes   (default: <repo>/.cache/lab)
# QUORUMD_LAB_MIRROR  what debootstrap reads     (default: debootstrap's own)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${QUORUMD_LAB_CACHE:-$(cd "$here/../.." && pwd)/.cache/lab}
suite=bookworm
include=systemd,systemd-sysv,dbus,iproute2,ca-certificates,procps,curl
# Whatever changes the tree belongs into the key: another key, another tree.
# The number stands for trim(): raise it when that changes.
key="1 $suite $include ${QUORUMD_LAB_MIRROR:-}"

# command:package, for every program that the lab starts.
needs="systemd-nspawn:systemd-container debootstrap:debootstrap dbus-daemon:dbus
       ip:iproute2 nft:nftables nsenter:util-linux unshare:util-linux flock:util-linux
       mkfs.ext4:e2fsprogs"

say() { echo "lab: $*" >&2; }

missing_packages() {
	local need
	for need in $needs; do
		command -v "${need%%:*}" >/dev/null || echo "${need##*:}"
	done | sort -u
}

base_is_current() {
	[ -f "$cache/base/key" ] && [ "$(cat "$cache/base/key")" = "$key" ]
}

# trim takes away what a host that lives for seconds never needs, and what
# must differ from host to host.
trim() {
	local root=$1
	rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
		"$root"/usr/share/{doc,man,locale,info}/*
	rm -f "$root"/var/lib/dbus/machine-id "$root"/etc/hostname "$root"/etc/resolv.conf
	: >"$root/etc/machine-id" # each host brings its own, in its own layer
	local unit
	for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
		e2scrub_reap.service fstrim.timer getty.target console-getty.service \
		systemd-timesyncd.service systemd-pstore.service systemd-resolved.service; do
		ln -sfn /dev/null "$root/etc/systemd/system/$unit"
	done
	mkdir -p "$root/opt/bin"
}

# build_base builds beside the final place and renames when complete: a tree
# in $cache/base is always a whole one. Labs hold the lock shared while they
# run on the tree, so that it is never taken away under them.
build_base() {
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock -n 9 || { say "waiting for another user of $cache"; flock 9; }
	if base_is_current; then return; fi # built while we waited
	say "building the base tree in $cache/base (a minute or two, once)"
	rm -rf "$cache"/base.new.* "$cache"/base.old.*
	local new old
	new=$(mktemp -d "$cache/base.new.XXXXXX")
	old=$cache/base.old.$$
	chmod 755 "$new"
	# shellcheck disable=SC2086 # no mirror: no argument
	if ! debootstrap --variant=minbase --include="$include" "$suite" "$new/root" \
		${QUORUMD_LAB_MIRROR:-} >"$cache/debootstrap.log" 2>&1; then
		tail -20 "$cache/debootstrap.log" >&2
		say "debootstrap failed; all of its output: $cache/debootstrap.log"
		rm -rf "$new"
		return 1
	fi
	trim "$new/root"
	echo "$key" >"$new/key"
	if [ -d "$cache/base" ]; then mv "$cache/base" "$old"; fi
	mv "$new" "$cache/base"
	rm -rf "$old"
}

main() {
	local missing
	missing=$(missing_packages)
	if [ "${1:-}" = --check ]; then
		[ -z "$missing" ] || say "packages missing:" $missing
		base_is_current || say "no current base tree in $cache/base"
		[ -z "$missing" ] && base_is_current
		return
	fi
	if [ -n "$missing" ] || ! base_is_current; then
		[ "$(id -u)" = 0 ] || { say "must be root to prepare the lab (try: sudo $0)"; return 1; }
	fi
	if [ -n "$missing" ]; then
		say "installing:" $missing
		apt-get update -q >/dev/null
		# shellcheck disable=SC2086
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
	fi
	base_is_current || build_base
}

main "$@"
