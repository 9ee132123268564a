#include "cache/known_names.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "cache/names_file.h"
#include "cache/record_format.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

KnownNames some_names(std::size_t entries) {
  KnownNames names;
  KnownNames::Listing listing{"http://h", "dir/", true, 3, 1'700'000'010, {}};
  for (std::size_t i = 0; i < entries; ++i) {
    ListEntry entry{.name = "name" + std::to_string(i)};
    entry.is_directory = i % 3 == 0;
    if (i % 3 == 1) entry.size = i;
    if (i % 2 == 1) entry.modified_s = -static_cast<std::int64_t>(i);
    if (i % 5 == 0) entry.validator = {Validator::Kind::kEtag, "\"" + std::to_string(i) + "\""};
    listing.entries.push_back(std::move(entry));
  }
  names.listings.push_back({"http://h", "empty/", false, 0, -5, {}});
  names.listings.push_back(std::move(listing));
  names.objects.push_back(
      {"http://h", "file", {Validator::Kind::kLastModified, "Fri"}, 77, 5, 1'700'000'000, 6});
  names.absences.push_back({"http://h", std::string("with\0nul", 8), 9});
  return names;
}

TEST(KnownNames, AllComesBack) {
  const KnownNames in = some_names(10'000);
  const auto out = decode_known_names(encode(in));
  ASSERT_TRUE(out);
  ASSERT_EQ(out->listings.size(), 2u);
  EXPECT_TRUE(out->listings[0].entries.empty());
  EXPECT_EQ(out->listings[0].fresh_until_s, -5);
  const auto& listing = out->listings[1];
  EXPECT_EQ(listing.origin_id, "http://h");
  EXPECT_EQ(listing.dir_key, "dir/");
  EXPECT_TRUE(listing.complete);
  EXPECT_EQ(listing.hidden_entries, 3u);
  ASSERT_EQ(listing.entries.size(), 10'000u);
  for (std::size_t i = 0; i < listing.entries.size(); ++i) {
    const ListEntry &a = listing.entries[i], &b = in.listings[1].entries[i];
    ASSERT_EQ(a.name, b.name);
    ASSERT_EQ(a.is_directory, b.is_directory);
    ASSERT_EQ(a.size, b.size);
    ASSERT_EQ(a.modified_s, b.modified_s);
    ASSERT_EQ(a.validator, b.validator);
  }
  ASSERT_EQ(out->objects.size(), 1u);
  EXPECT_EQ(out->objects[0].validator, in.objects[0].validator);
  EXPECT_EQ(out->objects[0].fresh_until_s, 6);
  ASSERT_EQ(out->absences.size(), 1u);
  EXPECT_EQ(out->absences[0].key, in.absences[0].key);
}

TEST(KnownNames, WhatIsCutOrDamagedGivesWhatWasWholeBefore) {
  const std::string whole = encode(some_names(20));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto out = decode_known_names(std::string_view(whole).substr(0, length));
    if (!out) continue;
    for (const auto& listing : out->listings)
      ASSERT_EQ(listing.entries.size(), listing.dir_key == "dir/" ? 20u : 0u) << length;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    const auto out = decode_known_names(damaged);
    if (!out) continue;
    for (const auto& listing : out->listings)
      ASSERT_EQ(listing.entries.size(), listing.dir_key == "dir/" ? 20u : 0u) << at;
    ASSERT_LT(out->listings.size() + out->objects.size() + out->absences.size(), 4u) << at;
  }
}

/// Names through a cache that is closed and opened again.
TEST(KnownNames, ARecordThatIsNoneGivesNothing) {
  std::string file = encode(KnownNames{});
  for (const auto type : {record_format::Type::kKnownObject, record_format::Type::kAbsence})
    record_format::append_frame(file, 0, type, "short");
  const auto out = decode_known_names(file);
  ASSERT_TRUE(out);
  EXPECT_TRUE(out->objects.empty());
  EXPECT_TRUE(out->absences.empty());
}

TEST(KnownNames, NamesThatNoDirectoryHasAreNotBelieved) {
  KnownNames names;
  names.listings.push_back({"http://h", "dir/", true, 0, 0, {ListEntry{.name = "../x"}}});
  EXPECT_TRUE(decode_known_names(encode(names))->listings.empty());
}

class NamesTest : public TempDirectoryTest {
 protected:
  using Fill = std::function<void(FakeOrigin&)>;

  NamesTest() : harness_(options()) {}
  CacheOptions options() {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = 64 << 20;
    options.memory_bytes = 32 << 20;
    return options;
  }
  static void bucket(FakeOrigin& origin) {
    origin.list_validators();
    origin.put("dir/a", {.size = 5000, .lifetime_s = 3600});
    origin.put("dir/b", {.size = 6000, .lifetime_s = 3600});
  }
  ObjectAddress dir() { return {harness_.shared_origin(), "dir/"}; }
  Catalog& catalog() { return harness_.cache().catalog(); }
  Result<Found> lookup(const std::string& name) {
    std::promise<Result<Found>> found;
    catalog().lookup(dir(), name, [&](Result<Found> f) { found.set_value(std::move(f)); });
    return found.get_future().get();
  }

  CacheHarness harness_;
};

TEST_F(NamesTest, AFreshListingIsBelievedByTheNextRun) {
  ASSERT_TRUE(harness_.open(bucket));
  ASSERT_TRUE(lookup("a"));
  EXPECT_EQ(harness_.origin().lists(), 1);
  harness_.close();

  ASSERT_TRUE(harness_.open(bucket));
  const auto found = lookup("b");
  ASSERT_TRUE(found) << found.error().message();
  EXPECT_EQ(found->file->size(), 6000u);
  EXPECT_EQ(lookup("c").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(harness_.origin().lists(), 0);
  EXPECT_EQ(harness_.origin().stats(), 0);
  harness_.clock().advance_s(60);
  ASSERT_TRUE(lookup("b"));
  EXPECT_EQ(harness_.origin().lists(), 1) << "its time is over";
}

TEST_F(NamesTest, OfflineListsWhatWasEverListed) {
  ASSERT_TRUE(harness_.open(bucket));
  ASSERT_TRUE(lookup("a"));
  ASSERT_EQ(harness_.read_all("dir/a", 1), "");
  harness_.close();

  harness_.options().freshness = FreshnessPolicy{.kind = FreshnessPolicy::Kind::kOffline};
  harness_.clock().advance_s(100'000);
  ASSERT_TRUE(harness_.open(bucket));
  EXPECT_TRUE(lookup("b"));
  EXPECT_EQ(harness_.read_all("dir/a", 1), "");
  EXPECT_EQ(harness_.origin().lists() + harness_.origin().stats() + harness_.origin().fetches(), 0);
}

TEST_F(NamesTest, AfterAKillTheyAreAskedForAgainAndTellOnlyWhatThereIsOffline) {
  ASSERT_TRUE(harness_.open(bucket));
  ASSERT_TRUE(lookup("a"));
  ASSERT_EQ(harness_.read_all("dir/a", 1), "");
  harness_.close();
  // As if the end had never been written: the clean mark is the journal's last record.
  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "manifest")) {
    if (entry.path().filename().string().starts_with("journal."))
      std::filesystem::resize_file(entry.path(), std::filesystem::file_size(entry.path()) - 1);
  }
  const auto names = read_text(directory_ / "names");
  const auto changed = [](FakeOrigin& origin) {
    bucket(origin);
    origin.put("dir/a", {.size = 5000, .version = 2, .lifetime_s = 3600});
  };
  ASSERT_TRUE(harness_.open(changed));
  const auto found = lookup("a");
  ASSERT_TRUE(found);
  EXPECT_EQ(harness_.origin().lists(), 1);
  EXPECT_EQ(CacheHarness::read(*found->file, {0, 5000}, 2), "");
  harness_.finish_walk();  // a walk that is cut short leaves no clean mark to take away
  harness_.close();

  for (const auto& entry : std::filesystem::directory_iterator(directory_ / "manifest")) {
    if (entry.path().filename().string().starts_with("journal."))
      std::filesystem::resize_file(entry.path(), std::filesystem::file_size(entry.path()) - 1);
  }
  std::ofstream(directory_ / "names", std::ios::binary) << names;  // an older one: it names v1
  harness_.options().freshness = FreshnessPolicy{.kind = FreshnessPolicy::Kind::kOffline};
  ASSERT_TRUE(harness_.open(changed));
  const auto offline = lookup("a");
  ASSERT_TRUE(offline) << offline.error().message();
  EXPECT_EQ(CacheHarness::read(*offline->file, {0, 5000}, 2), "") << "v1 does not come back";
  EXPECT_TRUE(lookup("b"));
  EXPECT_EQ(harness_.origin().lists() + harness_.origin().stats(), 0);
}

TEST_F(NamesTest, AttributesAndAbsencesSurvive) {
  const auto fill = [](FakeOrigin& origin) {
    origin.put("dir/a", {.size = 5000, .lifetime_s = 3600});
  };
  ASSERT_TRUE(harness_.open(fill));
  ASSERT_TRUE(harness_.open_file("dir/a"));
  EXPECT_FALSE(harness_.open_file("dir/none"));
  // What is cached of it goes; what is known of it stays.
  harness_.finish_writes();
  std::promise<void> evicted;
  harness_.cache().evict([](const Version&) { return true; },
                         [&](Cache::Evicted) { evicted.set_value(); });
  evicted.get_future().wait();
  harness_.close();

  ASSERT_TRUE(harness_.open(fill));
  const auto file = harness_.open_file("dir/a");
  ASSERT_TRUE(file) << file.error().message();
  EXPECT_EQ((*file)->size(), 5000u);
  EXPECT_EQ(harness_.open_file("dir/none").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(harness_.origin().stats() + harness_.origin().fetches(), 0);
}

TEST_F(NamesTest, RefreshAsksAgain) {
  ASSERT_TRUE(harness_.open(bucket));
  ASSERT_TRUE(lookup("a"));
  ASSERT_EQ(harness_.read_all("dir/a", 1), "");
  harness_.origin().put("dir/a", {.size = 5000, .version = 2, .lifetime_s = 3600});
  ASSERT_EQ(harness_.read_all("dir/a", 1), "") << "it is fresh still";
  const std::string url = harness_.origin().url_of("dir/");
  const auto none = catalog().refresh(url + "x");
  EXPECT_EQ(none.objects + none.listings, 0u);
  const auto refreshed = catalog().refresh(url);
  EXPECT_EQ(refreshed.objects, 1u);
  EXPECT_EQ(refreshed.listings, 1u);
  EXPECT_EQ(harness_.read_all("dir/a", 2), "");
  ASSERT_TRUE(lookup("b"));
  EXPECT_EQ(harness_.origin().lists(), 2);
}

TEST_F(NamesTest, RefreshOfOneObjectIsNotUndoneByItsListing) {
  ASSERT_TRUE(harness_.open(bucket));
  ASSERT_TRUE(lookup("a"));
  ASSERT_EQ(harness_.read_all("dir/a", 1), "");
  harness_.origin().put("dir/a", {.size = 5000, .version = 2, .lifetime_s = 3600});
  const auto refreshed = catalog().refresh(harness_.origin().url_of("dir/a"));
  EXPECT_EQ(refreshed.objects, 1u);
  const auto found = lookup("a");
  ASSERT_TRUE(found);
  EXPECT_EQ(CacheHarness::read(*found->file, {0, 5000}, 2), "");
}

TEST_F(NamesTest, RefreshHoldsForWhatWasOnlyListed) {
  ASSERT_TRUE(harness_.open(bucket));
  const auto found = lookup("a");
  ASSERT_TRUE(found);
  harness_.origin().put("dir/a", {.size = 5000, .version = 2, .lifetime_s = 3600});
  catalog().refresh("");
  std::promise<Result<void>> confirmed;
  catalog().confirm(found->file, [&](Result<void> r) { confirmed.set_value(std::move(r)); });
  EXPECT_EQ(confirmed.get_future().get().error().code, ErrorCode::kStale);
  EXPECT_EQ(harness_.read_all("dir/a", 2), "");
}

TEST_F(NamesTest, ListedObjectsHaveNoVersionUntilTheyAreOpened) {
  ASSERT_TRUE(harness_.open(bucket));
  ASSERT_TRUE(lookup("a"));
  ASSERT_TRUE(lookup("b"));
  EXPECT_EQ(harness_.metric("rangecache_versions"), 0);
  ASSERT_TRUE(harness_.open_file("dir/a"));
  EXPECT_EQ(harness_.metric("rangecache_versions"), 1);
  EXPECT_EQ(harness_.origin().stats() + harness_.origin().fetches(), 0) << "the listing told all";
}

TEST_F(NamesTest, AHundredThousandListedNamesTakeTensOfMegabytes) {
  constexpr int kNames = 100'000;
  ASSERT_TRUE(harness_.open([](FakeOrigin& origin) {
    origin.list_validators();
    for (int i = 0; i < kNames; ++i)
      origin.put(fmt::format("dir/part-{:08}.parquet", i), {.size = 100, .lifetime_s = 60});
  }));
  const std::size_t before = mallinfo2().uordblks;
  if (before == 0) GTEST_SKIP() << "this allocator (a sanitizer's) does not say what is in use";
  std::promise<Result<ListingPtr>> listed;
  catalog().list(dir(), [&](Result<ListingPtr> l) { listed.set_value(std::move(l)); });
  const auto listing = listed.get_future().get();
  ASSERT_TRUE(listing);
  // What `ls -l` makes of it.
  for (const ListEntry& entry : (*listing)->entries)
    ASSERT_TRUE(catalog().known(dir(), entry, (*listing)->fresh_until_ns));
  const double bytes = static_cast<double>(mallinfo2().uordblks - before) / kNames;
  RecordProperty("bytes_per_name", static_cast<int>(bytes));
  EXPECT_LT(bytes, 800) << "bytes for each name";
}

TEST_F(NamesTest, ADamagedFileCostsOnlyWhatItHeld) {
  ASSERT_TRUE(harness_.open(bucket));
  ASSERT_TRUE(lookup("a"));
  harness_.close();
  const auto path = directory_ / "names";
  ASSERT_TRUE(std::filesystem::exists(path));
  std::filesystem::resize_file(path, 10);
  ASSERT_TRUE(harness_.open(bucket));
  EXPECT_TRUE(lookup("a"));
  EXPECT_EQ(harness_.origin().lists(), 1);
}

TEST_F(NamesTest, TheFileCountsForTheLimit) {
  harness_.options().size_bytes = 16 << 20;
  const auto many = [](FakeOrigin& origin) {
    origin.list_validators();
    for (int i = 0; i < 20'000; ++i)
      origin.put("dir/name" + std::to_string(i), {.size = 100, .lifetime_s = 60});
  };
  ASSERT_TRUE(harness_.open(many));
  ASSERT_TRUE(lookup("name1"));
  harness_.close();
  const std::uint64_t file = std::filesystem::file_size(directory_ / "names");
  EXPECT_GT(file, 400'000u);
  ASSERT_TRUE(harness_.open(many));
  EXPECT_GE(harness_.metric("rangecache_disk_bytes"), static_cast<double>(file));
  EXPECT_TRUE(harness_.disk_within(harness_.options().size_bytes));
}

}  // namespace
}  // namespace rangecache::cache
