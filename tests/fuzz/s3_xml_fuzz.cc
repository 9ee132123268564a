// Input: the prefix that was listed (a line), then the body of the answer.
#include <set>
#include <string>

#include "fetcher/s3_xml.h"
#include "tests/fuzz/headers.h"

namespace rangecache::fetcher {
namespace {

/// Nothing that a document says is longer than the document, but for the change to UTF-8: there is
/// nothing that grows, such as entities.
std::size_t most_text(std::string_view xml) { return 3 * xml.size(); }

void check_listing(const S3ListPage& listing, std::string_view xml) {
  std::set<std::string> directories;
  std::size_t text = listing.page.next_token.size();
  for (const ListEntry& entry : listing.page.entries) {
    CHECK(fuzz::is_path_component(entry.name) && entry.name.size() <= 255);
    if (entry.is_directory) CHECK(directories.insert(entry.name).second && !entry.size);
    CHECK(!entry.size || *entry.size <= kMaxObjectSize);
    fuzz::check_validator(entry.validator);
    text += entry.name.size() + entry.validator.value.size();
  }
  for (const ListEntry& entry : listing.page.entries)
    CHECK(entry.is_directory || !directories.contains(entry.name));
  CHECK(text <= most_text(xml) + 2 * listing.page.entries.size());
  constexpr std::size_t kShortest = std::string_view("<Contents/>").size();
  CHECK((listing.page.entries.size() + listing.page.hidden_entries) * kShortest <= xml.size());
}

}  // namespace
}  // namespace rangecache::fetcher

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache::fetcher;
  std::string_view xml = rangecache::fuzz::text_of(data, size);
  const std::string prefix(rangecache::fuzz::take_until(xml, '\n'));
  if (const auto listing = parse_s3_listing(xml, prefix)) check_listing(*listing, xml);

  std::size_t text = 0;
  for (const auto& [name, value] : xml_texts(xml)) text += name.size() + value.size();
  CHECK(text <= most_text(xml));
  const auto error = parse_s3_error(xml);
  CHECK(!error || !error->code.empty());
  const auto failure = s3_failure({.status = 403, .headers = {}, .url = {}}, xml, "s3://b/k", 0);
  CHECK(failure.context.find("s3://b/k") != std::string::npos);
  return 0;
}
