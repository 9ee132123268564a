#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "cache/chunk_store.h"

namespace rangecache::cache {

inline constexpr std::uint64_t kMiB = 1 << 20;

/// Of the file's pages, how many stand in the page cache.
inline double share_in_page_cache(const std::string& path, std::size_t size) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  EXPECT_NE(map, MAP_FAILED);
  std::vector<unsigned char> resident((size + 4095) / 4096);
  EXPECT_EQ(::mincore(map, size, resident.data()), 0);
  ::munmap(map, size);
  return static_cast<double>(std::count_if(resident.begin(), resident.end(),
                                           [](unsigned char page) { return (page & 1) != 0; })) /
         static_cast<double>(resident.size());
}

/// A fresh private directory for each test, gone afterwards.
class TempDirectoryTest : public testing::Test {
 protected:
  TempDirectoryTest() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "rangecache-store-XXXXXX").string();
    if (!::mkdtemp(pattern.data())) std::abort();
    root_ = pattern;
    directory_ = root_ / "cache";
  }
  ~TempDirectoryTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  static std::string read_text(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  static std::size_t entries(const std::filesystem::path& path) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
  }
  static mode_t mode_of(const std::filesystem::path& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
  }

  static VersionRecord version_record(const std::string& key, const std::string& tag = "\"1\"") {
    VersionRecord record;
    record.origin_id = "http://origin";
    record.key = key;
    record.validator = {Validator::Kind::kEtag, tag};
    record.size = 64 * kMiB;
    record.modified_s = 1'600'000'000;
    record.id = VersionId::of(record.origin_id, record.key, record.validator, record.size);
    return record;
  }
  /// `size` bytes that differ by seed and place.
  static std::shared_ptr<std::vector<std::byte>> some_bytes(std::size_t size, std::uint64_t seed) {
    auto bytes = std::make_shared<std::vector<std::byte>>(size);
    for (std::size_t i = 0; i < size; ++i)
      (*bytes)[i] = static_cast<std::byte>(((i + seed) * 0x9e3779b97f4a7c15ULL) >> 56);
    return bytes;
  }
  static std::uint64_t checksum(std::span<const std::byte> bytes) {
    std::vector<std::uint32_t> blocks;
    for (; !bytes.empty(); bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), kBlockSize)))
      blocks.push_back(
          block_checksum(bytes.data(), std::min<std::size_t>(bytes.size(), kBlockSize)));
    return chunk_checksum(blocks);
  }

  std::filesystem::path root_;
  std::filesystem::path directory_;
};

}  // namespace rangecache::cache
