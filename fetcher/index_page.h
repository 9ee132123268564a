#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/origin.h"
#include "rangecache/result.h"

namespace rangecache::fetcher {

/// A page that may be a directory's index.
struct IndexSource {
  std::string content_type;
  std::string_view body;
  std::string base_url;  ///< that it came from; ends in '/'
};

struct IndexPage {
  std::vector<ListEntry> entries;  ///< in the page's order, each name once
  std::uint64_t hidden_entries = 0;
};

/// Whether the page is a generated index, and not an ordinary web page with some links on it. Knows
/// those of nginx, Apache, lighttpd, Python's http.server and Caddy, and the JSON of nginx and
/// Caddy.
bool looks_like_index(const IndexSource& source);

/// The direct children of the directory: links elsewhere, to the parent and for sorting are left
/// out. Sizes are given only where the page tells them to the byte; its times are taken as UTC.
Result<IndexPage> parse_index(const IndexSource& source);

}  // namespace rangecache::fetcher
