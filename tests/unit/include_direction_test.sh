#!/usr/bin/env bash
# include <- base <- {cache, fetcher, fuse} <- daemon; client -> include, base. The three siblings
# never include each other. Fails on an include against the arrows, and names it.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
forbid() {  # forbid FOLDER 'other|other'
  [ -d "$1" ] || { echo "there is no folder $1"; bad=1; return; }
  if grep -rnE "#include \"($2)/" "$1" --include='*.h' --include='*.cc'; then bad=1; fi
}
forbid include 'base|cache|fetcher|fuse|daemon|client|cachectl'
forbid base 'cache|fetcher|fuse|daemon|client|cachectl'
forbid cache 'fetcher|fuse|daemon|client|cachectl'
forbid fetcher 'cache|fuse|daemon|client|cachectl'
forbid fuse 'cache|fetcher|daemon|client|cachectl'
forbid client 'cache|fetcher|fuse|daemon|cachectl'
forbid cachectl 'cache|fetcher|fuse|daemon|base'
exit $bad
