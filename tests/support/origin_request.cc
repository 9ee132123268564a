#include "tests/support/origin_request.h"

#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <charconv>

namespace rangecache::test {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::time_t> parse_date(const std::string& text) {
  std::tm time{};
  const char* end = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &time);
  if (!end || *end != '\0') return std::nullopt;
  return timegm(&time);
}

/// Whether a list of entity tags has `etag`. A strong comparison never matches a weak tag; a weak
/// one looks at the quoted part alone.
bool has_tag(std::string_view list, std::string_view etag, bool strong) {
  const auto opaque = [](std::string_view tag) {
    return tag.substr(0, 2) == "W/" ? tag.substr(2) : tag;
  };
  if (list == "*") return true;
  while (!list.empty()) {
    const auto begin = list.find_first_not_of(" \t,");
    if (begin == std::string_view::npos) return false;
    list.remove_prefix(begin);
    // A comma may stand within the quotes.
    const auto open = list.find('"');
    const auto close = open == std::string_view::npos ? open : list.find('"', open + 1);
    if (close == std::string_view::npos) return false;
    const auto tag = list.substr(0, close + 1);
    list.remove_prefix(close + 1);
    if (strong ? tag == etag && tag[0] == '"' : opaque(tag) == opaque(etag)) return true;
  }
  return false;
}

bool precondition_failed(const HttpRequest& request, const Representation& file) {
  if (const std::string& tags = request.header("if-match"); !tags.empty())
    return !has_tag(tags, file.etag, true);
  const auto since = parse_date(request.header("if-unmodified-since"));
  return since && file.modified > *since;
}

bool not_modified(const HttpRequest& request, const Representation& file) {
  if (const std::string& tags = request.header("if-none-match"); !tags.empty())
    return has_tag(tags, file.etag, false);
  const auto since = parse_date(request.header("if-modified-since"));
  return since && file.modified <= *since;
}

/// The range that "bytes=..." asks for: nullopt if there is none that is understood (then the
/// whole is sent), an empty one if it cannot be satisfied.
std::optional<ByteRange> asked_range(const std::string& text, std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (text.compare(0, kUnit.size(), kUnit) != 0 || text.find(',') != std::string::npos)
    return std::nullopt;
  const std::string_view spec = std::string_view(text).substr(kUnit.size());
  const auto dash = spec.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto number = [](std::string_view digits) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return value;
  };
  const auto first = number(spec.substr(0, dash)), last = number(spec.substr(dash + 1));
  if (!first && (!last || dash != 0)) return std::nullopt;
  if (!first) return ByteRange{size - std::min(size, *last), size};
  if (last && *last < *first) return std::nullopt;
  if (!last && dash + 1 != spec.size()) return std::nullopt;
  return ByteRange{std::min(*first, size), last && *last < size ? *last + 1 : size};
}

}  // namespace

const std::string& HttpRequest::header(const std::string& name) const {
  static const std::string kNone;
  const auto found = headers.find(name);
  return found == headers.end() ? kNone : found->second;
}

std::optional<HttpRequest> parse_request(std::string_view head) {
  HttpRequest request;
  auto line_end = head.find("\r\n");
  const std::string_view line = head.substr(0, line_end);
  const auto first = line.find(' '), second = line.rfind(' ');
  if (first == std::string_view::npos || second <= first) return std::nullopt;
  request.method = line.substr(0, first);
  request.target = line.substr(first + 1, second - first - 1);
  while (line_end != std::string_view::npos) {
    head.remove_prefix(line_end + 2);
    line_end = head.find("\r\n");
    const std::string_view field = head.substr(0, line_end);
    const auto colon = field.find(':');
    if (colon == std::string_view::npos) continue;
    std::string name(field.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    auto value = field.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    request.headers[name] = value;
  }
  return request;
}

std::optional<std::string> path_of(const std::string& target) {
  if (target.empty() || target[0] != '/') return std::nullopt;
  std::string path;
  const std::string encoded = target.substr(0, target.find('?'));
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    char c = encoded[i];
    if (c == '%') {
      if (i + 2 >= encoded.size()) return std::nullopt;
      const int high = hex_digit(encoded[i + 1]), low = hex_digit(encoded[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    path += c;
  }
  for (std::size_t at = 0; at != std::string::npos; at = path.find('/', at + 1)) {
    const auto end = path.find('/', at + 1);
    const auto part = path.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    if (part == "..") return std::nullopt;
  }
  return path;
}

Decision decide(const HttpRequest& request, const Representation& file) {
  if (precondition_failed(request, file)) return {412, {}};
  if (not_modified(request, file)) return {304, {}};
  const Decision whole{200, {0, file.size}};
  const std::string& range = request.header("range");
  if (range.empty() || request.method != "GET") return whole;
  if (const std::string& condition = request.header("if-range"); !condition.empty()) {
    const auto date = parse_date(condition);
    if (date ? *date != file.modified : condition != file.etag || condition[0] != '"') return whole;
  }
  const auto asked = asked_range(range, file.size);
  if (!asked) return whole;
  return asked->empty() ? Decision{416, {}} : Decision{206, *asked};
}

std::string http_date(std::time_t time) {
  std::tm utc{};
  gmtime_r(&time, &utc);
  char text[40];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return text;
}

std::string url_encode(std::string_view name) {
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || c == '-' || c == '.' || c == '_' || c == '~') {
      text += c;
    } else {
      text += fmt::format("%{:02X}", byte);
    }
  }
  return text;
}

std::string html_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace rangecache::test
