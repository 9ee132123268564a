#pragma once

#include <algorithm>
#include <cstdint>

namespace rangecache {

/// A half-open range of bytes [begin, end) of one object. Empty when end <= begin.
struct ByteRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  /// The range of `length` bytes at `offset`; saturates instead of wrapping at 2^64.
  static constexpr ByteRange at(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = offset + length;
    return {offset, end < offset ? UINT64_MAX : end};
  }

  constexpr std::uint64_t size() const { return end > begin ? end - begin : 0; }
  constexpr bool empty() const { return end <= begin; }
  constexpr bool contains(std::uint64_t offset) const { return begin <= offset && offset < end; }
  constexpr bool contains(ByteRange other) const {
    return begin <= other.begin && other.end <= end;
  }
  constexpr bool overlaps(ByteRange other) const {
    return std::max(begin, other.begin) < std::min(end, other.end);
  }
  constexpr ByteRange intersect(ByteRange other) const {
    return {std::max(begin, other.begin), std::min(end, other.end)};
  }
  friend constexpr bool operator==(ByteRange a, ByteRange b) {
    return a.begin == b.begin && a.end == b.end;
  }
  friend constexpr bool operator!=(ByteRange a, ByteRange b) { return !(a == b); }
};

}  // namespace rangecache
