#!/usr/bin/env bash
# The newcomer's first command does what it says, and leaves nothing behind.
set -euo pipefail
[ -e /dev/fuse ] || { echo "skipped: there is no /dev/fuse"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
export TMPDIR=$(mktemp -d)
trap 'rm -rf --one-file-system "$TMPDIR"' EXIT
output=$(QUICKSTART_ONCE=1 "$here/../../scripts/quickstart" 2>&1) || { echo "$output"; exit 1; }
echo "$output"
grep -Eq '^cold: [1-9][0-9]* files, .* read in .*; the server saw [1-9][0-9]* requests' <<<"$output"
grep -Eq '^warm: [1-9][0-9]* files, .* read in .*; the server saw 0 requests, 0.0 MiB' <<<"$output"
grep -Eq '^restarted: [1-9][0-9]* files, .* read in ' <<<"$output"
grep -q '^  hit ratio' <<<"$output"
if grep "$TMPDIR" /proc/self/mountinfo; then echo "a mount stays behind"; exit 1; fi
if [ -n "$(ls -A "$TMPDIR")" ]; then ls -lA "$TMPDIR"; echo "files stay behind"; exit 1; fi
