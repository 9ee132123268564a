// Input: the header fields, a line each.
#include "fetcher/freshness.h"
#include "tests/fuzz/headers.h"

namespace {

constexpr std::int64_t kNow_s = 1'700'000'000;

void check_times(const rangecache::Freshness& freshness) {
  CHECK(freshness.lifetime_s >= 0);
  CHECK(freshness.stale_while_revalidate_s >= 0 && freshness.stale_if_error_s >= 0);
  CHECK(freshness.explicit_lifetime || freshness.lifetime_s <= 60);
  CHECK(!freshness.no_store || freshness.lifetime_s == 0);
  if (freshness.must_revalidate || freshness.no_store)
    CHECK(freshness.stale_while_revalidate_s == 0 && freshness.stale_if_error_s == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache;
  using fetcher::freshness_of;
  const std::string_view text = fuzz::text_of(data, size);
  const fetcher::HttpHeaders headers = fuzz::take_headers(text);
  const Freshness freshness = freshness_of(headers, kNow_s);
  check_times(freshness);

  // Time passes: what was stale stays so.
  const Freshness later = freshness_of(headers, kNow_s + 100);
  check_times(later);
  const std::string* date = headers.find("date");
  if (date && fetcher::parse_http_date(*date)) CHECK(later.lifetime_s <= freshness.lifetime_s);

  // A prohibition in a field of its own holds, whatever stands in the others.
  fetcher::HttpHeaders forbidden = headers;
  forbidden.add("Cache-Control", "no-store");
  CHECK(freshness_of(forbidden, kNow_s).no_store);
  fetcher::HttpHeaders checked = headers;
  checked.add("Cache-Control", "no-cache");
  CHECK(freshness_of(checked, kNow_s).lifetime_s == 0);
  fetcher::HttpHeaders short_lived = headers;
  short_lived.add("Cache-Control", "max-age=7");
  CHECK(freshness_of(short_lived, kNow_s).lifetime_s <= 7);

  for (const std::string_view name : {"date", "expires", "last-modified"}) {
    const std::string* value = headers.find(name);
    if (!value) continue;
    const auto date_s = fetcher::parse_http_date(*value);
    // Years have four digits.
    CHECK(!date_s || (*date_s > -70'000'000'000 && *date_s < 260'000'000'000));
  }
  if (const std::string* after = headers.find("retry-after")) {
    const auto wait_s = fetcher::parse_retry_after(*after, kNow_s);
    CHECK(!wait_s || *wait_s >= 0);
  }
  return 0;
}
