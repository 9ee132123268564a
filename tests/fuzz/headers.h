#pragma once

#include <string_view>

#include "base/check.h"
#include "fetcher/http_headers.h"
#include "tests/fuzz/input.h"

namespace rangecache::fuzz {

/// The lines of `text` as a response's fields; what is none is left out, as HttpExchange does.
inline fetcher::HttpHeaders take_headers(std::string_view text) {
  fetcher::HttpHeaders headers;
  while (!text.empty()) {
    const auto field = fetcher::parse_header_line(take_until(text, '\n'));
    if (!field) continue;
    CHECK(!field->first.empty() && !has_controls(field->first));
    CHECK(field->first.find_first_of(": ") == std::string_view::npos);
    for (const char c : field->second) CHECK(c == '\t' || !has_controls({&c, 1}));
    headers.add(field->first, field->second);
  }
  return headers;
}

/// What goes into If-Match and If-Range later, so that it must not bring fields of its own.
inline void check_validator(const Validator& validator) {
  CHECK(!has_controls(validator.value));
  CHECK((validator.kind == Validator::Kind::kNone) == validator.value.empty());
  if (validator.kind != Validator::Kind::kEtag) return;
  const auto tag = fetcher::parse_etag(validator.value);
  CHECK(tag && !tag->weak && tag->tag == validator.value);
}

}  // namespace rangecache::fuzz
