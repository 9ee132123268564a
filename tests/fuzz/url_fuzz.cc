// Input: a URL (a line), then a link on the page that it names.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>
#include <string>

#include "base/check.h"
#include "fetcher/redirect_guard.h"
#include "fetcher/s3_url.h"
#include "fetcher/url.h"
#include "tests/fuzz/input.h"

namespace rangecache::fetcher {
namespace {

bool has_dot_segment(std::string_view path) {
  while (!path.empty()) {
    const std::string_view segment = fuzz::take_until(path, '/');
    if (segment == "." || segment == "..") return true;
  }
  return false;
}

void check_http_url(const ParsedUrl& parsed) {
  const std::string path = parsed.key.substr(0, parsed.key.find('?'));
  CHECK(!has_dot_segment(path));
  CHECK(path.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
                               "%/") == std::string::npos);
  for (const char c : parsed.key) CHECK(c > ' ' && c < 0x7f && c != '#');
  const auto again = parse_url(parsed.base_url + "/" + parsed.key);
  CHECK(again && again->base_url == parsed.base_url && again->key == parsed.key);
  CHECK(again->user.empty() && again->password.empty() && again->origin_id == parsed.base_url);
}

void check_file_url(const ParsedUrl& parsed) {
  CHECK(!has_dot_segment(parsed.key) && parsed.key.find('\0') == std::string::npos);
  const auto again = parse_url("file:///" + canonical_path_of_raw(parsed.key));
  CHECK(again && again->is_file && again->key == parsed.key);
}

void check_url(const std::string& url) {
  const auto parsed = parse_url(url);
  if (!parsed) return;
  if (parsed->is_file) return check_file_url(*parsed);
  check_http_url(*parsed);
  // What is shown still leads there, but not as that user.
  const auto shown = parse_url(redact_url(url));
  CHECK(shown && shown->base_url == parsed->base_url);
  CHECK(shown->user.empty() && shown->password.empty());
}

void check_s3_url(const std::string& url) {
  if (!is_s3_url(url)) return;
  const auto parsed = parse_s3_url(url);
  if (!parsed) return;
  CHECK(fuzz::is_path_component(parsed->bucket) && parsed->key.size() <= 1024);
  std::string printed = parsed->endpoint_url.empty() ? "s3://" : "s3+" + parsed->endpoint_url + "/";
  printed += parsed->bucket + "/" + parsed->key;
  if (!parsed->version_id.empty()) printed += "?versionId=" + parsed->version_id;
  const auto again = parse_s3_url(printed);
  CHECK(again && again->endpoint_url == parsed->endpoint_url && again->bucket == parsed->bucket);
  CHECK(again->key == parsed->key && again->version_id == parsed->version_id);
}

void check_segments(const std::string& text) {
  CHECK(decode_segment(encode_segment(text)) == text);
  if (const auto path = canonical_path(text)) CHECK(canonical_path(*path) == *path);
  CHECK(canonical_path(canonical_path_of_raw(text)) == canonical_path_of_raw(text));
}

void check_link(const std::string& base, const std::string& reference) {
  if (base.find('\0') != std::string::npos || reference.find('\0') != std::string::npos) return;
  const auto link = resolve_link(base, reference);
  if (!link) return;
  CHECK(link->origin.substr(0, 4) == "http");
  CHECK(link->path.substr(0, 1) == "/" && !has_dot_segment(link->path));
}

/// An address in all its spellings.
void check_address(std::string_view bytes) {
  if (bytes.size() < 4) return;
  char text[INET6_ADDRSTRLEN];
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  std::memcpy(&v4.sin_addr, bytes.data(), 4);
  const bool forbidden = bytes.substr(0, 2) == "\xA9\xFE";
  CHECK(is_forbidden_redirect_target(reinterpret_cast<const sockaddr*>(&v4)) == forbidden);
  const std::string dotted = inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  CHECK(is_forbidden_redirect_target(dotted) == forbidden);
  CHECK(is_forbidden_redirect_target("::ffff:" + dotted) == forbidden);
  if (bytes.size() < 16) return;
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  std::memcpy(&v6.sin6_addr, bytes.data(), 16);
  CHECK(is_forbidden_redirect_target(reinterpret_cast<const sockaddr*>(&v6)) ==
        is_forbidden_redirect_target(
            std::string(inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text))));
}

}  // namespace
}  // namespace rangecache::fetcher

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache::fetcher;
  std::string_view text = rangecache::fuzz::text_of(data, size);
  check_address(text);
  check_segments(std::string(text));
  const std::string url(rangecache::fuzz::take_until(text, '\n'));
  check_url(url);
  check_s3_url(url);
  check_link(url, std::string(text));
  return 0;
}
