#!/usr/bin/env bash
# A session with cachectl: look at one object before and after some of it is read, then drop it.
#   examples/cachectl.sh URL        (rangecached must be running; cachectl must be on the PATH)
set -euo pipefail
url=${1:?usage: cachectl.sh URL}

cachectl ping
cachectl stat "$url"
cachectl cat "$url" --range 0-65536 | sha256sum     # the first 64 KiB: END is not included
cachectl map "$url"                                 # what is cached now, as a picture
cachectl ls "$url"
cachectl evict "$url"
cachectl stats --json | head -c 200; echo           # for programs
