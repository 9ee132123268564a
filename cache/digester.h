#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/origin.h"

namespace rangecache::cache {

/// Computes a Digest over bytes in their order. Not thread-safe.
class Digester {
 public:
  explicit Digester(Digest::Kind kind);
  ~Digester();
  void update(std::span<const std::byte> bytes);
  std::string finish();  ///< raw bytes, as Digest::value; once

 private:
  struct Hash;
  const Digest::Kind kind_;
  std::unique_ptr<Hash> hash_;  ///< of OpenSSL
  std::uint64_t crc_ = ~std::uint64_t{0};
};

/// "MD5", for messages.
const char* to_string(Digest::Kind kind);

}  // namespace rangecache::cache
