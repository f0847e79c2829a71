#!/usr/bin/env bash
# Checks the rendered user-data by its readers' own parsers; needs the Go module
# proxy, or a filled module cache. With arguments: those of go test.
set -euo pipefail
cd "$(dirname "$0")"
# First that the golden files are what is rendered now; then what others make of them.
(cd ../.. && go test -count=1 ./cloud-config)
go vet ./...
go test -count=1 "$@" ./...
