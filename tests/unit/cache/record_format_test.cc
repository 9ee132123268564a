#include "cache/record_format.h"

#include <gtest/gtest.h>

#include <string>

#include "cache/records.h"

namespace rangecache::cache::record_format {
namespace {

ChunkRecord small_chunk() {
  return {{0x0123456789abcdef, 0xfedcba9876543210}, {65536, 131072}, {0xdeadbeef}};
}

VersionRecord small_version() {
  VersionRecord record;
  record.id = {1, 2};
  record.origin_id = "http://origin";
  record.key = std::string("a\0\xff/b", 5);
  record.validator = {Validator::Kind::kPrivate, "\"tag\""};
  record.size = 1 << 20;
  record.modified_s = -1;
  record.validated_s = 1700000000;
  record.fresh_until_s = 1700000060;
  record.must_revalidate = true;
  record.stale_while_revalidate_s = 7;
  record.stale_if_error_s = 86400;
  return record;
}

std::string hex(std::string_view bytes) {
  static const char* const kDigits = "0123456789abcdef";
  std::string text;
  for (const unsigned char c : bytes) {
    text += kDigits[c >> 4];
    text += kDigits[c & 15];
  }
  return text;
}

TEST(RecordFormat, VersionSurvivesTheRoundTripWithEveryByteOfItsNames) {
  const VersionRecord in = small_version();
  const auto out = decode_version(encode(in));
  ASSERT_TRUE(out);
  EXPECT_EQ(out->id, in.id);
  EXPECT_EQ(out->origin_id, in.origin_id);
  EXPECT_EQ(out->key, in.key);
  EXPECT_EQ(out->validator.kind, in.validator.kind);
  EXPECT_EQ(out->validator.value, in.validator.value);
  EXPECT_EQ(out->size, in.size);
  EXPECT_EQ(out->modified_s, -1);
  EXPECT_EQ(out->validated_s, in.validated_s);
  EXPECT_EQ(out->fresh_until_s, in.fresh_until_s);
  EXPECT_TRUE(out->must_revalidate);
  EXPECT_EQ(out->stale_while_revalidate_s, in.stale_while_revalidate_s);
  EXPECT_EQ(out->stale_if_error_s, in.stale_if_error_s);
  EXPECT_FALSE(out->current);
}

TEST(RecordFormat, EveryShorterOrLongerPayloadIsRefused) {
  const std::string version = encode(small_version()), chunk = encode(small_chunk());
  for (std::size_t n = 0; n < version.size(); ++n)
    EXPECT_FALSE(decode_version(version.substr(0, n))) << n;
  // Without any checksum it is the record of a chunk that was found on the disk.
  const std::size_t found = chunk.size() - 4;
  for (std::size_t n = 0; n < chunk.size(); ++n)
    EXPECT_EQ(decode_chunk(chunk.substr(0, n)).has_value(), n == found) << n;
  EXPECT_FALSE(decode_version(version + "x"));
  EXPECT_FALSE(decode_chunk(chunk + "x"));
  EXPECT_FALSE(decode_chunk(chunk + "four"));
}

TEST(RecordFormat, ImpossibleRangesAreRefused) {
  ChunkRecord record = small_chunk();
  for (const ByteRange range :
       {ByteRange{5, 5}, ByteRange{6, 5}, ByteRange{0, ~std::uint64_t{0}}}) {
    record.range = range;
    EXPECT_FALSE(decode_chunk(encode(record)));
    EXPECT_FALSE(decode_chunk_key(encode(ChunkKey{record.version, range})));
  }
}

TEST(RecordFormat, FlippedBitOrCutOffByteIsNoFrame) {
  std::string frame;
  append_frame(frame, 3, Type::kChunk, encode(small_chunk()));
  for (std::size_t n = 0; n < frame.size(); ++n) {
    std::string_view cut = std::string_view(frame).substr(0, n);
    EXPECT_FALSE(take_frame(cut, 3)) << n;
    EXPECT_EQ(cut.size(), n);
  }
  for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
    std::string flipped = frame;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    std::string_view view = flipped;
    EXPECT_FALSE(take_frame(view, 3)) << bit;
  }
}

TEST(RecordFormat, FrameOfAnotherGenerationIsRefused) {
  std::string frame;
  append_frame(frame, 3, Type::kChunk, encode(small_chunk()));
  std::string_view view = frame;
  EXPECT_FALSE(take_frame(view, 4));
  EXPECT_TRUE(take_frame(view, 3));
}

TEST(RecordFormat, BytesOnDiskAreThoseOfFormatVersionThree) {
  ASSERT_EQ(kFormatVersion, 3U);
  std::string file;
  append_frame(file, 3, Type::kHeader, encode(Header{3, 2, 300, "boot"}));
  append_frame(file, 3, Type::kChunk, encode(small_chunk()));
  EXPECT_EQ(hex(file),
            "2c00000062106f130152434d414e49460a03000000030000000000000002000000000000002c010000"
            "0000000004000000626f6f742400000053121aa304efcdab89674523011032547698badcfe00000100"
            "000000000000020000000000efbeadde")
      << "bump the format version and update docs/DISK_FORMAT.md";
}

}  // namespace
}  // namespace rangecache::cache::record_format
