#include <vector>

#include "tests/unit/cache/disk_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

struct DiskFault {
  struct Failing {
    Call call;
    const char* path_part = "";
  };
  const char* name;
  int error_number;
  std::vector<Failing> calls;
  bool reads = false;  ///< ... the disk's own, that is
};

std::ostream& operator<<(std::ostream& out, const DiskFault& fault) { return out << fault.name; }

const DiskFault kFaults[] = {
    {"EioOnWrite", EIO, {{Call::kWrite}}},
    {"EioOnOpenToWrite", EIO, {{Call::kOpen, "/tmp/"}}},
    {"EioOnRename", EIO, {{Call::kRename, "/objects/"}}},
    {"EioOnRead", EIO, {{Call::kReadAt}}, true},
    {"EioOnOpenToRead", EIO, {{Call::kOpen, "/objects/"}, {Call::kReadAt}}, true},
    {"ReadOnly",
     EROFS,
     {{Call::kOpen, "/tmp/"},
      {Call::kOpen, "/manifest/"},
      {Call::kWrite},
      {Call::kRename},
      {Call::kUnlink},
      {Call::kMakeDirectory}}},
};

class DiskFaultsTest : public DiskTest {
 protected:
  void fail(const DiskFault& fault) {
    for (const auto& failing : fault.calls)
      files_.fail(failing.call, fault.error_number, 1, FaultyFileSystem::kAlways,
                  failing.path_part);
  }
};

class EachDiskFaultTest : public DiskFaultsTest, public testing::WithParamInterface<DiskFault> {};

