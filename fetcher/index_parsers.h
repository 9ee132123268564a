#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "fetcher/index_page.h"

namespace rangecache::fetcher {

/// Collects the entries of a page: checks names, drops repetitions, counts what cannot be shown.
class IndexCollector {
 public:
  /// `raw_name` is decoded, without a directory's trailing '/'.
  void add(std::string_view raw_name, ListEntry entry);
  IndexPage take() { return std::move(page_); }

 private:
  IndexPage page_;
  std::set<std::string, std::less<>> seen_;
};

Result<IndexPage> parse_html_index(const IndexSource& source);
Result<IndexPage> parse_json_index(const IndexSource& source);
bool looks_like_json_index(std::string_view body);

/// What the text behind a link tells, e.g. "20-Nov-2026 09:15   1300000" or "2026-11-20
/// 09:15 1.2M".
struct IndexDetails {
  std::optional<std::int64_t> modified_s;
  std::optional<std::uint64_t> size;  ///< only when written out in digits, so not rounded
};
IndexDetails parse_index_details(std::string_view text);
/// "2026-11-20T09:15:30Z", with or without a fraction; an offset other than Z is honoured.
std::optional<std::int64_t> parse_iso_time(std::string_view text);

}  // namespace rangecache::fetcher
