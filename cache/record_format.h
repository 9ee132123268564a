#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cache/records.h"
#include "cache/version_id.h"
#include "rangecache/byte_range.h"

/// The manifest's records as bytes (docs/DISK_FORMAT.md has the grammar and a worked example).
/// Pure. Decoding never reads beyond its input and accepts nothing that encoding cannot make.
namespace rangecache::cache::record_format {

inline constexpr std::uint32_t kFormatVersion = 3;

enum class Type : std::uint8_t {
  kHeader = 1,   ///< first of every file: Header
  kVersion = 2,  ///< a version, or what was heard of it since
  kVersionRemoved = 3,
  kChunk = 4,
  kChunkRemoved = 5,
  kCheckpointEnd = 6,  ///< last of a complete checkpoint: the number of records before it
  kCleanStop = 7,      ///< last of a journal that was closed in order; no payload
  // Of the file `names` (known_names.h):
  kListing = 8,
  kListEntries = 9,
  kKnownObject = 10,
  kAbsence = 11,
};

/// length u32, checksum u32, type u8: before every payload.
inline constexpr std::size_t kFrameSize = 9;
/// Enough for the checksums of a chunk of 256 GiB.
inline constexpr std::size_t kMaxPayload = 16 << 20;
/// What names a version is bounded by what origins may send; longer ones are not remembered.
inline constexpr std::size_t kMaxVersionPayload = 64 * 1024;

struct Frame {
  Type type;
  std::string_view payload;
};

/// Appends a framed record. `generation` is mixed into the checksum, so that a record of another
/// file that happens to stand here is not taken for one of this file.
void append_frame(std::string& out, std::uint64_t generation, Type type, std::string_view payload);

/// Takes the first record off `data`. nullopt (and `data` as it was) if it is cut off or damaged.
std::optional<Frame> take_frame(std::string_view& data, std::uint64_t generation);

/// What a file says of itself. A journal names the one before it and how long that was, so that a
/// lost tail, or a lost file, between two journals shows.
struct Header {
  std::uint64_t generation = 0;
  std::uint64_t previous_generation = 0;  ///< 0: none
  std::uint64_t previous_size = 0;        ///< bytes; kLostRecords: records were lost after it
  std::string boot_id;                    ///< of the kernel that it was begun under
};
inline constexpr std::uint64_t kLostRecords = ~std::uint64_t{0};
std::string encode(const Header& header);
/// nullopt for another magic or format version.
std::optional<Header> decode_header(std::string_view payload);

std::string encode(const VersionRecord& record);
std::optional<VersionRecord> decode_version(std::string_view payload);

std::string encode(const ChunkRecord& record);
std::optional<ChunkRecord> decode_chunk(std::string_view payload);

std::string encode(const VersionId& id);
std::optional<VersionId> decode_version_id(std::string_view payload);

struct ChunkKey {
  VersionId version;
  ByteRange range;
};
std::string encode(const ChunkKey& key);
std::optional<ChunkKey> decode_chunk_key(std::string_view payload);

}  // namespace rangecache::cache::record_format
