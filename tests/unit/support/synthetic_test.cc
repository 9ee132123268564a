#include "tests/support/synthetic.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace rangecache::test {
namespace {

std::vector<std::byte> body(std::uint32_t version, std::uint64_t offset, std::size_t size,
                            std::string_view key = "/f") {
  std::vector<std::byte> bytes(size);
  fill_synthetic(key, version, offset, bytes);
  return bytes;
}

std::string fault_of(const std::vector<std::byte>& bytes, std::uint64_t offset) {
  return verify_synthetic("/f", 1, offset, bytes).value_or("right");
}

TEST(Synthetic, EveryCutOfABodyIsRightAtItsPlace) {
  const auto whole = body(1, 0, 200);
  for (std::size_t begin = 0; begin < 40; ++begin) {
    for (std::size_t end = begin; end <= 200; end += 7) {
      const std::vector<std::byte> cut(whole.begin() + begin, whole.begin() + end);
      ASSERT_EQ(body(1, begin, end - begin), cut);
      ASSERT_EQ(fault_of(cut, begin), "right");
    }
  }
}

TEST(Synthetic, AWrongByteIsNamedForWhatItIs) {
  const auto ends_with = [](const std::string& text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
  };
  EXPECT_TRUE(ends_with(fault_of(body(2, 0, 64), 0), ": version 2"));
  EXPECT_TRUE(ends_with(fault_of(body(1, 4096, 64), 0), ": bytes of offset 4096"));
  EXPECT_TRUE(ends_with(fault_of(body(1, 0, 64, "/g"), 0), "another object's bytes"));
  auto hole = body(1, 0, 256);
  std::fill(hole.begin() + 32, hole.begin() + 96, std::byte{0});
  EXPECT_TRUE(ends_with(fault_of(hole, 0), "at offset 32 of /f (version 1): 64 zeros"))
      << fault_of(hole, 0);
  for (std::size_t at = 0; at < 64; ++at) {
    auto flipped = body(1, 5, 64);
    flipped[at] ^= std::byte{1};
    EXPECT_NE(fault_of(flipped, 5), "right") << at;
  }
}

}  // namespace
}  // namespace rangecache::test
