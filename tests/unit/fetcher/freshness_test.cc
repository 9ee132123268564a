#include "fetcher/freshness.h"

#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

constexpr const char* kNow = "Fri, 20 Nov 2026 09:00:00 GMT";
constexpr std::int64_t kNow_s = 1795165200;

struct Case {
  const char* name;
  std::vector<std::pair<const char*, const char*>> fields;
  std::int64_t lifetime_s;
  bool explicit_lifetime = false;
  bool no_store = false;
  bool must_revalidate = false;
  std::int64_t stale_while_revalidate_s = 0;
  std::int64_t stale_if_error_s = 0;
};

TEST(Freshness, FollowsRfc9111) {
  const Case cases[] = {
      {"nothing said", {}, 0},
      {"max-age", {{"Cache-Control", "public, max-age=600"}}, 600, true},
      {"max-age, any case and space", {{"Cache-Control", "Public ,  MAX-AGE = 600"}}, 600, true},
      {"quoted", {{"Cache-Control", "max-age=\"600\""}}, 600, true},
      {"a comma inside quotes", {{"Cache-Control", "x=\"a, max-age=5\", max-age=600"}}, 600, true},
      {"longer than a day is honoured", {{"Cache-Control", "max-age=31536000"}}, 31536000, true},
      {"overflow", {{"Cache-Control", "max-age=99999999999999999999"}}, 2147483648, true},
      {"two values", {{"Cache-Control", "max-age=600"}, {"Cache-Control", "max-age=5"}}, 5, true},
      {"an open quote in another field",
       {{"Cache-Control", "no-cache=\"Set-Cookie"}, {"Cache-Control", "no-store"}},
       0,
       false,
       true,
       true},
      {"negative", {{"Cache-Control", "max-age=-1"}}, 0, true},
      {"age is taken off", {{"Cache-Control", "max-age=600"}, {"Age", "100"}}, 500, true},
      {"older than its lifetime", {{"Cache-Control", "max-age=60"}, {"Age", "100"}}, 0, true},
      {"sent a while ago",
       {{"Cache-Control", "max-age=600"}, {"Date", "Fri, 20 Nov 2026 08:59:00 GMT"}},
       540,
       true},
      {"the origin's clock is ahead",
       {{"Cache-Control", "max-age=600"}, {"Date", "Fri, 20 Nov 2026 09:30:00 GMT"}},
       600,
       true},
      {"expires", {{"Date", kNow}, {"Expires", "Fri, 20 Nov 2026 09:05:00 GMT"}}, 300, true},
      {"expires in the past",
       {{"Date", kNow}, {"Expires", "Fri, 20 Nov 2026 08:05:00 GMT"}},
       0,
       true},
      {"expires 0", {{"Date", kNow}, {"Expires", "0"}}, 0, true},
      {"max-age goes before expires",
       {{"Cache-Control", "max-age=7"}, {"Expires", "Fri, 20 Nov 2030 08:05:00 GMT"}},
       7,
       true},
      {"no-store", {{"Cache-Control", "no-store, max-age=600"}}, 0, true, true},
      {"no-cache", {{"Cache-Control", "no-cache, max-age=600"}}, 0, true, false, true},
      {"must-revalidate",
       {{"Cache-Control", "max-age=600, must-revalidate"}},
       600,
       true,
       false,
       true},
      {"private is fine here", {{"Cache-Control", "private, max-age=600"}}, 600, true},
      {"s-maxage is not ours", {{"Cache-Control", "s-maxage=5, max-age=600"}}, 600, true},
      {"a tenth of the age",
       {{"Date", kNow}, {"Last-Modified", "Fri, 20 Nov 2026 08:58:20 GMT"}},
       10},
      {"but a minute at most",
       {{"Date", kNow}, {"Last-Modified", "Fri, 20 Nov 2020 08:58:20 GMT"}},
       60},
      {"modified in the future",
       {{"Date", kNow}, {"Last-Modified", "Fri, 20 Nov 2030 08:58:20 GMT"}},
       0},
      {"Vary with what we always send the same",
       {{"Cache-Control", "max-age=600"}, {"Vary", "Accept-Encoding, User-Agent"}},
       600,
       true},
      {"s-maxage alone is nothing to us", {{"Cache-Control", "s-maxage=600"}}, 0},
      {"proxies' directives are not ours",
       {{"Cache-Control", "proxy-revalidate, no-transform, max-age=600"}},
       600,
       true},
      {"immutable does not prolong", {{"Cache-Control", "immutable, max-age=600"}}, 600, true},
      {"a directive in another's value",
       {{"Cache-Control", "ext=\"no-store\", max-age=600"}},
       600,
       true},
      {"no-cache with fields counts in full",
       {{"Cache-Control", "no-cache=\"set-cookie\", max-age=6"}},
       0,
       true,
       false,
       true},
      {"garbage between", {{"Cache-Control", ",, ,=,max-age=600,;"}}, 600, true},
      {"an Age that is no number", {{"Cache-Control", "max-age=600"}, {"Age", "old"}}, 600, true},
      {"stale while and if",
       {{"Cache-Control", "max-age=60, stale-while-revalidate=30, stale-if-error=86400"}},
       60,
       true,
       false,
       false,
       30,
       86400},
      {"the grace is used up, too",
       {{"Cache-Control", "max-age=60, stale-while-revalidate=30, stale-if-error=10"},
        {"Age", "75"}},
       0,
       true,
       false,
       false,
       15,
       0},
      {"must-revalidate goes before",
       {{"Cache-Control",
         "max-age=60, must-revalidate, stale-while-revalidate=30, stale-if-error=9"}},
       60,
       true,
       false,
       true},
      {"a grace that is no number",
       {{"Cache-Control", "max-age=60, stale-while-revalidate=x, stale-if-error"}},
       60,
       true},
      {"Vary: *", {{"Cache-Control", "max-age=600"}, {"Vary", "*"}}, 0, true},
  };
  for (const Case& c : cases) {
    HttpHeaders headers;
    for (const auto& [name, value] : c.fields) headers.add(name, value);
    const Freshness freshness = freshness_of(headers, kNow_s);
    EXPECT_EQ(freshness.lifetime_s, c.lifetime_s) << c.name;
    EXPECT_EQ(freshness.explicit_lifetime, c.explicit_lifetime) << c.name;
    EXPECT_EQ(freshness.no_store, c.no_store) << c.name;
    EXPECT_EQ(freshness.must_revalidate, c.must_revalidate) << c.name;
    EXPECT_EQ(freshness.stale_while_revalidate_s, c.stale_while_revalidate_s) << c.name;
    EXPECT_EQ(freshness.stale_if_error_s, c.stale_if_error_s) << c.name;
  }
}

}  // namespace
}  // namespace rangecache::fetcher
