#include "cache/manifest.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "store_fixture.h"
#include "tests/support/faulty_file_system.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

struct State final : Manifest::Visitor {
  void on_version(VersionRecord&& record) override { versions[record.id.low] = record.key; }
  void on_version_removed(const VersionId& id) override { versions.erase(id.low); }
  void on_chunk(ChunkRecord&& record) override {
    chunks[{record.version.low, record.range.begin}] = record.checksums.at(0);
  }
  void on_chunk_removed(const VersionId& id, ByteRange range) override {
    chunks.erase({id.low, range.begin});
  }
  void on_reset() override {
    versions.clear();
    chunks.clear();
  }
  std::map<std::uint64_t, std::string> versions;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> chunks;
};

VersionRecord version(std::uint64_t id) {
  VersionRecord record;
  record.id = {0, id};
  record.key = "key" + std::to_string(id);
  record.origin_id = "origin";
  record.size = 1 << 20;
  return record;
}

ChunkRecord chunk(std::uint64_t id, std::uint64_t begin) {
  return {{0, id}, {begin, begin + 100}, {static_cast<std::uint32_t>(begin + 7)}};
}

class ManifestTest : public TempDirectoryTest {
 protected:
  ManifestTest() { fs::create_directories(manifest_dir()); }
  fs::path manifest_dir() const { return directory_ / "manifest"; }
  fs::path file(const char* name) const { return manifest_dir() / name; }

  std::unique_ptr<Manifest> open() {
    state_ = {};
    report_ = {};
    auto manifest = std::make_unique<Manifest>(files_, directory_.string(), Manifest::Options{});
    auto opened = manifest->open(state_);
    EXPECT_TRUE(opened) << opened.error().message();
    if (!opened) return nullptr;
    report_ = *opened;
    return manifest;
  }
  template <typename Dump>
  static Result<void> checkpoint(Manifest& manifest, Dump dump) {
    RC_ASSIGN(auto writer, manifest.begin_checkpoint());
    dump(*writer);
    return manifest.finish_checkpoint(std::move(writer));
  }
  void write(const char* name, const std::string& bytes) {
    std::ofstream(file(name), std::ios::binary | std::ios::trunc) << bytes;
  }
  void wipe() {
    fs::remove_all(manifest_dir());
    fs::create_directories(manifest_dir());
  }
  /// A version and `count` chunks in journal.1, closed in order.
  void fill(std::uint64_t count) {
    auto manifest = open();
    manifest->append_version(version(1));
    for (std::uint64_t i = 0; i < count; ++i) manifest->append_chunk(chunk(1, i * 100));
    ASSERT_TRUE(manifest->close(true));
  }
  /// Whatever was kept must be what fill() wrote.
  void expect_no_wrong_record() {
    for (const auto& [id, key] : state_.versions) {
      EXPECT_EQ(id, 1U);
      EXPECT_EQ(key, "key1");
    }
    for (const auto& [at, sum] : state_.chunks) EXPECT_EQ(sum, at.second + 7);
  }

  FaultyFileSystem files_{posix_file_system()};
  State state_;
  LoadReport report_;
};

TEST_F(ManifestTest, RecordsAndRemovalsComeBackAfterACleanStop) {
  {
    auto manifest = open();
    manifest->append_version(version(1));
    manifest->append_version(version(2));
    manifest->append_chunk(chunk(1, 0));
    manifest->append_chunk(chunk(1, 100));
    manifest->append_chunk_removed({0, 1}, {0, 100});
    manifest->append_version_removed({0, 2});
    ASSERT_TRUE(manifest->close(true));
  }
  open();
  EXPECT_EQ(state_.versions.size(), 1U);
  EXPECT_EQ(state_.chunks.size(), 1U);
  EXPECT_TRUE(state_.chunks.contains({1, 100}));
  EXPECT_TRUE(report_.clean_stop);
  EXPECT_TRUE(report_.same_boot);
  EXPECT_EQ(report_.bytes_dropped, 0U);
}

TEST_F(ManifestTest, CleanMarkCountsOnlyOnce) {
  fill(1);
  open();
  EXPECT_TRUE(report_.clean_stop);
  open();
  EXPECT_FALSE(report_.clean_stop);
  EXPECT_EQ(state_.chunks.size(), 1U);
}

TEST_F(ManifestTest, DamageIsNotReadToTheEndOfTheFile) {
  fill(1);
  std::ofstream(file("journal.1"), std::ios::binary | std::ios::app) << std::string(64 << 20, 'x');
  const int before = files_.calls(Call::kReadAt);
  open();
  EXPECT_EQ(state_.chunks.size(), 1U);
  EXPECT_EQ(report_.bytes_dropped, 64U << 20);
  EXPECT_LT(files_.calls(Call::kReadAt) - before, 14) << "of up to 4 MiB each";
}

TEST_F(ManifestTest, CloseWithoutTheMarkIsUnclean) {
  auto manifest = open();
  manifest->append_version(version(1));
  ASSERT_TRUE(manifest->close(false));
  open();
  EXPECT_FALSE(report_.clean_stop);
  EXPECT_EQ(state_.versions.size(), 1U);
}

