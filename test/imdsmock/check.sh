#!/usr/bin/env bash
# Reads Amazon's metadata mock and the emulator's with the agent's own client; needs
# the Go module proxy, or a filled module cache. With arguments: those of go test.
set -euo pipefail
cd "$(dirname "$0")"
go vet ./...
go test -count=1 "$@" ./...
