#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/origin.h"
#include "fetcher/http_request.h"

namespace rangecache::fetcher {

/// What one GET with a Range asked for.
struct RangeQuestion {
  ByteRange wanted;
  Validator validator;                ///< kNone: any version
  std::optional<std::uint64_t> size;  ///< once known
};

/// What the body of its answer holds.
struct RangeBody {
  ByteRange range;  ///< begins at wanted.begin, except when whole_body; may be a prefix
  bool whole_body = false;
  ObjectAttributes attributes;  ///< with the size
};

/// Judges the answer by RFC 9110 §14 and §15.3.7: whether its body may be used, and as what. Pure.
/// An answer that contradicts itself, or leaves open which bytes of which version it holds, is
/// refused. `url` is fit to be shown.
std::variant<RangeBody, HttpFailure> judge_range_response(const HttpResponse& response,
                                                          const RangeQuestion& question,
                                                          const std::string& url,
                                                          std::int64_t now_unix_s);

/// Validator, modification time and freshness; the size is left open.
ObjectAttributes attributes_of(const HttpHeaders& headers, std::int64_t now_unix_s);

}  // namespace rangecache::fetcher
