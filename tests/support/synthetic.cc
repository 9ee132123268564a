#include "tests/support/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace rangecache::test {
namespace {

constexpr std::uint64_t kWordSize = 16;
// Keeps small numbers from looking like holes.
constexpr std::uint32_t kMask32 = 0xA5C3'96E1;
constexpr std::uint64_t kMask64 = 0x9E37'79B9'7F4A'7C15;

struct Word {
  std::uint32_t key;
  std::uint32_t version;
  std::uint64_t offset;
};
using WordBytes = std::array<std::byte, kWordSize>;
static_assert(sizeof(Word) == kWordSize);

// FNV-1a.
std::uint32_t hash_of(std::string_view key) {
  std::uint32_t hash = 2166136261;
  for (const char c : key) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619;
  return hash;
}

WordBytes encode(const Word& word) {
  const Word masked{word.key ^ kMask32, word.version ^ kMask32, word.offset ^ kMask64};
  WordBytes bytes;
  std::memcpy(bytes.data(), &masked, kWordSize);
  return bytes;
}

Word decode(std::span<const std::byte> bytes) {
  Word word;
  std::memcpy(&word, bytes.data(), kWordSize);
  return {word.key ^ kMask32, word.version ^ kMask32, word.offset ^ kMask64};
}

}  // namespace

void fill_synthetic(std::string_view key, std::uint32_t version, std::uint64_t offset,
                    std::span<std::byte> out) {
  const std::uint32_t hash = hash_of(key);
  while (!out.empty()) {
    const std::uint64_t within = offset % kWordSize;
    const auto word = encode({hash, version, offset - within});
    const std::size_t n = std::min<std::size_t>(kWordSize - within, out.size());
    std::memcpy(out.data(), word.data() + within, n);
    out = out.subspan(n);
    offset += n;
  }
}

std::optional<std::string> verify_synthetic(std::string_view key, std::uint32_t version,
                                            std::uint64_t offset,
                                            std::span<const std::byte> bytes) {
  const std::uint32_t hash = hash_of(key);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::uint64_t within = (offset + at) % kWordSize;
    const std::uint64_t word_offset = offset + at - within;
    const std::size_t n = std::min<std::size_t>(kWordSize - within, bytes.size() - at);
    const auto right = encode({hash, version, word_offset});
    const auto got = bytes.subspan(at, n);
    if (std::memcmp(got.data(), right.data() + within, n) == 0) {
      at += n;
      continue;
    }
    const auto where = fmt::format("at offset {} of {} (version {}): ", offset + at, key, version);
    const auto rest = bytes.subspan(at);
    const auto zeros = static_cast<std::size_t>(
        std::find_if(rest.begin(), rest.end(), [](std::byte b) { return b != std::byte{0}; }) -
        rest.begin());
    if (zeros >= n) return where + fmt::format("{} zeros", zeros);
    if (n < kWordSize) return where + "a wrong piece of a word";
    const Word word = decode(got);
    if (word.offset % kWordSize != 0) return where + "garbage";
    if (word.key != hash) return where + "garbage, or another object's bytes";
    if (word.version != version) return where + fmt::format("version {}", word.version);
    return where + fmt::format("bytes of offset {}", word.offset);
  }
  return std::nullopt;
}

}  // namespace rangecache::test
