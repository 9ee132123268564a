#include <sys/stat.h>

#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

/// Version::file_parts: what may be lent to a client that reads by itself.
class FilePartsTest : public TempDirectoryTest {
 protected:
  FilePartsTest() : harness_(options()) {}
  ~FilePartsTest() override { harness_.close(); }

  CacheOptions options() {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = 256 * kMiB;
    options.memory_bytes = 64 * kMiB;
    return options;
  }
  void open() {
    ASSERT_TRUE(harness_.open([](FakeOrigin& origin) {
      origin.put("a", {.size = 10 * kMiB + 777, .lifetime_s = 3600});
    }));
  }
  VersionPtr version() {
    const auto file = harness_.open_file("a");
    EXPECT_TRUE(file) << file.error().message();
    return (*file)->version();
  }
  void read(ByteRange range) {
    const auto file = harness_.open_file("a");
    ASSERT_TRUE(file);
    ASSERT_EQ(CacheHarness::read(**file, range, 1), "");
  }
  /// In order, without gaps, of the right bytes, around `offset`; what they cover.
  static ByteRange covered(const std::vector<Version::FilePart>& parts, std::uint64_t offset) {
    if (parts.empty()) return {offset, offset};
    EXPECT_TRUE(parts.front().range.contains(offset));
    std::uint64_t at = parts.front().range.begin;
    std::vector<std::byte> bytes;
    for (const Version::FilePart& part : parts) {
      EXPECT_EQ(part.range.begin, at);
      EXPECT_EQ(part.slice.length, part.range.size());
      bytes.resize(part.range.size());
      EXPECT_EQ(
          ::pread(part.slice.fd, bytes.data(), bytes.size(), static_cast<off_t>(part.slice.offset)),
          static_cast<ssize_t>(bytes.size()));
      for (const std::byte byte : bytes) {
        if (byte != FakeOrigin::content(1, at)) {
          ADD_FAILURE() << "wrong byte at " << at;
          break;
        }
        ++at;
      }
    }
    return {parts.front().range.begin, at};
  }

  CacheHarness harness_;
};

TEST_F(FilePartsTest, AreTheChunksAroundAByteUpToTheNextGap) {
  open();
  read({0, 3 * kMiB});
  read({6 * kMiB, 7 * kMiB});
  harness_.finish_writes();
  const VersionPtr object = version();
  EXPECT_GT(object->chunks().size(), 2u);
  EXPECT_EQ(covered(object->file_parts(0, 16), 0), (ByteRange{0, 3 * kMiB}));
  EXPECT_EQ(covered(object->file_parts(6 * kMiB + 5, 16), 6 * kMiB + 5),
            (ByteRange{6 * kMiB, 7 * kMiB}));
  const auto limited = object->file_parts(0, 1);
  ASSERT_EQ(limited.size(), 1u);
  EXPECT_EQ(limited.front().range, object->chunks().front()->range);
  for (const std::uint64_t nowhere :
       {4 * kMiB, 10 * kMiB + 776, 10 * kMiB + 777, std::uint64_t{UINT64_MAX}})
    EXPECT_TRUE(object->file_parts(nowhere, 16).empty()) << nowhere;
  EXPECT_EQ(harness_.origin().bytes_sent(), 4 * kMiB) << "nothing is fetched for it";
}

TEST_F(FilePartsTest, HaveNoByteThatWasNotProvedInThisRun) {
  open();
  read({0, kMiB});
  harness_.finish_writes();
  harness_.close();
  open();
  EXPECT_TRUE(version()->file_parts(0, 16).empty());
  read({5 * kBlockSize + 1, 7 * kBlockSize});
  EXPECT_EQ(covered(version()->file_parts(6 * kBlockSize, 16), 6 * kBlockSize),
            (ByteRange{5 * kBlockSize, 7 * kBlockSize}));
  EXPECT_TRUE(version()->file_parts(0, 16).empty());
  EXPECT_TRUE(version()->file_parts(7 * kBlockSize, 16).empty());
}

TEST_F(FilePartsTest, StayReadableWhileTheChunksAreEvicted) {
  open();
  read({0, 2 * kMiB});
  harness_.finish_writes();
  const VersionPtr object = version();
  auto parts = object->file_parts(0, 16);
  std::promise<void> evicted;
  harness_.cache().evict([](const Version&) { return true; },
                         [&](Cache::Evicted) { evicted.set_value(); });
  evicted.get_future().wait();
  EXPECT_TRUE(object->file_parts(0, 16).empty());
  EXPECT_EQ(covered(parts, 0), (ByteRange{0, 2 * kMiB}));
  const std::uint64_t held = harness_.cache().disk_used();
  EXPECT_GE(held, 2 * kMiB) << "their space counts as long as they are lent";
  parts.clear();
  EXPECT_LT(harness_.cache().disk_used(), held - kMiB);
}

}  // namespace
}  // namespace rangecache::cache
