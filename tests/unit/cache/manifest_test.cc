#include "cache/manifest.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "cache/record_format.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;

VersionRecord version_record(int n) {
  VersionRecord record;
  record.origin_id = "http://h";
  record.key = "f" + std::to_string(n);
  record.validator = {Validator::Kind::kEtag, "\"t\""};
  record.size = 200'000;
  record.modified_s = 1'600'000'000;
  record.validated_s = 1'700'000'000;
  record.fresh_until_s = 1'700'000'060;
  record.current = true;
  record.id = VersionId::of(record.origin_id, record.key, record.validator, record.size);
  return record;
}

ChunkRecord chunk_record(int n, std::uint64_t begin = 0) {
  return {version_record(n).id, {begin, begin + 65'536 + 100}, {0x11111111u + n, 0x22222222}};
}

/// What a manifest says, as plain text, so that states compare.
class State final : public Manifest::Visitor {
 public:
  void on_version(VersionRecord&& r) override { versions[r.id] = r.key; }
  void on_version_removed(const VersionId& id) override { versions.erase(id); }
  void on_chunk(ChunkRecord&& r) override { chunks[{r.version, r.range.begin}] = r.checksums; }
  void on_chunk_removed(const VersionId& id, ByteRange range) override { chunks.erase({id, range.begin}); }

  std::map<VersionId, std::string> versions;
  std::map<std::pair<VersionId, std::uint64_t>, std::vector<std::uint32_t>> chunks;
};

class ManifestTest : public testing::Test {
 protected:
  ManifestTest() {
    directory_ = fs::temp_directory_path() /
                 ("rangecache-manifest-" + std::to_string(::getpid()) + "-" +
                  testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(directory_);
    fs::create_directory(directory_);
  }
  ~ManifestTest() override { fs::remove_all(directory_); }

  std::unique_ptr<Manifest> open(State& state, LoadReport& report) {
    auto manifest = Manifest::open(posix_file_system(), directory_, state, report);
    EXPECT_TRUE(manifest) << manifest.error().message();
    return std::move(*manifest);
  }
  /// Three versions with a chunk each, all in the journal.
  void write_some(bool clean) {
    State state;
    LoadReport report;
    auto manifest = open(state, report);
    for (int n = 0; n < 3; ++n) {
      manifest->append_version(version_record(n));
      manifest->append_chunk(chunk_record(n));
    }
    ASSERT_TRUE(manifest->flush());
    ASSERT_TRUE(manifest->close(clean));
  }
  fs::path journal() const { return directory_ / "manifest" / "journal.1"; }
  static std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void write(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }
  /// Leaves only journal.1, with these bytes.
  void reset_to(const std::string& bytes) {
    fs::remove_all(directory_ / "manifest");
    fs::create_directory(directory_ / "manifest");
    write(journal(), bytes);
  }

  fs::path directory_;
};

TEST_F(ManifestTest, WhatWasAppendedIsReadBack) {
  write_some(true);
  State state;
  LoadReport report;
  open(state, report);
  EXPECT_EQ(state.versions.size(), 3u);
  EXPECT_EQ(state.chunks.size(), 3u);
  EXPECT_EQ((state.chunks[{version_record(1).id, 0}]), chunk_record(1).checksums);
  EXPECT_TRUE(report.clean_stop);
  EXPECT_TRUE(report.same_boot);
}

TEST_F(ManifestTest, AStopWithoutTheMarkIsUnclean) {
  write_some(false);
  State state;
  LoadReport report;
  open(state, report);
  EXPECT_EQ(state.chunks.size(), 3u);
  EXPECT_FALSE(report.clean_stop);
}

TEST_F(ManifestTest, ACleanMarkCountsOnce) {
  write_some(true);
  State state;
  LoadReport first, second;
  open(state, first);  // and killed: no close()
  open(state, second);
  EXPECT_TRUE(first.clean_stop);
  EXPECT_FALSE(second.clean_stop);
}

TEST_F(ManifestTest, CR11_AJournalCutAtAnyLengthKeepsWhatIsWhole) {
  write_some(true);
  const std::string whole = content(journal());
  std::size_t chunks_before = 0;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    reset_to(whole.substr(0, length));
    State state;
    LoadReport report;
    open(state, report);
    EXPECT_FALSE(report.clean_stop) << length;
    EXPECT_GE(state.chunks.size(), chunks_before) << length;
    chunks_before = state.chunks.size();
    for (const auto& [key, sums] : state.chunks) EXPECT_EQ(sums.size(), 2u);
  }
  EXPECT_EQ(chunks_before, 3u);
}

TEST_F(ManifestTest, CR12_AFlippedBitIsNeverTakenForARecord) {
  write_some(true);
  State expected;
  LoadReport ignored;
  open(expected, ignored);
  reset_to("");
  write_some(true);
  const std::string whole = content(journal());
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    reset_to(bytes);
    State state;
    LoadReport report;
    open(state, report);
    EXPECT_FALSE(report.clean_stop) << bit;
    EXPECT_GT(report.bytes_dropped, 0u) << bit;
    for (const auto& [key, sums] : state.chunks) EXPECT_EQ(sums, expected.chunks[key]) << bit;
    for (const auto& [id, name] : state.versions) EXPECT_EQ(name, expected.versions[id]) << bit;
  }
}

TEST_F(ManifestTest, GarbageIsAnEmptyManifest) {
  reset_to(std::string(100'000, '\x5a'));
  State state;
  LoadReport report;
  open(state, report);
  EXPECT_TRUE(state.versions.empty());
  EXPECT_FALSE(report.problem.empty());
}

TEST_F(ManifestTest, ACheckpointReplacesWhatWasBeforeIt) {
  State state;
  LoadReport report;
  auto manifest = open(state, report);
  for (int n = 0; n < 3; ++n) manifest->append_version(version_record(n));
  ASSERT_TRUE(manifest->flush());
  ASSERT_TRUE(manifest->checkpoint([](CheckpointSink& sink) {
    sink.version(version_record(2));
    sink.chunk(chunk_record(2));
  }));
  manifest->append_chunk(chunk_record(2, 131'072));
  ASSERT_TRUE(manifest->close(true));
  EXPECT_FALSE(fs::exists(journal()));
  State loaded;
  open(loaded, report);
  EXPECT_EQ(loaded.versions.size(), 1u);
  EXPECT_EQ(loaded.chunks.size(), 2u);
  EXPECT_TRUE(report.clean_stop);
}

TEST_F(ManifestTest, CR10_AHalfMadeCheckpointIsPassedOver) {
  write_some(true);
  write(directory_ / "manifest" / "checkpoint.new", "half");
  std::string half;
  record_format::append_frame(half, 2, record_format::Type::kHeader, record_format::encode_header(2));
  write(directory_ / "manifest" / "checkpoint.2", half);  // no end record
  State state;
  LoadReport report;
  open(state, report);
  EXPECT_EQ(state.chunks.size(), 3u);
  EXPECT_FALSE(report.problem.empty());
  EXPECT_FALSE(report.clean_stop);
}

TEST(RecordGolden, AChunkRecordHasTheBytesOfTheDocument) {
  // docs/DISK_FORMAT.md has these bytes. If this fails, bump kFormatVersion and rewrite it.
  std::string frame;
  record_format::append_frame(
      frame, 1, record_format::Type::kChunk,
      record_format::encode(ChunkRecord{{0x0011223344556677, 0x8899aabbccddeeff}, {4096, 8192}, {0xdeadbeef}}));
  std::string hex;
  for (const char c : frame) {
    char digits[4];
    std::snprintf(digits, sizeof digits, "%02x ", static_cast<unsigned char>(c));
    hex += digits;
  }
  EXPECT_EQ(hex,
            "24 00 00 00 2c f9 16 5f 04 "
            "77 66 55 44 33 22 11 00 ff ee dd cc bb aa 99 88 "
            "00 10 00 00 00 00 00 00 00 20 00 00 00 00 00 00 ef be ad de ");
}

}  // namespace
}  // namespace rangecache::cache
