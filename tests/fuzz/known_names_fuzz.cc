// Input: the records of a file `names`: type (a byte), length (a byte), payload.
#include "base/check.h"
#include "cache/known_names.h"
#include "cache/record_format.h"
#include "tests/fuzz/input.h"

namespace rangecache::cache {
namespace {

std::size_t count(const KnownNames& names) {
  std::size_t all = names.listings.size() + names.objects.size() + names.absences.size();
  for (const KnownNames::Listing& listing : names.listings) {
    all += listing.entries.size();
    for (const ListEntry& entry : listing.entries) {
      CHECK(fuzz::is_path_component(entry.name));
      CHECK(!entry.size || *entry.size <= kMaxObjectSize);
    }
  }
  for (const KnownNames::Object& object : names.objects) CHECK(object.size <= kMaxObjectSize);
  return all;
}

}  // namespace
}  // namespace rangecache::cache

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache::cache;
  std::string_view records = rangecache::fuzz::text_of(data, size);
  (void)decode_known_names(records);
  std::string file = encode(KnownNames{});
  while (!records.empty()) {
    const auto type = static_cast<record_format::Type>(rangecache::fuzz::take_byte(records));
    const std::size_t length = rangecache::fuzz::take_byte(records);
    const std::string_view payload = records.substr(0, length);
    records.remove_prefix(payload.size());
    record_format::append_frame(file, 0, type, payload);
  }
  const auto names = decode_known_names(file);
  CHECK(names && count(*names) <= file.size());
  const std::string printed = encode(*names);
  CHECK(printed.size() <= file.size());
  const auto again = decode_known_names(printed);
  CHECK(again && encode(*again) == printed);
  return 0;
}
