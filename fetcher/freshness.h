#pragma once

#include <cstdint>

#include "base/origin.h"
#include "fetcher/http_headers.h"

namespace rangecache::fetcher {

/// How long a private cache may use a response (RFC 9111 §4.2), counted from `received_unix_s`.
/// Explicit lifetimes are honoured in full, s-maxage is not ours (§5.2.2.10: for shared caches),
/// the times of RFC 5861 are. Without one, a tenth of the time since the last
/// change is guessed, but no more than a minute, so that a mount shows changes within a minute.
Freshness freshness_of(const HttpHeaders& headers, std::int64_t received_unix_s);

}  // namespace rangecache::fetcher
