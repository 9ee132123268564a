#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rangecache::fetcher {

/// Secret, all of it: never logged, shown or written down.
struct AwsCredentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  ///< empty: none
};

/// AWS Signature Version 4 in the Authorization header, as S3 wants it: paths are encoded once and
/// not normalised (AWS, "Authenticating Requests: Using the Authorization Header"). libcurl's own
/// signer does not canonicalise all queries and paths. NOT thread-safe.
class SigV4 {
 public:
  explicit SigV4(std::string region, std::string service = "s3")
      : region_(std::move(region)), service_(std::move(service)) {}

  struct Request {
    std::string_view method;
    std::string_view path;   ///< as it is sent: percent-encoded, with the leading slash
    std::string_view query;  ///< as it is sent, without '?'; encoded as encode_segment() does
    /// All that is signed, "host" among them; names in lower case, in any order.
    std::vector<std::pair<std::string, std::string>> headers;
    std::string_view payload_hash;  ///< also sent as x-amz-content-sha256
  };
  /// The value of the Authorization header. `headers` must have x-amz-date, of this same time.
  std::string authorization(Request request, const AwsCredentials& credentials,
                            std::int64_t unix_s);

  /// "20130524T000000Z", for x-amz-date.
  static std::string timestamp(std::int64_t unix_s);
  /// Of a request without a body.
  static constexpr std::string_view kEmptyPayload =
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

 private:
  using Digest = std::array<unsigned char, 32>;
  const Digest& key_of_day(std::string_view day, const AwsCredentials& credentials);

  std::string region_;
  std::string service_;
  // Four of the six HMACs of a signature are the same all day.
  Digest key_{};
  std::string key_day_, key_secret_;
};

}  // namespace rangecache::fetcher