TEST_F(ManifestTest, OneGenerationBeforeTheNewestCheckpointIsKept) {
  write("checkpoint.new", "left by a crash");
  auto manifest = open();
  for (std::uint64_t i = 1; i <= 3; ++i) {
    manifest->append_version(version(i));
    ASSERT_TRUE(checkpoint(*manifest, [i](CheckpointWriter& sink) {
      for (std::uint64_t id = 1; id <= i; ++id) sink.version(version(id));
    }));
  }
  ASSERT_TRUE(manifest->close(true));
  for (const char* gone : {"journal.1", "journal.2", "checkpoint.2", "checkpoint.new"})
    EXPECT_FALSE(fs::exists(file(gone))) << gone;
  for (const char* kept : {"checkpoint.3", "journal.3", "checkpoint.4", "journal.4"})
    EXPECT_TRUE(fs::exists(file(kept))) << kept;
  for (const char* damaged : {"checkpoint.4", ""}) {
    if (*damaged) write(damaged, "garbage");
    open();
    EXPECT_EQ(state_.versions.size(), 3U) << "the generation before and its journal have it all";
  }
}

TEST_F(ManifestTest, WhatHappensWhileACheckpointIsWrittenIsNotLost) {
  auto manifest = open();
  manifest->append_version(version(1));
  manifest->append_chunk(chunk(1, 0));
  auto writer = manifest->begin_checkpoint();
  ASSERT_TRUE(writer);
  manifest->append_chunk(chunk(1, 100));  // comes before its place in the dump is reached
  (*writer)->version(version(1));
  (*writer)->chunk(chunk(1, 0));
  (*writer)->chunk(chunk(1, 100));
  manifest->append_chunk_removed({0, 1}, {0, 100});  // goes after it was dumped
  ASSERT_TRUE(manifest->flush());
  for (const bool finished : {false, true}) {
    if (finished) {
      ASSERT_TRUE(manifest->finish_checkpoint(*std::move(writer)));
    }
    State state;
    Manifest reader(posix_file_system(), directory_.string(), {});
    ASSERT_TRUE(reader.open(state));
    fs::remove(file("journal.3"));  // the reader's own
    EXPECT_EQ(state.chunks.size(), 1U) << finished;
    EXPECT_TRUE(state.chunks.contains({1, 100})) << finished;
  }
}

TEST_F(ManifestTest, ALostTailBetweenTwoJournalsIsSeen) {
  fill(3);
  { open()->append_chunk(chunk(1, 900)); }
  auto manifest = open();
  manifest->append_chunk(chunk(1, 700));
  ASSERT_TRUE(manifest->close(true));
  manifest.reset();
  // A power cut may take whole records off a journal: what is left of it looks whole.
  const std::string whole = read_text(file("journal.1"));
  const std::size_t last = 9 + 16 + 16 + 4;
  write("journal.1", whole.substr(0, whole.size() - 9 - last));  // and the clean mark
  open();
  EXPECT_FALSE(report_.clean_stop);
  EXPECT_FALSE(report_.problem.empty());
  EXPECT_EQ(state_.chunks.size(), 2U);
}

TEST_F(ManifestTest, CheckpointReplacesOlderGenerationsAndALeftoverTemporary) {
  write("checkpoint.new", "left by a crash");
  auto manifest = open();
  manifest->append_version(version(9));
  ASSERT_TRUE(checkpoint(*manifest, [](CheckpointWriter& sink) {
    sink.version(version(1));
    sink.chunk(chunk(1, 0));
  }));
  manifest->append_chunk(chunk(1, 100));
  ASSERT_TRUE(manifest->close(true));
  EXPECT_FALSE(fs::exists(file("checkpoint.new")));
  open();
  EXPECT_EQ(state_.versions.size(), 1U);
  EXPECT_EQ(state_.chunks.size(), 2U);
  EXPECT_TRUE(report_.clean_stop);
}

TEST_F(ManifestTest, JournalCutAtEveryLengthKeepsOnlyAPrefix) {
  fill(4);
  const std::string good = read_text(file("journal.1"));
  std::size_t kept = 0;
  for (std::size_t n = 0; n < good.size(); ++n) {
    wipe();
    write("journal.1", good.substr(0, n));
    open();
    expect_no_wrong_record();
    EXPECT_FALSE(report_.clean_stop) << n;
    const std::size_t now = state_.versions.size() + state_.chunks.size();
    EXPECT_GE(now, kept);
    kept = now;
  }
  EXPECT_EQ(kept, 5U);
}

TEST_F(ManifestTest, AnyFlippedBitIsNeverAWrongRecordNorACleanStop) {
  fill(3);
  const std::string good = read_text(file("journal.1"));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    wipe();
    write("journal.1", bad);
    open();
    expect_no_wrong_record();
    EXPECT_FALSE(report_.clean_stop) << bit;
    EXPECT_GT(report_.bytes_dropped, 0U) << bit;
  }
}

