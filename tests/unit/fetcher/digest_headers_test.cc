#include "fetcher/digest_headers.h"

#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

using Kind = Digest::Kind;
using Fields = std::vector<std::pair<const char*, const char*>>;

Digest digest(const Fields& fields, bool is_s3 = true) {
  HttpHeaders headers;
  for (const auto& [name, value] : fields) headers.add(name, value);
  return digest_in(headers, is_s3);
}

// Of "abc".
constexpr const char* kMd5 = "\"900150983cd24fb0d6963f7d28e17f72\"";
constexpr const char* kSha256 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

TEST(DigestHeaders, AnEtagOfOnePartIsTheMd5) {
  const Digest found = digest({{"ETag", kMd5}});
  EXPECT_EQ(found.kind, Kind::kMd5);
  EXPECT_EQ(found.value.substr(0, 3), "\x90\x01\x50");
  EXPECT_EQ(digest({{"ETag", kMd5}}, /*is_s3=*/false).kind, Kind::kNone);
  EXPECT_EQ(digest({{"ETag", kMd5}, {"x-amz-server-side-encryption", "AES256"}}).kind, Kind::kMd5);
  const Fields others[] = {
      {{"ETag", "\"900150983cd24fb0d6963f7d28e17f72-3\""}},
      {{"ETag", "\"900150983CD24FB0D6963F7D28E17F72\""}},
      {{"ETag", "W/\"900150983cd24fb0d6963f7d28e17f72\""}},
      {{"ETag", kMd5}, {"x-amz-server-side-encryption", "aws:kms"}},
      {{"ETag", kMd5}, {"x-amz-server-side-encryption-customer-algorithm", "AES256"}},
      {}};
  for (const Fields& fields : others) EXPECT_EQ(digest(fields).kind, Kind::kNone);
}

TEST(DigestHeaders, ChecksumsOfFullObjectsGoBefore) {
  EXPECT_EQ(digest({{"ETag", kMd5}, {"x-amz-checksum-sha256", kSha256}}).kind, Kind::kSha256);
  const Digest crc = digest({{"x-amz-checksum-crc64nvme", "rosUhgp5mIg="}});
  EXPECT_EQ(crc.kind, Kind::kCrc64Nvme);
  EXPECT_EQ(crc.value, "\xae\x8b\x14\x86\x0a\x79\x98\x88");
  EXPECT_EQ(digest({{"x-amz-checksum-crc32c", "4waSgw=="}}).value, "\xe3\x06\x92\x83");
  EXPECT_EQ(digest({{"x-amz-checksum-crc32c", "4waSgw==-2"}}).kind, Kind::kNone);
  EXPECT_EQ(
      digest({{"x-amz-checksum-crc32c", "4waSgw=="}, {"x-amz-checksum-type", "COMPOSITE"}}).kind,
      Kind::kNone);
  for (const char* garbage : {"", "=", "====", "4waS", "4waSgwAA", "!!!!!!=="})
    EXPECT_EQ(digest({{"x-amz-checksum-crc32c", garbage}}).kind, Kind::kNone) << garbage;
}

TEST(DigestHeaders, ReprDigestOfAnyServer) {
  const std::string field = std::string("sha-256=:") + kSha256 + ":";
  EXPECT_EQ(digest({{"Repr-Digest", field.c_str()}}, false).kind, Kind::kSha256);
  const std::string second = "sha-512=:AAAA:, " + field;
  EXPECT_EQ(digest({{"Repr-Digest", second.c_str()}}, false).kind, Kind::kSha256);
  for (const char* garbage : {"sha-256=:", "sha-256=::", "sha-256=:AAAA:", "xsha-256=:AAAA:"})
    EXPECT_EQ(digest({{"Repr-Digest", garbage}}, false).kind, Kind::kNone) << garbage;
}

}  // namespace
}  // namespace rangecache::fetcher
