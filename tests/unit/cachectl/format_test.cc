#include "cachectl/format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rangecache::cachectl {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(CachectlFormat, UnitsReadWell) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(5.0 * (1ULL << 30)), "5.0 GiB");
  EXPECT_EQ(human_seconds(0.0000123), "12 µs");
  EXPECT_EQ(human_seconds(0.5), "500.0 ms");
  EXPECT_EQ(human_seconds(7500), "2 h 05 min");
  EXPECT_EQ(percent(1, 0), "-");
  EXPECT_EQ(bar(1, 4, 8), "██······");
  EXPECT_EQ(bar(5, 4, 4), "████");
}

TEST(CachectlFormat, TheMapShowsCachedPartlyCachedFlyingAndAbsentCells) {
  ObjectMap map;
  map.info = {.url = "http://h/f",
              .size = 1000,
              .is_directory = false,
              .validator = "\"t\"",
              .modified_s = 0,
              .cached_bytes = 180};
  map.chunks = {{0, 100}, {100, 130}, {200, 250}};
  map.flights = {{500, 600}};
  const std::string text = format_map(map, 12, true);
  EXPECT_THAT(text, HasSubstr("[█░▓··»····]"));
  EXPECT_THAT(text, HasSubstr("18.0 %"));
  EXPECT_THAT(text, HasSubstr("in flight              500              600"));
}

TEST(CachectlFormat, TheMapOfAHugeOrEmptyObjectIsDrawnToo) {
  ObjectMap map;
  map.info.size = std::uint64_t{1} << 62;
  map.chunks = {{0, map.info.size}};
  EXPECT_THAT(format_map(map, 12, false), HasSubstr("[██████████]"));
  EXPECT_THAT(format_map(ObjectMap{}, 12, false), Not(HasSubstr("[")));
}

TEST(CachectlFormat, PinsTellOwnerAndTime) {
  EXPECT_EQ(format_pins({}, 0), "nothing is pinned\n");
  EXPECT_EQ(format_pins({{"http://h/a", "ann", 0, 1 << 20}, {"http://h/b/", "bob", 7300, 0}}, 100),
            "    cached  owner        ends in        prefix\n"
            "   1.0 MiB  ann          -              http://h/a\n"
            "       0 B  bob          2 h 00 min     http://h/b/\n");
}

TEST(CachectlFormat, VerifyNamesEachBadChunkAndSaysWhatBecameOfIt) {
  VerifyPart sum{7, 7 << 20, 7 << 20, {}, ""};
  EXPECT_EQ(format_verified(sum), "7.0 MiB in 7 chunks verified: all as it came from its origin\n");
  sum.bad = {{"http://h/a", {0, 65536}, true}, {"http://h/b", {5, 9}, false}};
  EXPECT_EQ(format_verified(sum),
            "bad  http://h/a  bytes 0 to 65536  fetched again\n"
            "bad  http://h/b  bytes 5 to 9\n"
            "7.0 MiB in 7 chunks verified: 2 bad, dropped from the cache, 1 fetched again\n");
  sum.bad.erase(sum.bad.begin());
  EXPECT_THAT(format_verified(sum), HasSubstr("run verify with --repair"));
}

TEST(CachectlFormat, StatsTellOfTroubleOnlyWhenThereIsSome) {
  const char* quiet = R"({"version":"1","pid":7,"uptime_s":5,"cache_dir":"/c","mounts":[],
    "metrics":{"rangecache_read_bytes_total":2048,"rangecache_origin_bytes_total":512}})";
  EXPECT_THAT(format_stats(quiet), HasSubstr("75.0 % of these bytes needed no fetch"));
  EXPECT_THAT(format_stats(quiet), Not(HasSubstr("Trouble")));
  const char* trouble = R"({"metrics":{"rangecache_corrupt_chunks_total":2}})";
  EXPECT_THAT(format_stats(trouble), HasSubstr("2  chunks with wrong bytes"));
}

TEST(CachectlFormat, StatsTellHowTheOpenFilesOfAMountAreRead) {
  const auto of = [](const char* usage) {
    return format_stats(R"({"mounts":[{"url":"http://h/","mountpoint":"/m")" + std::string(usage) +
                        "}]}");
  };
  EXPECT_THAT(of(""), HasSubstr("  http://h/  on  /m\n"));
  EXPECT_THAT(of(R"(,"open_handles":3,"passthrough":true,"passthrough_files":2)"),
              HasSubstr("\n    3 open, 2 of them read by the kernel itself\n"));
  EXPECT_THAT(of(R"(,"open_handles":0,"passthrough":true,"passthrough_files":0)"),
              Not(HasSubstr("open")));
  EXPECT_THAT(of(R"(,"open_handles":3,"passthrough":false,"passthrough_files":0)"),
              HasSubstr("\n    3 open; no pass-through\n"));
}

TEST(CachectlFormat, StatsTellOfADiskThatFailsOrIsFull) {
  EXPECT_THAT(format_stats(R"({"metrics":{"rangecache_disk_breaker_open":1}})"),
              HasSubstr("FAILS: nothing new is kept"));
  EXPECT_THAT(format_stats(R"({"metrics":{"rangecache_disk_below_floor":1,
                              "rangecache_disk_free_bytes":1024}})"),
              HasSubstr("FULL: 1.0 KiB free"));
  EXPECT_THAT(format_stats(R"({"metrics":{"rangecache_disk_free_bytes":1024}})"),
              Not(HasSubstr("warning")));
}

TEST(CachectlFormat, StatsTellOfQuotas) {
  EXPECT_THAT(format_stats(R"({"quotas":[{"prefix":"http://h/a/","used":1048576,"limit":4194304}],
                       "metrics":{}})"),
              HasSubstr("█████··············· 1.0 MiB of 4.0 MiB for http://h/a/"));
}

TEST(CachectlFormat, OldVersionsAreMarked) {
  CachedObject object;
  object.info = {.url = "http://h/f",
                 .size = 10,
                 .is_directory = false,
                 .validator = "",
                 .modified_s = 0,
                 .cached_bytes = 5};
  object.current = false;
  EXPECT_THAT(format_objects({object}), HasSubstr("50.0 %"));
  EXPECT_THAT(format_objects({object}), HasSubstr("http://h/f  (old version)"));
  object.current = true;
  object.fresh_for_s = -5;
  EXPECT_THAT(format_objects({object}), HasSubstr("0 s  http://h/f  (stale)"));
  object.fresh_for_s = 5;
  EXPECT_THAT(format_objects({object}), HasSubstr("http://h/f\n"));
  object.passthrough = true;
  EXPECT_THAT(format_objects({object}), HasSubstr("http://h/f  (pass-through)\n"));
  EXPECT_EQ(format_objects({}), "nothing is cached\n");
}

}  // namespace
}  // namespace rangecache::cachectl