TEST_P(EachDiskFaultTest, ReadsStayRightTheDiskIsLeftAloneAndUsedAgainOnceHealed) {
  make();
  read_and_keep("a");
  read_and_keep("large");
  ASSERT_TRUE(cache().open(objects)) << "so that no chunk is proved yet";
  const auto chunks = cache().chunk_files().size();

  fail(GetParam());
  for (int round = 0; !breaker_open() && round < 20; ++round) {
    for (const char* key : {"a", "large", "huge"}) ASSERT_EQ(cache().read_all(key, 1), "");
    cache().settle();
  }
  ASSERT_TRUE(breaker_open());
  cache().settle();

  // Nothing is tried while it is open: the clock stands, so no probe is due.
  const int failures = files_.failures();
  for (const char* key : {"a", "b", "large", "huge"}) EXPECT_EQ(cache().read_all(key, 1), "");
  cache().settle();
  EXPECT_EQ(files_.failures(), failures);

  // A probe in vain, then one that finds it healed.
  cache().clock().advance_s(1);
  wait_for([&] { return files_.failures() > failures; });
  EXPECT_TRUE(breaker_open());
  files_.heal();
  turn_until([&] { return !breaker_open(); });
  if (GetParam().reads) {
    // No chunk was thrown away: they are of use at once.
    EXPECT_GE(cache().chunk_files().size(), chunks);
    wait_for([&] { return cached("a") == kSmall && cached("large") == kLarge; });
  }
  for (const char* key : {"a", "b", "large"}) read_and_keep(key);
  const auto sent = cache().origin().bytes_sent();
  for (const char* key : {"a", "b", "large"}) EXPECT_EQ(cache().read_all(key, 1), "");
  EXPECT_EQ(cache().origin().bytes_sent(), sent);

  // And all of it is known to the next run.
  ASSERT_TRUE(cache().open(objects));
  for (const char* key : {"a", "b", "large"}) EXPECT_EQ(cache().read_all(key, 1), "");
  EXPECT_EQ(cache().origin().bytes_sent(), 0u);
  EXPECT_TRUE(cache().disk_within(UINT64_MAX));
  EXPECT_EQ(cache().temporary_files(), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, EachDiskFaultTest, testing::ValuesIn(kFaults),
                         [](const auto& fault) { return fault.param.name; });

TEST_F(DiskFaultsTest, AChunkThatCannotBeReadOnceIsNotThrownAway) {
  for (const auto& [call, error_number] :
       {std::pair{Call::kReadAt, EIO}, {Call::kOpen, EMFILE}, {Call::kOpen, ENOMEM}}) {
    SCOPED_TRACE(error_number);
    make();
    read_and_keep("a");
    ASSERT_TRUE(cache().open(objects));
    const auto before = cache().chunk_files();
    files_.fail(call, error_number, 1, 2, call == Call::kOpen ? "/objects/" : "");
    EXPECT_EQ(cache().read_all("a", 1), "");
    cache().settle();
    EXPECT_EQ(cache().chunk_files(), before);
    EXPECT_EQ(cache().metric("rangecache_cache_faults_total"), 1);
    EXPECT_FALSE(breaker_open());
    EXPECT_LT(cached("a"), kSmall);
    turn_until([&] { return cached("a") == kSmall; });
    const auto sent = cache().origin().bytes_sent();
    EXPECT_EQ(cache().read_all("a", 1), "");
    EXPECT_EQ(cache().origin().bytes_sent(), sent);
    EXPECT_TRUE(cache().disk_within(UINT64_MAX));
  }
}

TEST_F(DiskFaultsTest, AChunkThatIsSetAsideIsNotForgottenByACheckpoint) {
  make();
  read_and_keep("a");
  ASSERT_TRUE(cache().open(objects));
  files_.fail(Call::kReadAt, EIO, 1, FaultyFileSystem::kAlways);
  EXPECT_EQ(cache().read_all("a", 1), "");
  cache().settle();
  files_.heal();
  EXPECT_LT(cached("a"), kSmall);
  // What comes in its place is a checkpoint of now. At once, while one may be written in it.
  fs::rename(directory_ / "manifest", root_ / "gone");
  wait_for([&] { return fs::exists(directory_ / "manifest"); });
  ASSERT_TRUE(cache().open(objects));
  EXPECT_EQ(cache().read_all("a", 1), "");
  EXPECT_EQ(cache().origin().bytes_sent(), 0u);
}

TEST_F(DiskFaultsTest, AFullDiskMakesRoomAndIsUsedAgain) {
  make();
  read_and_keep("large");
  files_.fail(Call::kWrite, ENOSPC, 1, FaultyFileSystem::kAlways);
  for (const char* key : {"a", "b", "huge", "large"}) EXPECT_EQ(cache().read_all(key, 1), "");
  turn_until([&] { return cache().metric("rangecache_evicted_chunks_total") > 0; });
  EXPECT_TRUE(cache().disk_within(UINT64_MAX));
  files_.heal();
  turn_until([&] { return !breaker_open(); });
  for (const char* key : {"a", "b", "large"}) read_and_keep(key);
  EXPECT_TRUE(cache().disk_within(UINT64_MAX));
}

TEST_F(DiskFaultsTest, ABrokenJournalIsNotRewrittenAtEveryPiece) {
  make();
  read_and_keep("a");
  cache().settle();
  files_.fail(Call::kOpen, EIO, 1, FaultyFileSystem::kAlways, "/manifest/");
  fs::rename(directory_ / "manifest", root_ / "gone");
  wait_for([&] { return breaker_open(); });
  cache().settle();
  const int failures = files_.failures();
  for (const char* key : {"a", "b", "huge"}) EXPECT_EQ(cache().read_all(key, 1), "");
  cache().settle();
  EXPECT_EQ(files_.failures(), failures) << "the probe decides when it is tried again";
  files_.heal();
  turn_until([&] { return !breaker_open(); });
  read_and_keep("b");
  ASSERT_TRUE(cache().open(objects));
  EXPECT_EQ(cache().read_all("a", 1), "");
  EXPECT_EQ(cache().read_all("b", 1), "");
  EXPECT_EQ(cache().origin().bytes_sent(), 0u);
}

TEST_F(DiskFaultsTest, AManifestThatSomebodyRemovedIsWrittenAgain) {
  make();
  read_and_keep("a");
  cache().settle();
  fs::rename(directory_ / "manifest", root_ / "gone");
  wait_for([&] { return fs::exists(directory_ / "manifest"); });
  read_and_keep("b");
  ASSERT_TRUE(cache().open(objects));
  EXPECT_EQ(cache().read_all("a", 1), "");
  EXPECT_EQ(cache().read_all("b", 1), "");
  EXPECT_EQ(cache().origin().bytes_sent(), 0u);
}

TEST_F(DiskFaultsTest, AMissingChunkFileIsFetchedAndKeptAgain) {
  make();
  read_and_keep("a");
  ASSERT_TRUE(cache().open(objects));
  for (const auto& path : cache().chunk_files()) fs::remove(path);
  read_and_keep("a");
  EXPECT_FALSE(cache().chunk_files().empty());
  EXPECT_TRUE(cache().disk_within(UINT64_MAX));
}

TEST_F(DiskFaultsTest, DirectoriesRemovedUnderTheCacheAreMadeAgain) {
  for (const char* name : {"objects", "tmp"}) {
    SCOPED_TRACE(name);
    harness_.reset();
    fs::remove_all(directory_);
    make();
    read_and_keep("a");
    ASSERT_TRUE(cache().open(objects));
    fs::remove_all(directory_ / name);
    for (const char* key : {"a", "b", "large", "huge"}) EXPECT_EQ(cache().read_all(key, 1), "");
    if (std::string(name) == "tmp") wait_for([&] { return breaker_open(); });  // makes it again
    turn_until([&] { return !breaker_open() && fs::exists(directory_ / name); });
    for (const char* key : {"a", "b", "large"}) read_and_keep(key);
    EXPECT_TRUE(cache().disk_within(UINT64_MAX));
  }
}

TEST_F(DiskFaultsTest, AStartWithoutAJournalKeepsNothingThatItsCleanMarkDoesNotKnow) {
  make();
  read_and_keep("a");
  cache().close();
  const auto before = cache().chunk_files();
  // The first run has left journal.1.
  files_.fail(Call::kOpen, EROFS, 1, FaultyFileSystem::kAlways, "/manifest/journal.2");
  ASSERT_TRUE(cache().open(objects));
  EXPECT_EQ(cache().read_all("a", 1), "");
  EXPECT_EQ(cache().origin().bytes_sent(), 0u);
  for (const char* key : {"b", "large"}) EXPECT_EQ(cache().read_all(key, 1), "");
  cache().settle();
  EXPECT_TRUE(breaker_open());
  EXPECT_EQ(cache().chunk_files(), before);
  // Once it can be written the mark goes first: what a kill leaves now is looked for.
  files_.heal();
  turn_until([&] { return !breaker_open(); });
  read_and_keep("b");
  cache().settle();
  const fs::path left = root_ / "left";
  fs::copy(directory_, left, fs::copy_options::recursive);
  fs::permissions(left, fs::perms::owner_all);
  cache().close();
  fs::remove_all(directory_);
  fs::rename(left, directory_);
  ASSERT_TRUE(cache().open(objects));
  EXPECT_TRUE(cache().disk_within(UINT64_MAX));
  EXPECT_EQ(cache().read_all("a", 1), "");
  EXPECT_EQ(cache().read_all("b", 1), "");
}

}  // namespace
}  // namespace rangecache::cache
