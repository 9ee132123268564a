#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/origin.h"

namespace rangecache::fetcher {

/// Under which version ids a bucket has served its objects, so that bytes of a version that was
/// overwritten can still be had. Bounded: the oldest are forgotten. The loop's thread only.
class S3Versions {
 public:
  explicit S3Versions(std::size_t max_entries = 65'536) : max_entries_(max_entries) {}

  /// `id` as x-amz-version-id has it; that of a bucket without versions is not kept.
  void remember(std::string_view key, const Validator& validator, const std::string& id);
  std::optional<std::string> find(std::string_view key, const Validator& validator) const;

 private:
  static std::string entry_key(std::string_view key, const Validator& validator);

  const std::size_t max_entries_;
  std::unordered_map<std::string, std::string> ids_;
  std::deque<std::string> oldest_;
};

}  // namespace rangecache::fetcher
