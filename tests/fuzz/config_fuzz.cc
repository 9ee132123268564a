// Input: a word that is an option's value (a line), then a config file.
#include <toml++/toml.h>

#include <string>

#include "base/check.h"
#include "cache/freshness_policy.h"
#include "daemon/origin_tables.h"
#include "daemon/parse_size.h"
#include "fetcher/url.h"
#include "tests/fuzz/input.h"

namespace rangecache::daemon {
namespace {

void check_word(const std::string& word) {
  if (const auto size = parse_size(word)) CHECK(*size <= 9'000'000'000'000'000'000);
  if (const auto seconds = cache::parse_duration_s(word)) CHECK(*seconds >= 0);
  (void)cache::parse_freshness_policy(word);
}

void check_origins(std::string_view text) {
  toml::table file;
  try {
    file = toml::parse(text);
  } catch (const toml::parse_error&) {
    return;
  }
  const toml::node* tables = file.get("origin");
  if (tables == nullptr) return;
  const auto origins = read_origin_tables(*tables, "file", {}, {});
  if (!origins) {
    CHECK(origins.error().context.substr(0, 5) == "file:");
    return;
  }
  CHECK(!origins->empty());
  for (const OriginTable& origin : *origins) {
    CHECK(origin.bucket.empty() || origin.url == "s3://" + origin.bucket);
    CHECK(origin.url.find("://") != std::string::npos);
    CHECK(origin.freshness.stale_if_error_s >= 0);
  }
}

}  // namespace
}  // namespace rangecache::daemon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text = rangecache::fuzz::text_of(data, size);
  rangecache::daemon::check_word(std::string(rangecache::fuzz::take_until(text, '\n')));
  rangecache::daemon::check_origins(text);
  return 0;
}
