#include "fetcher/sigv4.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <ctime>

#include "base/check.h"

namespace rangecache::fetcher {
namespace {

using Digest = std::array<unsigned char, 32>;

Digest hmac(std::string_view key, std::string_view text) {
  Digest digest;
  unsigned int length = 0;
  CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(),
             &length) != nullptr);
  CHECK(length == digest.size());
  return digest;
}

std::string_view view(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

std::string hex(const Digest& digest) {
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256(std::string_view text) {
  Digest digest;
  unsigned int length = 0;
  CHECK(EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1);
  return hex(digest);
}

/// Parameters sorted by name, then by value; one without '=' gets it.
std::string canonical_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> parameters;
  while (!query.empty()) {
    const std::string_view parameter = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(parameter.size() + 1, query.size()));
    if (parameter.empty()) continue;
    const std::size_t equals = std::min(parameter.find('='), parameter.size());
    parameters.emplace_back(parameter.substr(0, equals),
                            parameter.substr(std::min(equals + 1, parameter.size())));
  }
  std::sort(parameters.begin(), parameters.end());
  std::string text;
  for (const auto& [name, value] : parameters)
    text += (text.empty() ? "" : "&") + name + "=" + value;
  return text;
}

}  // namespace

std::string SigV4::timestamp(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return {text.data(), length};
}

const SigV4::Digest& SigV4::key_of_day(std::string_view day, const AwsCredentials& credentials) {
  if (key_day_ == day && key_secret_ == credentials.secret_access_key) return key_;
  const Digest of_day = hmac("AWS4" + credentials.secret_access_key, day);
  const Digest of_region = hmac(view(of_day), region_);
  const Digest of_service = hmac(view(of_region), service_);
  key_ = hmac(view(of_service), "aws4_request");
  key_day_ = day;
  key_secret_ = credentials.secret_access_key;
  return key_;
}

std::string SigV4::authorization(Request request, const AwsCredentials& credentials,
                                 std::int64_t unix_s) {
  std::sort(request.headers.begin(), request.headers.end());
  std::string headers, names;
  for (const auto& [name, value] : request.headers) {
    headers += name + ":" + value + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  const std::string canonical =
      fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, request.path,
                  canonical_query(request.query), headers, names, request.payload_hash);
  const std::string time = timestamp(unix_s);
  const std::string day = time.substr(0, 8);
  const std::string scope = fmt::format("{}/{}/{}/aws4_request", day, region_, service_);
  const std::string to_sign =
      fmt::format("AWS4-HMAC-SHA256\n{}\n{}\n{}", time, scope, sha256(canonical));
  const std::string signature = hex(hmac(view(key_of_day(day, credentials)), to_sign));
  return fmt::format("AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders={},Signature={}",
                     credentials.access_key_id, scope, names, signature);
}

}  // namespace rangecache::fetcher
