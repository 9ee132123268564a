#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/origin.h"

namespace rangecache::cache {

/// A setting that differs from origin to origin: the value of the first prefix that the origin's
/// URL has, else the one for all others. A value; reading it is thread-safe.
template <typename T>
class PerOrigin {
 public:
  PerOrigin(T otherwise = {}) : otherwise_(std::move(otherwise)) {}  // NOLINT

  /// `url_prefix` without a slash at its end: "s3://bucket", "https://host".
  void add(std::string url_prefix, T value) {
    by_prefix_.emplace_back(std::move(url_prefix), std::move(value));
  }
  const T& of(const Origin& origin) const {
    if (by_prefix_.empty()) return otherwise_;
    const std::string url = origin.url_of("");
    for (const auto& [prefix, value] : by_prefix_) {
      const bool begins = std::string_view(url).starts_with(prefix);
      if (begins && (url.size() == prefix.size() || url[prefix.size()] == '/')) return value;
    }
    return otherwise_;
  }
  const T& otherwise() const { return otherwise_; }

 private:
  T otherwise_;
  std::vector<std::pair<std::string, T>> by_prefix_;
};

}  // namespace rangecache::cache
