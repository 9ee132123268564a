#include "cache/version_id.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace rangecache::cache {

VersionId VersionId::of(std::string_view origin_id, std::string_view key,
                        const Validator& validator, std::uint64_t size) {
  // Each field is preceded by its length, so that no two different sets of fields look alike.
  std::string text;
  for (const std::string_view field : {origin_id, key, std::string_view(validator.value)}) {
    text += fmt::format("{}:", field.size());
    text += field;
  }
  text += fmt::format("{}:{}", static_cast<int>(validator.kind), size);
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return {hash.high64, hash.low64};
}

std::string VersionId::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

}  // namespace rangecache::cache
