#include "fetcher/freshness.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace rangecache::fetcher {
namespace {

constexpr std::int64_t kHeuristicCap_s = 60;
/// RFC 9111 §1.2.2: what a delta-seconds that is too large to hold is taken for.
constexpr std::int64_t kMaxDelta_s = 2147483648;

struct CacheControl {
  bool no_store = false;
  bool no_cache = false;
  bool must_revalidate = false;
  std::optional<std::int64_t> max_age_s;
  std::optional<std::int64_t> stale_while_revalidate_s;
  std::optional<std::int64_t> stale_if_error_s;
};

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::optional<std::int64_t> parse_delta(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  const auto value = parse_decimal(text);
  return value ? static_cast<std::int64_t>(std::min<std::uint64_t>(*value, kMaxDelta_s))
               : kMaxDelta_s;
}

void apply(std::string_view directive, CacheControl& control) {
  const std::size_t equals = std::min(directive.find('='), directive.size());
  std::string name(trim(directive.substr(0, equals)));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  if (name == "no-store") control.no_store = true;
  if (name == "no-cache") control.no_cache = true;
  if (name == "must-revalidate") control.must_revalidate = true;
  const std::pair<const char*, std::optional<std::int64_t>&> times[] = {
      {"max-age", control.max_age_s},
      {"stale-while-revalidate", control.stale_while_revalidate_s},
      {"stale-if-error", control.stale_if_error_s}};
  for (const auto& [time, held_s] : times) {
    if (name != time) continue;
    const std::string_view value =
        equals < directive.size() ? trim(directive.substr(equals + 1)) : "";
    // §4.2.1: a value that cannot be understood means stale; of two values the shorter counts.
    const std::int64_t value_s = parse_delta(value).value_or(0);
    held_s = std::min(held_s.value_or(value_s), value_s);
  }
}

/// Commas inside quoted strings do not separate.
void apply_field(std::string_view text, CacheControl& control) {
  bool quoted = false;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '"') quoted = !quoted;
    if (i < text.size() && (text[i] != ',' || quoted)) continue;
    apply(text.substr(begin, i - begin), control);
    begin = i + 1;
  }
}

/// Field by field: a quote that one leaves open must not swallow the no-store of the next.
CacheControl parse_cache_control(const HttpHeaders& headers) {
  CacheControl control;
  for (const std::string_view field : headers.all("cache-control")) apply_field(field, control);
  return control;
}

std::optional<std::int64_t> date_in(const HttpHeaders& headers, std::string_view name) {
  const std::string* value = headers.find(name);
  return value ? parse_http_date(*value) : std::nullopt;
}

}  // namespace

Freshness freshness_of(const HttpHeaders& headers, std::int64_t received_unix_s) {
  const CacheControl control = parse_cache_control(headers);
  const std::int64_t date_s = date_in(headers, "date").value_or(received_unix_s);
  const std::string* age_text = headers.find("age");
  const std::int64_t age_value_s = age_text ? parse_delta(*age_text).value_or(0) : 0;
  const std::int64_t age_s = std::max({std::int64_t{0}, received_unix_s - date_s, age_value_s});

  Freshness freshness;
  freshness.no_store = control.no_store;
  freshness.must_revalidate = control.must_revalidate || control.no_cache;
  std::int64_t lifetime_s = 0;
  if (control.max_age_s) {
    freshness.explicit_lifetime = true;
    lifetime_s = *control.max_age_s;
  } else if (headers.find("expires")) {
    freshness.explicit_lifetime = true;
    lifetime_s = date_in(headers, "expires").value_or(date_s) - date_s;
  } else if (const auto modified_s = date_in(headers, "last-modified")) {
    lifetime_s = std::min((date_s - *modified_s) / 10, kHeuristicCap_s);
  }
  // §4.1: a response that varies with everything matches no later request. Other fields of Vary
  // name what we send the same with every request: Accept-Encoding, User-Agent, Authorization.
  const bool varies_with_all = headers.joined("vary").find('*') != std::string::npos;
  if (control.no_cache || control.no_store || varies_with_all) lifetime_s = 0;
  // What is past its time already when it comes uses up the grace, too.
  const std::int64_t overdue_s = std::max<std::int64_t>(0, age_s - lifetime_s);
  freshness.lifetime_s = std::max<std::int64_t>(0, lifetime_s - age_s);
  if (!freshness.must_revalidate && !control.no_store && !varies_with_all) {
    freshness.stale_while_revalidate_s =
        std::max<std::int64_t>(0, control.stale_while_revalidate_s.value_or(0) - overdue_s);
    freshness.stale_if_error_s =
        std::max<std::int64_t>(0, control.stale_if_error_s.value_or(0) - overdue_s);
  }
  return freshness;
}

}  // namespace rangecache::fetcher
