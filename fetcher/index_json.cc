#include <nlohmann/json.hpp>

#include "fetcher/http_headers.h"
#include "fetcher/index_parsers.h"

namespace rangecache::fetcher {
namespace {

using Json = nlohmann::json;

Json parse(std::string_view body) {
  return Json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
}

std::string text_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool is_entry(const Json& item) {
  return item.is_object() && item.contains("name") &&
         (item.contains("type") || item.contains("is_dir"));
}

}  // namespace

bool looks_like_json_index(std::string_view body) {
  const Json page = parse(body);
  if (!page.is_array()) return false;
  for (const Json& item : page)
    if (!is_entry(item)) return false;
  return true;
}

Result<IndexPage> parse_json_index(const IndexSource& source) {
  const Json page = parse(source.body);
  if (!page.is_array())
    return Error{ErrorCode::kOriginFailed, "the server's JSON index is not an array"};
  IndexCollector collector;
  for (const Json& item : page) {
    if (!is_entry(item)) continue;
    std::string name = text_in(item, "name");
    ListEntry entry;
    const auto is_dir = item.find("is_dir");
    entry.is_directory = text_in(item, "type") == "directory" ||
                         (is_dir != item.end() && is_dir->is_boolean() && is_dir->get<bool>());
    if (entry.is_directory && !name.empty() && name.back() == '/') name.pop_back();
    const auto size = item.find("size");
    if (!entry.is_directory && size != item.end() && size->is_number_unsigned() &&
        size->get<std::uint64_t>() <= kMaxObjectSize)
      entry.size = size->get<std::uint64_t>();
    entry.modified_s = parse_http_date(text_in(item, "mtime"));                           // nginx
    if (!entry.modified_s) entry.modified_s = parse_iso_time(text_in(item, "mod_time"));  // Caddy
    collector.add(name, std::move(entry));
  }
  return collector.take();
}

}  // namespace rangecache::fetcher
