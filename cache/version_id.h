#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/origin.h"

namespace rangecache::cache {

/// The name of a version on disk: a 128-bit XXH3 hash of origin, key, validator and size. The
/// same version has the same id in every run, and nothing of the remote name reaches a path.
struct VersionId {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  static VersionId of(std::string_view origin_id, std::string_view key, const Validator& validator,
                      std::uint64_t size);
  std::string hex() const;  ///< 32 lower-case digits
  friend auto operator<=>(const VersionId&, const VersionId&) = default;
};

}  // namespace rangecache::cache

template <>
struct std::hash<rangecache::cache::VersionId> {
  std::size_t operator()(const rangecache::cache::VersionId& id) const noexcept { return id.low; }
};
