#include "fetcher/index_page.h"

#include <algorithm>

#include "fetcher/index_parsers.h"

namespace rangecache::fetcher {
namespace {

bool is_json(const IndexSource& source) {
  return source.content_type.substr(0, 16) == "application/json";
}

bool contains_ignoring_case(std::string_view text, std::string_view wanted) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::search(text.begin(), text.end(), wanted.begin(), wanted.end(),
                     [&](char a, char b) { return lower(a) == lower(b); }) != text.end();
}

}  // namespace

void IndexCollector::add(std::string_view raw_name, ListEntry entry) {
  if (raw_name.empty()) return;
  const bool impossible = raw_name == "." || raw_name == ".." ||
                          raw_name.find('/') != std::string_view::npos ||
                          raw_name.find('\0') != std::string_view::npos;
  if (impossible) {
    ++page_.hidden_entries;
    return;
  }
  if (!seen_.emplace(raw_name).second) return;
  entry.name = std::string(raw_name);
  page_.entries.push_back(std::move(entry));
}

bool looks_like_index(const IndexSource& source) {
  if (is_json(source)) return looks_like_json_index(source.body);
  const std::string_view top = source.body.substr(0, 64 * 1024);
  for (const std::string_view title :
       {"<title>index of", "<h1>index of", "<title>directory listing for"})
    if (contains_ignoring_case(top, title)) return true;
  // Caddy titles its page with the bare directory name.
  return contains_ignoring_case(top, "aria-describedby=\"summary\"") &&
         contains_ignoring_case(top, "id=\"filter\"");
}

Result<IndexPage> parse_index(const IndexSource& source) {
  return is_json(source) ? parse_json_index(source) : parse_html_index(source);
}

}  // namespace rangecache::fetcher
