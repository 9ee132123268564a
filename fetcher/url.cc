#include "fetcher/url.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace rangecache::fetcher {
namespace {

using UrlHandle = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string part_of(CURLU* handle, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(handle, part, &text, flags) != CURLUE_OK || text == nullptr) return {};
  std::string copy(text);
  curl_free(text);
  return copy;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

/// "scheme://host[:port]" without the default port.
std::string authority_of(CURLU* handle) {
  const std::string scheme = lower(part_of(handle, CURLUPART_SCHEME));
  std::string text = scheme + "://" + lower(part_of(handle, CURLUPART_HOST));
  const std::string port = part_of(handle, CURLUPART_PORT);
  const char* default_port = scheme == "https" ? "443" : "80";
  if (!port.empty() && port != default_port) text += ":" + port;
  return text;
}

/// A query means what its server says it means: only what cannot stand in a URL is encoded.
std::string canonical_query(std::string_view query) {
  std::string text;
  for (std::size_t i = 0; i < query.size(); ++i) {
    const char c = query[i];
    const auto byte = static_cast<unsigned char>(c);
    const bool escape = c == '%' && i + 2 < query.size() && hex_value(query[i + 1]) >= 0 &&
                        hex_value(query[i + 2]) >= 0;
    if (escape) {
      text += fmt::format("%{:02X}", hex_value(query[i + 1]) * 16 + hex_value(query[i + 2]));
      i += 2;
    } else if (byte <= 0x20 || byte >= 0x7f || c == '"' || c == '<' || c == '>' || c == '%') {
      text += fmt::format("%{:02X}", byte);
    } else {
      text += c;
    }
  }
  return text;
}

bool has_dot_segment(std::string_view path) {
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view segment = path.substr(begin, end - begin);
    if (segment == "." || segment == "..") return true;
    begin = end + 1;
  }
  return false;
}

/// FNV-1a: tells users of one host apart in cache keys without writing their names down.
std::uint32_t name_hash(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return static_cast<std::uint32_t>(hash ^ (hash >> 32));
}

Error bad_url(std::string_view url, std::string_view why) {
  return Error{ErrorCode::kInvalidArgument, fmt::format("URL '{}': {}", redact_url(url), why)};
}

}  // namespace

Result<ParsedUrl> parse_url(std::string_view url) {
  if (std::any_of(url.begin(), url.end(), is_control))
    return Error{ErrorCode::kInvalidArgument, "the URL contains control characters"};
  const std::string scheme = lower(std::string(url.substr(0, url.find("://"))));
  if (scheme != "http" && scheme != "https" && scheme != "file")
    return bad_url(url, "must begin with http://, https://, s3:// or file:///");

  const UrlHandle handle(curl_url(), curl_url_cleanup);
  const CURLUcode code =
      curl_url_set(handle.get(), CURLUPART_URL, std::string(url).c_str(), CURLU_ALLOW_SPACE);
  if (code != CURLUE_OK) return bad_url(url, curl_url_strerror(code));

  const auto path = canonical_path(part_of(handle.get(), CURLUPART_PATH));
  if (!path) return bad_url(url, "has a malformed percent-escape");
  if (has_dot_segment(*path)) return bad_url(url, "has '.' or '..' as a path segment");

  ParsedUrl parsed;
  parsed.key = path->empty() ? "" : path->substr(1);
  if (scheme == "file") {
    parsed.is_file = true;
    parsed.origin_id = parsed.base_url = "file://";
    std::string raw;
    for (std::size_t begin = 0; begin <= parsed.key.size();) {
      const std::size_t end = std::min(parsed.key.find('/', begin), parsed.key.size());
      const auto name = decode_segment(std::string_view(parsed.key).substr(begin, end - begin));
      if (!name || name->find('/') != std::string::npos || name->find('\0') != std::string::npos)
        return bad_url(url, "has an encoded '/' or NUL in a file name");
      raw += *name;
      if (end < parsed.key.size()) raw += '/';
      begin = end + 1;
    }
    parsed.key = raw;
    return parsed;
  }
  const std::string query = part_of(handle.get(), CURLUPART_QUERY);
  if (!query.empty()) parsed.key += "?" + canonical_query(query);
  parsed.user = part_of(handle.get(), CURLUPART_USER, CURLU_URLDECODE);
  parsed.password = part_of(handle.get(), CURLUPART_PASSWORD, CURLU_URLDECODE);
  parsed.base_url = authority_of(handle.get());
  parsed.origin_id = parsed.base_url;
  if (!parsed.user.empty()) {
    const std::size_t host = parsed.origin_id.find("://") + 3;
    parsed.origin_id.insert(host, fmt::format("~{:08x}@", name_hash(parsed.user)));
  }
  return parsed;
}