TEST_F(ManifestTest, DamagedCheckpointIsNotUsedInPart) {
  auto manifest = open();
  ASSERT_TRUE(checkpoint(*manifest, [](CheckpointWriter& sink) {
    sink.version(version(1));
    sink.chunk(chunk(1, 0));
  }));
  manifest.reset();
  const std::string good = read_text(file("checkpoint.2"));
  for (std::size_t n = 0; n < good.size(); ++n) {
    wipe();
    write("checkpoint.2", good.substr(0, n));
    open();
    EXPECT_TRUE(state_.versions.empty() && state_.chunks.empty()) << n;
    EXPECT_FALSE(report_.problem.empty());
  }
}

TEST_F(ManifestTest, DamagedNewestCheckpointFallsBackToTheGenerationBefore) {
  fill(2);
  write("checkpoint.2", "garbage");
  open();
  EXPECT_EQ(state_.chunks.size(), 2U);
  EXPECT_FALSE(report_.clean_stop);
}

TEST_F(ManifestTest, GarbageEverywhereOpensEmptyAndWorks) {
  write("journal.3", std::string(5000, '\xff'));
  write("checkpoint.3", std::string(5000, '\0'));
  write("journal.99999999999999999999", "x");
  write("checkpoint.x", "x");
  auto manifest = open();
  EXPECT_TRUE(state_.versions.empty());
  manifest->append_version(version(1));
  ASSERT_TRUE(manifest->flush());
}

TEST_F(ManifestTest, AfterATornTailACheckpointMakesLaterRecordsCountAgain) {
  fill(2);
  const std::string good = read_text(file("journal.1"));
  write("journal.1", good.substr(0, good.size() - 1));
  auto manifest = open();
  ASSERT_TRUE(manifest->wants_checkpoint());
  ASSERT_TRUE(checkpoint(*manifest, [](CheckpointWriter& sink) {
    sink.version(version(1));
    sink.chunk(chunk(1, 0));
  }));
  EXPECT_FALSE(manifest->wants_checkpoint());
  manifest->append_chunk(chunk(1, 500));
  ASSERT_TRUE(manifest->close(true));
  open();
  EXPECT_TRUE(state_.chunks.contains({1, 500}));
  EXPECT_TRUE(report_.clean_stop);
}

TEST_F(ManifestTest, MissingJournalBetweenOthersIsNoCleanStop) {
  fill(1);
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(open()->close(true));
  fs::remove(file("journal.2"));
  open();
  EXPECT_FALSE(report_.clean_stop);
  EXPECT_FALSE(report_.problem.empty());
}

TEST_F(ManifestTest, FailedWriteTakesNothingMoreUntilACheckpoint) {
  auto manifest = open();
  manifest->append_version(version(1));
  ASSERT_TRUE(manifest->flush());
  files_.fail(Call::kWrite, ENOSPC);
  manifest->append_chunk(chunk(1, 0));
  EXPECT_FALSE(manifest->flush());
  manifest->append_chunk(chunk(1, 100));
  EXPECT_FALSE(manifest->flush());
  EXPECT_TRUE(manifest->wants_checkpoint());
  ASSERT_TRUE(checkpoint(*manifest, [](CheckpointWriter& sink) { sink.version(version(1)); }));
  manifest->append_chunk(chunk(1, 200));
  ASSERT_TRUE(manifest->close(true));
  open();
  EXPECT_EQ(state_.chunks.size(), 1U);
  EXPECT_TRUE(state_.chunks.contains({1, 200}));
}

TEST_F(ManifestTest, FailedCheckpointLeavesTheOldGenerationInUse) {
  auto manifest = open();
  manifest->append_version(version(1));
  ASSERT_TRUE(manifest->flush());
  files_.fail(Call::kRename, EIO);
  EXPECT_FALSE(checkpoint(*manifest, [](CheckpointWriter& sink) { sink.version(version(2)); }));
  manifest->append_chunk(chunk(1, 0));
  ASSERT_TRUE(manifest->close(true));
  open();
  EXPECT_TRUE(state_.versions.contains(1));
  EXPECT_EQ(state_.chunks.size(), 1U);
}

TEST_F(ManifestTest, DirectoryThatCannotBeListedIsNotOverwritten) {
  fill(1);
  const std::string before = read_text(file("journal.1"));
  files_.fail(Call::kList, EIO);
  Manifest manifest(files_, directory_.string(), {});
  EXPECT_FALSE(manifest.open(state_));
  EXPECT_EQ(read_text(file("journal.1")), before);
}

TEST_F(ManifestTest, RecordTooLargeToReadBackLosesNoOther) {
  auto manifest = open();
  VersionRecord huge = version(2);
  huge.validator.value = std::string(100'000, 'e');
  manifest->append_version(huge);
  manifest->append_version(version(1));
  ASSERT_TRUE(manifest->close(true));
  open();
  EXPECT_EQ(state_.versions.size(), 1U);
  EXPECT_TRUE(report_.clean_stop);
}

TEST_F(ManifestTest, DiskBytesCountTheJournalsOfEarlierStarts) {
  fill(1);
  const std::uint64_t first = open()->disk_bytes();
  EXPECT_GT(open()->disk_bytes(), first);
}

}  // namespace
}  // namespace rangecache::cache
