#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "rangecache/byte_range.h"

namespace rangecache {

/// What is known of a remote object.
struct ObjectInfo {
  std::string url;
  std::uint64_t size = 0;  ///< bytes; 0 for directories
  bool is_directory = false;
  std::string validator;         ///< as the origin wrote it; empty if none
  std::int64_t modified_s = -1;  ///< Unix seconds; -1: unknown
  std::uint64_t cached_bytes = 0;
};

/// One name in a remote directory.
struct DirectoryEntry {
  std::string name;  ///< one path component, decoded
  bool is_directory = false;
  std::optional<std::uint64_t> size;  ///< bytes; nullopt: the index does not tell exactly
  std::optional<std::int64_t> modified_s;
};

/// One object of which something is cached.
struct CachedObject {
  ObjectInfo info;
  std::uint64_t chunks = 0;
  std::int64_t age_s = 0;        ///< since the origin last said that this version is current
  bool current = true;           ///< false: an old version that some handle may still read
  bool passthrough = false;      ///< open in a mount, and read by the kernel itself
  std::int64_t fresh_for_s = 0;  ///< how long it may be used unasked; negative: stale since then
};

/// Which ranges of an object are cached.
struct ObjectMap {
  ObjectInfo info;
  std::vector<ByteRange> chunks;   ///< on disk, in order
  std::vector<ByteRange> flights;  ///< being fetched, in order
};

/// What is asked for again at its next use.
struct RefreshResult {
  std::uint64_t objects = 0;
  std::uint64_t listings = 0;
};

/// What an eviction dropped.
struct EvictResult {
  std::uint64_t objects = 0;
  std::uint64_t chunks = 0;
  std::uint64_t bytes = 0;
};

/// A chunk whose bytes on disk were not those that came from the origin.
struct BadChunk {
  std::string url;
  ByteRange range;
  bool repaired = false;  ///< fetched again
};

/// What one step of a verification found. Bad chunks are no longer in the cache.
struct VerifyPart {
  std::uint64_t chunks = 0;       ///< looked at in this step
  std::uint64_t bytes = 0;        ///< of them
  std::uint64_t total_bytes = 0;  ///< cached of all objects that are to be verified
  std::vector<BadChunk> bad;
  std::string next;  ///< the cursor of the next step; empty: this was the last
};

/// Objects that are not to be evicted for lack of room.
struct PinInfo {
  std::string prefix;  ///< of their URLs
  std::string owner;
  std::int64_t expires_s = 0;      ///< Unix seconds; 0: never
  std::uint64_t cached_bytes = 0;  ///< on disk now, under this prefix
};

struct MountInfo {
  std::string url;
  std::string mountpoint;
};

}  // namespace rangecache
