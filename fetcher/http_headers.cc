#include "fetcher/http_headers.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>

namespace rangecache::fetcher {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_token_char(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  const char l = lower(c);
  return is_digit(c) || (l >= 'a' && l <= 'z') || kOthers.find(c) != std::string_view::npos;
}

bool is_forbidden_in_value(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

/// Whether `text` has the shape of `pattern`: '9' a digit, 'a' a letter, others themselves.
bool has_shape(std::string_view text, std::string_view pattern) {
  return std::equal(text.begin(), text.end(), pattern.begin(), pattern.end(), [](char c, char p) {
    if (p == '9') return is_digit(c);
    if (p == 'a') return lower(c) >= 'a' && lower(c) <= 'z';
    if (p == '_') return is_digit(c) || c == ' ';
    return c == p;
  });
}

}  // namespace

void HttpHeaders::add(std::string_view name, std::string_view value) {
  std::string key(name);
  std::transform(key.begin(), key.end(), key.begin(), lower);
  fields_.emplace_back(std::move(key), std::string(value));
}

const std::string* HttpHeaders::find(std::string_view name) const {
  for (const auto& [key, value] : fields_)
    if (key == name) return &value;
  return nullptr;
}

std::size_t HttpHeaders::count(std::string_view name) const {
  return static_cast<std::size_t>(std::count_if(
      fields_.begin(), fields_.end(), [&](const auto& field) { return field.first == name; }));
}

std::vector<std::string_view> HttpHeaders::all(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const auto& [key, value] : fields_)
    if (key == name) values.push_back(value);
  return values;
}

std::string HttpHeaders::joined(std::string_view name) const {
  std::string text;
  for (const auto& [key, value] : fields_) {
    if (key != name) continue;
    if (!text.empty()) text += ", ";
    text += value;
  }
  return text;
}

std::optional<std::pair<std::string_view, std::string_view>> parse_header_line(
    std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (!std::all_of(name.begin(), name.end(), is_token_char)) return std::nullopt;
  if (std::any_of(value.begin(), value.end(), is_forbidden_in_value)) return std::nullopt;
  return std::pair{name, value};
}

std::optional<std::uint64_t> parse_decimal(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (UINT64_MAX - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const auto size = parse_decimal(text);
  return size && *size <= kMaxObjectSize ? size : std::nullopt;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (text.size() < kUnit.size() || !equals_ignoring_case(text.substr(0, kUnit.size()), kUnit))
    return std::nullopt;
  text.remove_prefix(kUnit.size());
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view span = text.substr(0, slash);
  const std::string_view total_text = text.substr(slash + 1);

  ContentRange parsed;
  if (total_text != "*") {
    parsed.total = parse_size(total_text);
    if (!parsed.total) return std::nullopt;
  }
  if (span == "*") return parsed.total ? std::optional(parsed) : std::nullopt;
  const std::size_t dash = span.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_decimal(span.substr(0, dash));
  const auto last = parse_decimal(span.substr(dash + 1));
  if (!first || !last || *last < *first || *last >= kMaxObjectSize) return std::nullopt;
  if (parsed.total && *parsed.total <= *last) return std::nullopt;
  parsed.range = ByteRange{*first, *last + 1};
  return parsed;
}

Result<std::optional<std::uint64_t>> content_length(const HttpHeaders& headers) {
  std::optional<std::uint64_t> length;
  std::string_view rest;
  const std::string all = headers.joined("content-length");
  for (rest = all; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const auto value = parse_size(trim(rest.substr(0, comma)));
    if (!value) return Error{ErrorCode::kOriginFailed, "an invalid Content-Length"};
    if (length && *length != *value)
      return Error{ErrorCode::kOriginFailed, "several Content-Lengths that differ"};
    length = value;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  // RFC 9112 §6.3: such a message may be an attempt to smuggle another response in.
  if (length && headers.find("transfer-encoding"))
    return Error{ErrorCode::kOriginFailed, "both Content-Length and Transfer-Encoding"};
  return length;
}

std::optional<EntityTag> parse_etag(std::string_view text) {
  EntityTag parsed;
  if (text.substr(0, 2) == "W/") {
    parsed.weak = true;
    text.remove_prefix(2);
  }
  if (text.size() < 2 || text.front() != '"' || text.back() != '"') return std::nullopt;
  for (const char c : text.substr(1, text.size() - 2)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || c == '"' || byte == 0x7f) return std::nullopt;
  }
  parsed.tag = std::string(text);
  return parsed;
}

std::optional<std::int64_t> parse_http_date(std::string_view text) {
  // curl_getdate() takes far more than HTTP allows ("tomorrow" it is not, but "1 Jan" it is).
  const std::size_t comma = text.find(',');
  const bool fixdate = has_shape(text, "aaa, 99 aaa 9999 99:99:99 GMT");
  const bool rfc850 = comma != std::string_view::npos && comma >= 6 && comma <= 9 &&
                      has_shape(text.substr(comma), ", 99-aaa-99 99:99:99 GMT");
  const bool asctime = has_shape(text, "aaa aaa _9 99:99:99 9999");
  if (!fixdate && !rfc850 && !asctime) return std::nullopt;
  std::string normal(text);
  if (asctime) normal += " GMT";
  const time_t seconds = curl_getdate(normal.c_str(), nullptr);
  if (seconds == -1) return std::nullopt;
  return static_cast<std::int64_t>(seconds);
}

std::optional<std::int64_t> parse_retry_after(std::string_view text, std::int64_t now_unix_s) {
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_digit)) {
    const auto seconds = parse_decimal(text);
    if (!seconds || *seconds > INT64_MAX) return INT64_MAX;
    return static_cast<std::int64_t>(*seconds);
  }
  const auto date = parse_http_date(text);
  if (!date) return std::nullopt;
  return std::max<std::int64_t>(0, *date - now_unix_s);
}

Validator validator_of(const HttpHeaders& headers) {
  if (const std::string* etag = headers.find("etag"); etag && headers.count("etag") == 1) {
    const auto parsed = parse_etag(*etag);
    if (parsed && !parsed->weak) return {Validator::Kind::kEtag, parsed->tag};
  }
  const std::string* modified = headers.find("last-modified");
  const std::string* date = headers.find("date");
  if (!modified || !date) return {};
  const auto modified_s = parse_http_date(*modified);
  const auto date_s = parse_http_date(*date);
  if (!modified_s || !date_s || *date_s < *modified_s + 1) return {};
  return {Validator::Kind::kLastModified, *modified};
}

bool matches(const Validator& expected, const HttpHeaders& headers) {
  switch (expected.kind) {
    case Validator::Kind::kNone:
      return true;
    case Validator::Kind::kEtag:
      return validator_of(headers) == expected;
    case Validator::Kind::kLastModified: {
      const std::string* modified = headers.find("last-modified");
      return modified && *modified == expected.value;
    }
    case Validator::Kind::kVersionId:
    case Validator::Kind::kPrivate:
      return false;
  }
  return false;
}

bool has_content_encoding(const HttpHeaders& headers) {
  const std::string encoding = headers.joined("content-encoding");
  return !encoding.empty() && !equals_ignoring_case(trim(encoding), "identity");
}

}  // namespace rangecache::fetcher
