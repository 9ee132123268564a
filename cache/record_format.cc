#include "cache/record_format.h"

#include <xxhash.h>

#include "base/wire.h"

namespace rangecache::cache::record_format {
namespace {

constexpr std::string_view kMagic = "RCMANIF\n";
constexpr std::uint64_t kMaxOffset = kMaxObjectSize;

std::uint32_t checksum(std::uint64_t generation, Type type, std::string_view payload) {
  const XXH64_hash_t seed = generation * 256 + static_cast<std::uint8_t>(type);
  return static_cast<std::uint32_t>(XXH3_64bits_withSeed(payload.data(), payload.size(), seed));
}

void put(wire::Writer& out, const VersionId& id) {
  out.u64(id.high);
  out.u64(id.low);
}

VersionId get_version_id(wire::Reader& in) {
  const std::uint64_t high = in.u64();
  return {high, in.u64()};
}

void put(wire::Writer& out, ByteRange range) {
  out.u64(range.begin);
  out.u64(range.end);
}

ByteRange get_range(wire::Reader& in) {
  const std::uint64_t begin = in.u64();
  const ByteRange range{begin, in.u64()};
  if (range.empty() || range.end > kMaxOffset) in.fail();
  return range;
}

}  // namespace

void append_frame(std::string& out, std::uint64_t generation, Type type, std::string_view payload) {
  wire::Writer frame;
  frame.u32(static_cast<std::uint32_t>(payload.size()));
  frame.u32(checksum(generation, type, payload));
  frame.u8(static_cast<std::uint8_t>(type));
  out += frame.buffer();
  out += payload;
}

std::optional<Frame> take_frame(std::string_view& data, std::uint64_t generation) {
  wire::Reader in(data);
  const std::uint32_t length = in.u32();
  const std::uint32_t expected = in.u32();
  const auto type = static_cast<Type>(in.u8());
  if (!in.ok() || length > kMaxPayload) return std::nullopt;
  const std::string_view payload = in.bytes(length);
  if (!in.ok() || checksum(generation, type, payload) != expected) return std::nullopt;
  data = in.rest();
  return Frame{type, payload};
}

std::string encode(const Header& header) {
  wire::Writer out;
  out.bytes(kMagic);
  out.u32(kFormatVersion);
  out.u64(header.generation);
  out.u64(header.previous_generation);
  out.u64(header.previous_size);
  out.string(header.boot_id);
  return out.take();
}

std::optional<Header> decode_header(std::string_view payload) {
  wire::Reader in(payload);
  if (in.bytes(kMagic.size()) != kMagic || in.u32() != kFormatVersion) return std::nullopt;
  Header header;
  header.generation = in.u64();
  header.previous_generation = in.u64();
  header.previous_size = in.u64();
  header.boot_id = in.string();
  if (!in.complete()) return std::nullopt;
  return header;
}

std::string encode(const VersionRecord& record) {
  wire::Writer out;
  put(out, record.id);
  out.u64(record.size);
  out.i64(record.modified_s);
  out.i64(record.validated_s);
  out.i64(record.fresh_until_s);
  out.u32(record.stale_while_revalidate_s);
  out.u32(record.stale_if_error_s);
  out.u8(static_cast<std::uint8_t>((record.must_revalidate ? 1 : 0) | (record.current ? 2 : 0)));
  out.u8(static_cast<std::uint8_t>(record.validator.kind));
  out.string(record.validator.value);
  out.string(record.origin_id);
  out.string(record.key);
  return out.take();
}

std::optional<VersionRecord> decode_version(std::string_view payload) {
  wire::Reader in(payload);
  VersionRecord record;
  record.id = get_version_id(in);
  record.size = in.u64();
  record.modified_s = in.i64();
  record.validated_s = in.i64();
  record.fresh_until_s = in.i64();
  record.stale_while_revalidate_s = in.u32();
  record.stale_if_error_s = in.u32();
  const std::uint8_t flags = in.u8();
  record.must_revalidate = flags & 1;
  record.current = flags & 2;
  const std::uint8_t kind = in.u8();
  record.validator.kind = static_cast<Validator::Kind>(kind);
  record.validator.value = in.string();
  record.origin_id = in.string();
  record.key = in.string();
  if (!in.complete() || flags > 3 || record.size > kMaxOffset ||
      kind > static_cast<std::uint8_t>(Validator::Kind::kPrivate)) {
    return std::nullopt;
  }
  return record;
}

std::string encode(const ChunkRecord& record) {
  wire::Writer out;
  put(out, record.version);
  put(out, record.range);
  for (const std::uint32_t sum : record.checksums) out.u32(sum);
  return out.take();
}

std::optional<ChunkRecord> decode_chunk(std::string_view payload) {
  wire::Reader in(payload);
  ChunkRecord record;
  record.version = get_version_id(in);
  record.range = get_range(in);
  const std::size_t sums = in.rest().size() / 4;
  const bool all = sums == (record.range.size() + kBlockSize - 1) / kBlockSize;
  if (!in.ok() || in.rest().size() % 4 != 0 || !(all || sums == 0)) return std::nullopt;
  record.checksums.reserve(sums);
  while (!in.rest().empty()) record.checksums.push_back(in.u32());
  return record;
}

std::string encode(const VersionId& id) {
  wire::Writer out;
  put(out, id);
  return out.take();
}

std::optional<VersionId> decode_version_id(std::string_view payload) {
  wire::Reader in(payload);
  const VersionId id = get_version_id(in);
  return in.complete() ? std::optional<VersionId>(id) : std::nullopt;
}

std::string encode(const ChunkKey& key) {
  wire::Writer out;
  put(out, key.version);
  put(out, key.range);
  return out.take();
}

std::optional<ChunkKey> decode_chunk_key(std::string_view payload) {
  wire::Reader in(payload);
  const VersionId id = get_version_id(in);
  const ByteRange range = get_range(in);
  return in.complete() ? std::optional<ChunkKey>({id, range}) : std::nullopt;
}

}  // namespace rangecache::cache::record_format
