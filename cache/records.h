#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/origin.h"
#include "cache/version_id.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// Every kBlockSize bytes of a chunk, counted from its begin, have a checksum of their own.
inline constexpr std::uint64_t kBlockSize = 64 * 1024;

/// A version as it is written down (manifest, `meta` file).
struct VersionRecord {
  VersionId id;
  std::string origin_id;
  std::string key;
  Validator validator;
  std::uint64_t size = 0;
  std::int64_t modified_s = -1;    ///< Unix seconds; -1: unknown
  std::int64_t validated_s = 0;    ///< when the origin last said that it is current; Unix seconds
  std::int64_t fresh_until_s = 0;  ///< Unix seconds
  std::uint32_t stale_while_revalidate_s = 0;  ///< see Freshness
  std::uint32_t stale_if_error_s = 0;
  bool must_revalidate = false;
  bool current = false;  ///< the version that a new open of the object gets
};

/// A chunk as it is written down.
struct ChunkRecord {
  VersionId version;
  ByteRange range;
  /// block_checksum() of each block, in order. Empty: not known, the file was found on the disk
  /// and is to be proved by its attribute before its first use.
  std::vector<std::uint32_t> checksums;
};

/// The low 32 bits of XXH3-64 of one block.
std::uint32_t block_checksum(const void* data, std::size_t size);
/// One number for all bytes of a chunk: XXH3-64 of its blocks' checksums, as they stand in the
/// manifest. So no byte is summed twice.
std::uint64_t chunk_checksum(std::span<const std::uint32_t> blocks);

}  // namespace rangecache::cache
