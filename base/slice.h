#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace rangecache {

/// A piece of a finished read, in a chunk file or in memory. No byte is copied to make one.
/// `owner` keeps the descriptor open or the memory alive for as long as the slice exists.
struct Slice {
  int fd = -1;                      ///< >= 0: the bytes stand in this file, from `offset`
  std::uint64_t offset = 0;         ///< in the file
  const std::byte* data = nullptr;  ///< fd < 0: the bytes stand here
  std::size_t length = 0;
  std::shared_ptr<const void> owner;
};

/// In order, without gaps; together they are the range that was asked for, cut at end of file.
using Slices = std::vector<Slice>;

}  // namespace rangecache
