#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/origin.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// What is known of names besides the chunks, as it outlives a run. Times are Unix seconds.
struct KnownNames {
  struct Listing {
    std::string origin_id;
    std::string dir_key;
    bool complete = false;
    std::uint64_t hidden_entries = 0;
    std::int64_t fresh_until_s = 0;
    std::vector<ListEntry> entries;
  };
  /// An object of which nothing is cached.
  struct Object {
    std::string origin_id;
    std::string key;
    Validator validator;
    std::uint64_t size = 0;
    std::int64_t modified_s = -1;
    std::int64_t validated_s = 0;
    std::int64_t fresh_until_s = 0;
  };
  struct Absence {
    std::string origin_id;
    std::string key;
    std::int64_t until_s = 0;
  };
  std::vector<Listing> listings;
  std::vector<Object> objects;
  std::vector<Absence> absences;

  /// All of it is to be asked for before it is used.
  void expire();
};

/// The bytes of the file `names` (docs/DISK_FORMAT.md). Pure.
std::string encode(const KnownNames& names);
/// All up to the first damaged record. kCorrupt: it does not begin as such a file.
Result<KnownNames> decode_known_names(std::string_view bytes);

}  // namespace rangecache::cache
