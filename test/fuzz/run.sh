#!/usr/bin/env bash
# Runs every fuzz target of the module, two at a time with one worker each, and
# prints a line for each; ends with 1 when one failed. A failing input is left in
# its package's testdata/fuzz: check it in with the fix.
#
#   FUZZTIME=60s test/fuzz/run.sh            # all
#   FUZZTIME=600s test/fuzz/run.sh agent/peer # those below a directory
#
# Inputs that only reach new code are made smaller for a second at the most: Go's default
# of a minute for each would leave nothing for the search.
# The parser of the tests' own stand-in for systemd gets a tenth of the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export GO=${GO:-go} FUZZTIME=${FUZZTIME:-60s}
under=${1:-.}

# one PACKAGE TARGET
one() {
	local package=$1 target=$2 time=$FUZZTIME out began=$SECONDS
	case $package in
	*/fakesystemd) time=$((${FUZZTIME%s} / 10 + 1))s ;;
	esac
	if out=$("$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1s -parallel 1 "$package" 2>&1); then
		echo "ok    $package $target: $(grep -o 'execs: [0-9]*' <<<"$out" | tail -1), $((SECONDS - began)) s"
	else
		printf 'FAIL  %s %s\n%s\n' "$package" "$target" "$out"
		return 1
	fi
}
export -f one
[[ $FUZZTIME =~ ^[0-9]+s$ ]] || { echo "FUZZTIME=$FUZZTIME: give seconds (60s)" >&2; exit 2; }

mapfile -t packages < <(git ls-files -co --exclude-standard "$under" | grep '_test\.go$' | xargs grep -lE '^func Fuzz' | xargs -n1 dirname | sort -u | sed 's|^|./|')
[ ${#packages[@]} -gt 0 ] || { echo "no fuzz target below $under" >&2; exit 2; }
# The last line of each package is "ok PACKAGE SECONDS": it says whose the names before it are.
"$GO" test -list '^Fuzz' "${packages[@]}" |
	awk '/^Fuzz/ { names[++n] = $1; next } $1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' |
	xargs -P 2 -L 1 bash -c 'one "$@"' one || { echo 'fuzz: FAILED' >&2; exit 1; }
echo "fuzz: ok, ${FUZZTIME} each"
