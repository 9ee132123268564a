#include <gtest/gtest.h>

#include "cache/digester.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[c & 15];
  }
  return text;
}

std::string digest_of(Digest::Kind kind, std::string_view text) {
  Digester digester(kind);
  // In two parts, so that state must be kept.
  digester.update(std::as_bytes(std::span(text.substr(0, text.size() / 3))));
  digester.update(std::as_bytes(std::span(text.substr(text.size() / 3))));
  return hex(digester.finish());
}

TEST(Digester, AgreesWithPublishedValues) {
  using Kind = Digest::Kind;
  EXPECT_EQ(digest_of(Kind::kMd5, "abc"), "900150983cd24fb0d6963f7d28e17f72");  // RFC 1321 A.5
  EXPECT_EQ(digest_of(Kind::kSha256, "abc"),                                    // FIPS 180-2 B.1
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest_of(Kind::kCrc32c, "123456789"), "e3069283");  // the catalogue's check value
  EXPECT_EQ(digest_of(Kind::kCrc32c, std::string(32, '\0')), "8a9136aa");  // RFC 3720 B.4
  EXPECT_EQ(digest_of(Kind::kCrc64Nvme, "123456789"), "ae8b14860a799888");
  EXPECT_EQ(digest_of(Kind::kCrc64Nvme, std::string(4096, '\0')),
            "6482d367eb22b64e");  // NVM, fig. 121
}

class OriginDigest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = 9 * kMiB + 777;

  OriginDigest() : harness_(options()) {
    std::vector<std::byte> all(kSize);
    for (std::uint64_t i = 0; i < kSize; ++i) all[i] = FakeOrigin::content(1, i);
    Digester digester(Digest::Kind::kMd5);
    digester.update(all);
    right_ = {Digest::Kind::kMd5, digester.finish()};
  }
  CacheOptions options() {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = 64 << 20;
    options.memory_bytes = 32 << 20;
    // Chunks are merged while they are compared.
    options.merge_bytes_per_second = std::uint64_t{1} << 40;
    options.merge_settle_time = {};
    return options;
  }
  void open(const Digest& digest) {
    ASSERT_TRUE(harness_.open([&](FakeOrigin& origin) {
      origin.put("a", {.size = kSize, .lifetime_s = 3600, .digest = digest});
    }));
  }
  double right() const { return harness_.metric("rangecache_origin_checksums_right_total"); }
  double wrong() const { return harness_.metric("rangecache_origin_checksums_wrong_total"); }

  CacheHarness harness_;
  Digest right_;
};

TEST_F(OriginDigest, WhatCameWholeIsCompared) {
  open(right_);
  {
    const auto file = harness_.open_file("a");
    ASSERT_TRUE(file);
    EXPECT_EQ(CacheHarness::read(**file, {5 * kMiB, kSize}, 1), "");
  }
  harness_.finish_writes();
  harness_.settle();
  EXPECT_EQ(right() + wrong(), 0) << "a part says nothing";
  EXPECT_EQ(harness_.read_all("a", 1), "");
  while (right() == 0) std::this_thread::yield();
  EXPECT_EQ(wrong(), 0);
}

TEST_F(OriginDigest, WhatDiffersIsDroppedEachTimeItComes) {
  Digest another = right_;
  another.value[0] = static_cast<char>(another.value[0] ^ 1);
  open(another);
  for (int time = 1; time <= 2; ++time) {
    EXPECT_EQ(harness_.read_all("a", 1), "");
    while (wrong() < time) std::this_thread::yield();
    while (!harness_.chunk_files().empty()) std::this_thread::yield();
    harness_.settle();
  }
  EXPECT_EQ(right(), 0);
  EXPECT_GE(harness_.origin().bytes_sent(), 2 * kSize);
}

}  // namespace
}  // namespace rangecache::cache
