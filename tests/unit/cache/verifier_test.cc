#include "cache/verifier.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "base/file_system.h"
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
  bool verify(std::uint64_t blocks) {
    auto result = verify_blocks(posix_file_system(), fd_.get(), kChunk, checksums_, blocks);
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
  EXPECT_TRUE(verify(0b1111));
  EXPECT_TRUE(verify(~std::uint64_t{0}));
  EXPECT_TRUE(verify(0));
}

TEST_F(Verifier, OneFlippedBitIsFoundInItsBlockAndNoOther) {
  flip_byte(2 * kBlockSize + 5);
  EXPECT_TRUE(verify(0b1011));
  EXPECT_FALSE(verify(0b0100));
  EXPECT_FALSE(verify(0b1111));
}

TEST_F(Verifier, TheLastByteOfTheShortLastBlockCounts) {
  flip_byte(kChunk.size() - 1);
  EXPECT_TRUE(verify(0b0111));
  EXPECT_FALSE(verify(0b1000));
}

TEST_F(Verifier, AShortFileIsNotProved) {
  ASSERT_EQ(::ftruncate(fd_.get(), static_cast<off_t>(kChunk.size() - 1)), 0);
  EXPECT_FALSE(verify(0b1000));
  EXPECT_TRUE(verify(0b0111));
  ASSERT_EQ(::ftruncate(fd_.get(), 0), 0);
  EXPECT_FALSE(verify(0b0001));
}

TEST_F(Verifier, AHoleIsNotProved) {
  ASSERT_EQ(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlockSize, 4096),
            0);
  EXPECT_FALSE(verify(0b0010));
}

TEST_F(Verifier, ChecksumsThatDoNotFitTheChunkProveNothing) {
  checksums_.pop_back();
  EXPECT_FALSE(verify(0b0001));
  checksums_.clear();
  EXPECT_FALSE(verify(0));
}

TEST_F(Verifier, AllSixtyFourBlocksCanBeProved) {
  data_.resize(64 * kBlockSize, 'x');
  ASSERT_EQ(::pwrite(fd_.get(), data_.data(), data_.size(), 0), static_cast<ssize_t>(data_.size()));
  checksums_.clear();
  for (int i = 0; i < 64; ++i)
    checksums_.push_back(block_checksum(data_.data() + i * kBlockSize, kBlockSize));
  const ByteRange chunk = ByteRange::at(0, data_.size());
  EXPECT_TRUE(
      verify_blocks(posix_file_system(), fd_.get(), chunk, checksums_, ~std::uint64_t{0}).value());
  flip_byte(64 * kBlockSize - 1);
  EXPECT_FALSE(
      verify_blocks(posix_file_system(), fd_.get(), chunk, checksums_, std::uint64_t{1} << 63)
          .value());
}

TEST_F(Verifier, ADiskThatFailsIsAnErrorAndNotAVerdict) {
  const UniqueFd write_only(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  const auto result = verify_blocks(posix_file_system(), write_only.get(), kChunk, checksums_, 1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kIo);
  EXPECT_EQ(result.error().sys_errno, EBADF);
}

}  // namespace
}  // namespace rangecache::cache
