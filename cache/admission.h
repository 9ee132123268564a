#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rangecache::cache {

/// Lets onto the disk only what is asked for a second time within memory: for loads that read most
/// bytes once, and a disk whose writes are dear. What is turned away is served all the same.
///
/// Remembers keys as bits in two tables: when the newer one is full it becomes the older one, and
/// that one is forgotten. So a key is known for at least kKeys and at most 2 * kKeys others, in 2
/// MiB, and about one unknown key in twenty is taken for a known one. One thread only.
class Admission {
 public:
  static constexpr std::size_t kKeys = 1 << 19;

  /// True if the key was here before; remembers it.
  bool admit(std::uint64_t key);

 private:
  static constexpr std::size_t kBits = 16 * kKeys;
  using Table = std::vector<bool>;

  Table newer_ = Table(kBits), older_ = Table(kBits);
  std::size_t entered_ = 0;  ///< into `newer_`
};

}  // namespace rangecache::cache
