// Input: "<begin>-<end> <size or -> <ETag or ->", then the status, then the header fields, a line
// each.
#include <regex>
#include <string>

#include "fetcher/digest_headers.h"
#include "fetcher/range_response.h"
#include "tests/fuzz/headers.h"

namespace rangecache::fetcher {
namespace {

/// nullopt beyond kMaxObjectSize.
std::optional<std::uint64_t> reference_number(std::string digits) {
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size() - 1));
  if (digits.size() > 18) return std::nullopt;
  const std::uint64_t value = std::stoull(digits);
  return value <= kMaxObjectSize ? std::optional(value) : std::nullopt;
}

/// RFC 9110 §14.4, word for word.
std::optional<ContentRange> reference_content_range(const std::string& text) {
  static const std::regex kRanges(
      "[Bb][Yy][Tt][Ee][Ss] (?:([0-9]+)-([0-9]+)/(?:([0-9]+)|\\*)|"
      "\\*/([0-9]+))");
  std::smatch parts;
  if (!std::regex_match(text, parts, kRanges)) return std::nullopt;
  const auto total_text = parts[3].matched ? parts[3] : parts[4];
  ContentRange parsed;
  if (total_text.matched) {
    parsed.total = reference_number(total_text.str());
    if (!parsed.total) return std::nullopt;
  }
  if (!parts[1].matched) return parsed;
  const auto first = reference_number(parts[1].str()), last = reference_number(parts[2].str());
  if (!first || !last || *first > *last || *last == kMaxObjectSize) return std::nullopt;
  if (parsed.total && *last >= *parsed.total) return std::nullopt;
  parsed.range = ByteRange{*first, *last + 1};
  return parsed;
}

void check_content_range(const std::string& text) {
  if (text.size() > 200) return;  // std::regex recurses
  const auto parsed = parse_content_range(text), reference = reference_content_range(text);
  CHECK(parsed.has_value() == reference.has_value());
  if (!parsed) return;
  CHECK(parsed->range == reference->range);
  CHECK(parsed->total == reference->total);
}

void check_body(const RangeBody& body, const HttpResponse& response,
                const RangeQuestion& question) {
  CHECK(body.attributes.size.has_value());
  const std::uint64_t size = *body.attributes.size;
  CHECK(size <= kMaxObjectSize && body.range.begin <= body.range.end && body.range.end <= size);
  CHECK(!question.size || *question.size == size);
  CHECK(body.whole_body == (response.status == 200));
  if (body.whole_body) {
    CHECK(body.range == (ByteRange{0, size}));
  } else if (response.status == 206) {
    CHECK(body.range.begin == question.wanted.begin && body.range.end <= question.wanted.end);
    CHECK(!body.range.empty());
  } else {
    CHECK(response.status == 416 && body.range.empty() && size <= question.wanted.begin);
  }
  if (question.validator.kind != Validator::Kind::kNone)
    CHECK(body.attributes.validator == question.validator);
  fuzz::check_validator(body.attributes.validator);
  const auto length = content_length(response.headers);
  if (response.status != 416) CHECK(length && (!*length || **length == body.range.size()));
}

void check_digest(const Digest& digest) {
  constexpr std::size_t kSizes[] = {0, 16, 4, 8, 32};
  CHECK(digest.value.size() == kSizes[static_cast<std::size_t>(digest.kind)]);
}

}  // namespace
}  // namespace rangecache::fetcher

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache::fetcher;
  using namespace rangecache::fuzz;
  std::string_view text = text_of(data, size);
  std::string_view asked = take_until(text, '\n');
  RangeQuestion question;
  question.wanted.begin = number(take_until(asked, '-'));
  question.wanted.end = number(take_until(asked, ' '));
  if (question.wanted.empty()) question.wanted.end = question.wanted.begin + 1;
  if (question.wanted.empty()) return 0;
  const std::string_view known_size = take_until(asked, ' ');
  if (known_size != "-") question.size = number(known_size);
  if (const auto tag = parse_etag(asked); tag && !tag->weak)
    question.validator = {rangecache::Validator::Kind::kEtag, tag->tag};

  HttpResponse response;
  response.status = static_cast<int>(number(take_until(text, '\n')) % 1000);
  response.headers = take_headers(text);
  if (const std::string* range = response.headers.find("content-range"))
    check_content_range(*range);
  check_digest(digest_in(response.headers, false));
  check_digest(digest_in(response.headers, true));

  const std::string url = "http://host/file";
  const auto judged = judge_range_response(response, question, url, 1'700'000'000);
  if (const auto* body = std::get_if<RangeBody>(&judged))
    check_body(*body, response, question);
  else
    CHECK(std::get<HttpFailure>(judged).error.context.find(url) != std::string::npos);
  return 0;
}
