#include "cache/digester.h"

#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace rangecache::cache {
namespace {

/// Of a reflected polynomial. CRC-32C is the one of RFC 3720; CRC-64/NVME of the NVM Command Set
/// Specification 1.0d, 5.2.1.3.4. Both begin with all ones and end inverted.
template <typename Crc>
constexpr std::array<Crc, 256> make_table(Crc polynomial) {
  std::array<Crc, 256> table{};
  for (std::size_t byte = 0; byte < table.size(); ++byte) {
    Crc crc = static_cast<Crc>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
    table[byte] = crc;
  }
  return table;
}

constexpr auto kCrc32c = make_table<std::uint32_t>(0x82f63b78);
constexpr auto kCrc64Nvme = make_table<std::uint64_t>(0x9a6c9329ac4bc9b5);

template <typename Crc>
Crc advance(const std::array<Crc, 256>& table, Crc crc, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes)
    crc = table[(crc ^ static_cast<Crc>(byte)) & 0xff] ^ static_cast<Crc>(crc >> 8);
  return crc;
}

std::string big_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> 8 * i);
  return text;
}

}  // namespace

struct Digester::Hash {
  Hash() : context(EVP_MD_CTX_new()) { CHECK(context != nullptr); }
  ~Hash() { EVP_MD_CTX_free(context); }
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;
  EVP_MD_CTX* context;
};

Digester::Digester(Digest::Kind kind) : kind_(kind) {
  CHECK(kind != Digest::Kind::kNone);
  if (kind != Digest::Kind::kMd5 && kind != Digest::Kind::kSha256) return;
  hash_ = std::make_unique<Hash>();
  const EVP_MD* type = kind == Digest::Kind::kMd5 ? EVP_md5() : EVP_sha256();
  CHECK(EVP_DigestInit_ex(hash_->context, type, nullptr) == 1);
}

Digester::~Digester() = default;

void Digester::update(std::span<const std::byte> bytes) {
  if (hash_) {
    CHECK(EVP_DigestUpdate(hash_->context, bytes.data(), bytes.size()) == 1);
  } else if (kind_ == Digest::Kind::kCrc32c) {
    crc_ = advance(kCrc32c, static_cast<std::uint32_t>(crc_), bytes);
  } else {
    crc_ = advance(kCrc64Nvme, crc_, bytes);
  }
}

std::string Digester::finish() {
  if (!hash_) {
    return kind_ == Digest::Kind::kCrc32c ? big_endian(static_cast<std::uint32_t>(~crc_), 4)
                                          : big_endian(~crc_, 8);
  }
  std::string value(EVP_MAX_MD_SIZE, '\0');
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(hash_->context, reinterpret_cast<unsigned char*>(value.data()), &size) ==
        1);
  value.resize(size);
  return value;
}

const char* to_string(Digest::Kind kind) {
  switch (kind) {
    case Digest::Kind::kNone:
      return "none";
    case Digest::Kind::kMd5:
      return "MD5";
    case Digest::Kind::kCrc32c:
      return "CRC32C";
    case Digest::Kind::kCrc64Nvme:
      return "CRC64NVME";
    case Digest::Kind::kSha256:
      return "SHA-256";
  }
  return "";
}

}  // namespace rangecache::cache
