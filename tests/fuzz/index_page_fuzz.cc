// Input: the page; one that begins with '[' is JSON.
#include <set>
#include <string>

#include "base/check.h"
#include "fetcher/index_page.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache;
  const std::string_view body = fuzz::text_of(data, size);
  fetcher::IndexSource source;
  source.content_type = body.substr(0, 1) == "[" ? "application/json" : "text/html";
  source.body = body;
  source.base_url = "http://host/a/b%20c/";
  (void)fetcher::looks_like_index(source);
  const auto page = fetcher::parse_index(source);
  if (!page) return 0;
  std::set<std::string> names;
  std::size_t text = 0;
  for (const ListEntry& entry : page->entries) {
    CHECK(fuzz::is_path_component(entry.name));
    CHECK(names.insert(entry.name).second);
    CHECK(!entry.size || *entry.size <= kMaxObjectSize);
    CHECK(!entry.is_directory || !entry.size);
    CHECK(!entry.modified_s || (*entry.modified_s > -200'000 && *entry.modified_s < 1LL << 38));
    text += entry.name.size();
  }
  CHECK(text <= 3 * body.size() && page->hidden_entries <= body.size());
  return 0;
}
