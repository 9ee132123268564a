#include "fetcher/digest_headers.h"

#include <openssl/evp.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

namespace rangecache::fetcher {
namespace {

std::optional<std::string> from_base64(std::string_view text, std::size_t size) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 128) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int decoded = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                      reinterpret_cast<const unsigned char*>(text.data()),
                                      static_cast<int>(text.size()));
  if (decoded < static_cast<int>(size)) return std::nullopt;
  // It counts the padding as bytes.
  const auto padding = static_cast<std::size_t>(std::count(text.begin(), text.end(), '='));
  if (static_cast<std::size_t>(decoded) - padding != size) return std::nullopt;
  out.resize(size);
  return out;
}

std::optional<std::string> from_hex(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
  }
  return out;
}

/// sha-256=:BASE64: among others, separated by commas.
Digest repr_digest(std::string_view text) {
  constexpr std::string_view kName = "sha-256=:";
  const std::size_t at = text.find(kName);
  if (at == std::string_view::npos || (at > 0 && text[at - 1] != ' ' && text[at - 1] != ','))
    return {};
  text.remove_prefix(at + kName.size());
  const auto value = from_base64(text.substr(0, text.find(':')), 32);
  return value ? Digest{Digest::Kind::kSha256, *value} : Digest{};
}

Digest s3_checksum(const HttpHeaders& headers) {
  struct Known {
    const char* header;
    Digest::Kind kind;
    std::size_t size;
  };
  static constexpr Known kKnown[] = {{"x-amz-checksum-sha256", Digest::Kind::kSha256, 32},
                                     {"x-amz-checksum-crc64nvme", Digest::Kind::kCrc64Nvme, 8},
                                     {"x-amz-checksum-crc32c", Digest::Kind::kCrc32c, 4}};
  const std::string* type = headers.find("x-amz-checksum-type");
  if (type && *type != "FULL_OBJECT") return {};
  for (const Known& known : kKnown) {
    const std::string* text = headers.find(known.header);
    // "...-3": a checksum of the checksums of three parts.
    if (!text || text->find('-') != std::string::npos) continue;
    if (auto value = from_base64(*text, known.size)) return {known.kind, *std::move(value)};
  }
  return {};
}

Digest s3_etag(const HttpHeaders& headers) {
  const std::string* encryption = headers.find("x-amz-server-side-encryption");
  if ((encryption && *encryption != "AES256") ||
      headers.find("x-amz-server-side-encryption-customer-algorithm"))
    return {};
  const std::string* etag = headers.find("etag");
  if (!etag || etag->size() != 34 || etag->front() != '"' || etag->back() != '"') return {};
  auto value = from_hex(std::string_view(*etag).substr(1, 32));
  return value ? Digest{Digest::Kind::kMd5, *std::move(value)} : Digest{};
}

}  // namespace

Digest digest_in(const HttpHeaders& headers, bool is_s3) {
  if (const Digest digest = repr_digest(headers.joined("repr-digest"));
      digest.kind != Digest::Kind::kNone)
    return digest;
  if (!is_s3) return {};
  const Digest checksum = s3_checksum(headers);
  return checksum.kind != Digest::Kind::kNone ? checksum : s3_etag(headers);
}

}  // namespace rangecache::fetcher