std::string encode_segment(std::string_view raw) {
  std::string text;
  for (const char c : raw) {
    if (is_unreserved(c))
      text += c;
    else
      text += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return text;
}

std::optional<std::string> decode_segment(std::string_view encoded) {
  std::string text;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] != '%') {
      text += encoded[i];
      continue;
    }
    if (i + 2 >= encoded.size()) return std::nullopt;
    const int high = hex_value(encoded[i + 1]);
    const int low = hex_value(encoded[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    text += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return text;
}

std::optional<std::string> canonical_path(std::string_view path) {
  std::string text;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const auto segment = decode_segment(path.substr(begin, end - begin));
    if (!segment) return std::nullopt;
    text += encode_segment(*segment);
    if (end < path.size()) text += '/';
    begin = end + 1;
  }
  return text;
}

std::string canonical_path_of_raw(std::string_view raw_path) {
  std::string text;
  for (std::size_t begin = 0; begin <= raw_path.size();) {
    const std::size_t end = std::min(raw_path.find('/', begin), raw_path.size());
    text += encode_segment(raw_path.substr(begin, end - begin));
    if (end < raw_path.size()) text += '/';
    begin = end + 1;
  }
  return text;
}

std::optional<ResolvedLink> resolve_link(const std::string& base, const std::string& reference) {
  const UrlHandle handle(curl_url(), curl_url_cleanup);
  if (curl_url_set(handle.get(), CURLUPART_URL, base.c_str(), CURLU_ALLOW_SPACE) != CURLUE_OK ||
      curl_url_set(handle.get(), CURLUPART_URL, reference.c_str(), CURLU_ALLOW_SPACE) != CURLUE_OK)
    return std::nullopt;
  const std::string scheme = part_of(handle.get(), CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return std::nullopt;
  ResolvedLink link;
  link.origin = authority_of(handle.get());
  link.path = part_of(handle.get(), CURLUPART_PATH);
  link.has_query = reference.find('?') != std::string::npos;
  return link;
}

std::string redact_url(std::string_view url) {
  std::string text(url);
  const std::size_t scheme = text.find("://");
  if (scheme != std::string::npos) {
    // libcurl, too, takes "https:///host" for "https://host".
    const std::size_t host = std::min(text.find_first_not_of('/', scheme + 3), text.size());
    const std::size_t at = text.substr(0, text.find_first_of("/?#", host)).rfind('@');
    if (at != std::string::npos && at >= host) text.erase(host, at + 1 - host);
  }
  const std::size_t query = text.find('?');
  if (query == std::string::npos) return text;
  std::string redacted = text.substr(0, query);
  for (std::size_t begin = query + 1; begin <= text.size();) {
    const std::size_t end = std::min(text.find('&', begin), text.size());
    const std::string parameter = text.substr(begin, end - begin);
    const std::size_t equals = parameter.find('=');
    redacted += begin == query + 1 ? '?' : '&';
    redacted += equals == std::string::npos ? "***" : parameter.substr(0, equals + 1) + "***";
    begin = end + 1;
  }
  return redacted;
}

}  // namespace rangecache::fetcher
