#include "cache/verifier.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace rangecache::cache {
namespace {

constexpr ByteRange kChunk{1'000'000, 1'000'000 + 3 * kBlockSize + 777};  // four blocks

class Verifier : public testing::Test {
 protected:
  Verifier() : fd_(::memfd_create("chunk", MFD_CLOEXEC)), data_(kChunk.size(), '\0') {
    std::mt19937 random(7);
    for (char& c : data_) c = static_cast<char>(random());
    EXPECT_EQ(::pwrite(fd_.get(), data_.data(), data_.size(), 0),
              static_cast<ssize_t>(data_.size()));
    for (std::size_t at = 0; at < data_.size(); at += kBlockSize) {
      checksums_.push_back(
          block_checksum(data_.data() + at, std::min<std::size_t>(kBlockSize, data_.size() - at)));
    }
  }
  bool verify(std::size_t begin, std::size_t end) {
    const BlockTable blocks(checksums_, /*proved=*/false);
    auto result = verify_blocks(posix_file_system(), fd_.get(), kChunk, blocks, {begin, end});
    EXPECT_TRUE(result) << result.error().message();
    return result && *result;
  }
  void flip_byte(std::uint64_t offset) {
    const char flipped = static_cast<char>(data_[offset] ^ 1);
    ASSERT_EQ(::pwrite(fd_.get(), &flipped, 1, static_cast<off_t>(offset)), 1);
  }

  UniqueFd fd_;
  std::string data_;
  std::vector<std::uint32_t> checksums_;
};

TEST(BlockChecksum, IsTheLowHalfOfXxh3) {
  // XXH3_64bits("") is 0x2d06800538d394c2: part of the algorithm's specification.
  EXPECT_EQ(block_checksum("", 0), 0x38d394c2u);
}

TEST_F(Verifier, TrueBytesAreProved) {
  EXPECT_TRUE(verify(0, 4));
  EXPECT_TRUE(verify(0, 4));
  EXPECT_TRUE(verify(3, 4));
}

TEST_F(Verifier, OneFlippedBitIsFoundInItsBlockAndNoOther) {
  flip_byte(2 * kBlockSize + 5);
  EXPECT_TRUE(verify(0, 2));
  EXPECT_FALSE(verify(2, 3));
  EXPECT_FALSE(verify(0, 4));
}

TEST_F(Verifier, TheLastByteOfTheShortLastBlockCounts) {
  flip_byte(kChunk.size() - 1);
  EXPECT_TRUE(verify(0, 3));
  EXPECT_FALSE(verify(3, 4));
}

TEST_F(Verifier, AShortFileIsNotProved) {
  ASSERT_EQ(::ftruncate(fd_.get(), static_cast<off_t>(kChunk.size() - 1)), 0);
  EXPECT_FALSE(verify(3, 4));
  EXPECT_TRUE(verify(0, 3));
  ASSERT_EQ(::ftruncate(fd_.get(), 0), 0);
  EXPECT_FALSE(verify(0, 1));
}

TEST_F(Verifier, AHoleIsNotProved) {
  ASSERT_EQ(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlockSize, 4096),
            0);
  EXPECT_FALSE(verify(1, 2));
}

TEST_F(Verifier, MoreBlocksThanOneReadTakesAreAllLookedAt) {
  data_.resize(100 * kBlockSize + 3, 'x');
  ASSERT_EQ(::pwrite(fd_.get(), data_.data(), data_.size(), 0), static_cast<ssize_t>(data_.size()));
  const ByteRange chunk = ByteRange::at(0, data_.size());
  const auto measured = measure_chunk(posix_file_system(), fd_.get(), chunk);
  ASSERT_TRUE(measured);
  ASSERT_EQ(measured->size(), 101u);
  const BlockTable blocks(*measured, false);
  const auto verify_all = [&] {
    return verify_blocks(posix_file_system(), fd_.get(), chunk, blocks, {0, 101}).value();
  };
  EXPECT_TRUE(verify_all());
  for (const std::size_t block : {0, 15, 16, 63, 64, 99, 100}) {
    const std::uint64_t at = block * kBlockSize + 2;
    flip_byte(at);
    EXPECT_FALSE(verify_all()) << block;
    ASSERT_EQ(::pwrite(fd_.get(), &data_[at], 1, static_cast<off_t>(at)), 1);
  }
}

TEST_F(Verifier, AFileThatIsTooShortCannotBeMeasured) {
  ASSERT_EQ(::ftruncate(fd_.get(), 10), 0);
  const auto measured = measure_chunk(posix_file_system(), fd_.get(), kChunk);
  ASSERT_FALSE(measured);
  EXPECT_EQ(measured.error().code, ErrorCode::kCorrupt);
}

TEST_F(Verifier, ADiskThatFailsIsAnErrorAndNotAVerdict) {
  const UniqueFd write_only(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  const auto result = verify_blocks(posix_file_system(), write_only.get(), kChunk,
                                    BlockTable(checksums_, false), {0, 1});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
  EXPECT_EQ(result.error().sys_errno, EBADF);
}

}  // namespace
}  // namespace rangecache::cache
