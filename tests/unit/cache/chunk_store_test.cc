#include "cache/chunk_store.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <set>

#include "base/unique_fd.h"
#include "cache/records.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

class ChunkStoreTest : public TempDirectoryTest {
 protected:
  Result<std::unique_ptr<ChunkStore>> try_open() {
    return ChunkStore::open(posix_file_system(), directory_);
  }
  std::unique_ptr<ChunkStore> open() {
    auto store = try_open();
    EXPECT_TRUE(store) << store.error().message();
    return store ? std::move(*store) : nullptr;
  }
  void expect_refused(ErrorCode code, const std::string& part) {
    const auto store = try_open();
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code, code) << store.error().message();
    EXPECT_NE(store.error().message().find(part), std::string::npos) << store.error().message();
    EXPECT_NE(store.error().message().find(directory_.string()), std::string::npos)
        << store.error().message();
  }
  /// Puts a chunk where the writers would.
  std::vector<std::byte> put_chunk(ChunkStore& store, const VersionId& id, ByteRange range,
                                   bool mark = true) {
    const auto bytes = some_bytes(range.size(), range.begin);
    auto fd = posix_file_system().open(store.chunk_path(id, range), O_WRONLY | O_CREAT, 0600);
    EXPECT_TRUE(fd);
    EXPECT_TRUE(posix_file_system().write_all(fd->get(), *bytes, 0));
    if (mark) {
      marks_work_ = posix_file_system()
                        .set_attribute(fd->get(), ChunkStore::kIdentityAttribute,
                                       ChunkStore::identity(id, range, checksum(*bytes)))
                        .has_value();
    }
    return *bytes;
  }
  struct FoundChunk {
    VersionId version;
    ByteRange range;
  };
  static std::vector<FoundChunk> scan(const ChunkStore& store) {
    std::vector<FoundChunk> found;
    EXPECT_TRUE(store.scan([&](const VersionId& id, const std::vector<ByteRange>& chunks) {
      for (const ByteRange range : chunks) found.push_back({id, range});
      return true;
    }));
    return found;
  }
  static Result<std::vector<std::uint32_t>> prove(const ChunkStore& store,
                                                  const FoundChunk& chunk) {
    RC_ASSIGN(const UniqueFd fd, store.open_chunk(chunk.version, chunk.range));
    return store.prove(chunk.version, chunk.range, fd.get());
  }

  bool marks_work_ = false;
};

// --- opening ----------------------------------------------------------------------------------

TEST_F(ChunkStoreTest, MakesAPrivateDirectoryWithItsParents) {
  directory_ = root_ / "a" / "b" / "cache";
  const auto store = open();
  ASSERT_TRUE(store);
  for (const char* name : {"", "objects", "tmp", "manifest"})
    EXPECT_EQ(mode_of(directory_ / name), 0700u) << name;
  for (const char* name : {"format", "lock"}) EXPECT_EQ(mode_of(directory_ / name), 0600u) << name;
  EXPECT_EQ(read_text(directory_ / "format"), "rangecache 1\n");
  EXPECT_EQ(read_text(directory_ / "lock"), std::to_string(::getpid()));
}

TEST_F(ChunkStoreTest, TrailingSlashesDoNotMatter) {
  const fs::path plain = directory_;
  directory_ += "//";
  EXPECT_EQ(open()->directory(), plain.string());
}

TEST_F(ChunkStoreTest, RefusesASymbolicLink) {
  fs::create_directory(root_ / "real");
  fs::permissions(root_ / "real", fs::perms::owner_all);
  fs::create_directory_symlink(root_ / "real", directory_);
  expect_refused(ErrorCode::kPermissionDenied, "symbolic link");
  EXPECT_TRUE(fs::is_empty(root_ / "real"));
}

TEST_F(ChunkStoreTest, RefusesWhatIsNoDirectory) {
  write_text(directory_, "a file");
  expect_refused(ErrorCode::kPermissionDenied, "not a directory");
}

TEST_F(ChunkStoreTest, RefusesADirectoryThatOthersCanWriteTo) {
  for (const mode_t mode : {0770, 0707, 0777, 0720, 0702}) {
    fs::remove_all(directory_);
    fs::create_directory(directory_);
    ASSERT_EQ(::chmod(directory_.c_str(), mode), 0);
    expect_refused(ErrorCode::kPermissionDenied, "chmod 700");
    EXPECT_TRUE(fs::is_empty(directory_));
  }
}

TEST_F(ChunkStoreTest, RefusesADirectoryOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  fs::create_directory(directory_);
  fs::permissions(directory_, fs::perms::owner_all);
  ASSERT_EQ(::chown(directory_.c_str(), 12345, 12345), 0);
  expect_refused(ErrorCode::kPermissionDenied, "another user");
}

TEST_F(ChunkStoreTest, NamesADirectoryThatCannotBeMade) {
  write_text(root_ / "file", "");
  directory_ = root_ / "file" / "cache";
  expect_refused(ErrorCode::kIo, "--cache-dir");
}

TEST_F(ChunkStoreTest, NamesADirectoryOnAReadOnlyFileSystem) {
  fs::create_directory(directory_);
  fs::permissions(directory_, fs::perms::owner_all);
  FaultyFileSystem files(posix_file_system());
  files.fail(Call::kOpen, EROFS, 1, FaultyFileSystem::kAlways);
  const auto store = ChunkStore::open(files, directory_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kPermissionDenied);
  EXPECT_NE(store.error().message().find("must be writable"), std::string::npos);
  EXPECT_NE(store.error().message().find(directory_.string()), std::string::npos);
}

TEST_F(ChunkStoreTest, RefusesAnotherFormatAndLeavesItAlone) {
  for (const char* format : {"rangecache 2\n", "rangecache 1", "rangecache 11\n", "garbage"}) {
    fs::remove_all(directory_);
    open();
    write_text(directory_ / "format", format);
    write_text(directory_ / "tmp" / "1.1", "of the other format");
    expect_refused(ErrorCode::kUnsupported, "rangecache 1");
    EXPECT_EQ(read_text(directory_ / "format"), format);
    EXPECT_TRUE(fs::exists(directory_ / "tmp" / "1.1"));
  }
}

TEST_F(ChunkStoreTest, DoesNotTakeOverADirectoryWithOtherThings) {
  fs::create_directory(directory_);
  fs::permissions(directory_, fs::perms::owner_all);
  write_text(directory_ / "thesis.tex", "precious");
  expect_refused(ErrorCode::kInvalidArgument, "thesis.tex");
  EXPECT_EQ(read_text(directory_ / "thesis.tex"), "precious");
}

TEST_F(ChunkStoreTest, ADeathWhileTheDirectoryIsMadeDoesNotSpoilIt) {
  // Each step of the first start fails in turn; the next start must take what it left.
  for (const Call call : {Call::kOpen, Call::kWrite, Call::kRename, Call::kMakeDirectory}) {
    for (int nth = 1;; ++nth) {
      fs::remove_all(directory_);
      FaultyFileSystem files(posix_file_system());
      files.fail(call, EIO, nth, FaultyFileSystem::kAlways);
      (void)ChunkStore::open(files, directory_);
      if (files.failures() == 0) break;
      EXPECT_TRUE(open()) << "call " << static_cast<int>(call) << ", " << nth;
    }
  }
}

TEST_F(ChunkStoreTest, AFullDiskDoesNotKeepAnExistingCacheFromOpening) {
  open();
  FaultyFileSystem files(posix_file_system());
  files.fail(Call::kWrite, ENOSPC, 1, FaultyFileSystem::kAlways);
  const auto store = ChunkStore::open(files, directory_);
  EXPECT_TRUE(store) << store.error().message();
}

TEST_F(ChunkStoreTest, ASecondDaemonIsToldWhoHasTheDirectory) {
  const auto first = open();
  const auto second = try_open();  // flock belongs to the open file: one process will do
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  const std::string message = second.error().message();
  EXPECT_NE(message.find(directory_.string()), std::string::npos) << message;
  EXPECT_NE(message.find("pid " + std::to_string(::getpid())), std::string::npos) << message;
}

TEST_F(ChunkStoreTest, TheLockGoesWithItsProcess) {
  open();  // makes the directory
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto store = try_open();
    const char byte = store ? 'y' : 'n';
    [[maybe_unused]] const auto n = ::write(ready[1], &byte, 1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  const auto busy = try_open();
  ASSERT_FALSE(busy);
  EXPECT_NE(busy.error().message().find("pid " + std::to_string(child)), std::string::npos);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(open());
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(ChunkStoreTest, ASecondDaemonSweepsNothing) {
  const auto first = open();
  const std::string temp = first->temp_path();
  write_text(temp, "being written");
  EXPECT_FALSE(try_open());
  EXPECT_TRUE(fs::exists(temp));
}

TEST_F(ChunkStoreTest, SweepsTheTemporaryFilesOfAnEarlierRun) {
  {
    const auto store = open();
    for (int i = 0; i < 20; ++i) write_text(store->temp_path(), "half of a chunk");
    EXPECT_EQ(entries(directory_ / "tmp"), 20u);
  }
  open();
  EXPECT_EQ(entries(directory_ / "tmp"), 0u);
}

TEST_F(ChunkStoreTest, TemporaryNamesAreNeverTheSame) {
  const auto store = open();
  std::set<std::string> names;
  for (int i = 0; i < 1000; ++i) names.insert(store->temp_path());
  EXPECT_EQ(names.size(), 1000u);
}

// --- versions ---------------------------------------------------------------------------------

TEST_F(ChunkStoreTest, MetaGivesBackWhatWasWritten) {
  const auto store = open();
  const std::string hostile("../../etc/passwd\n\0\xff\x80\"\\", 22);
  for (const std::string& key :
       {std::string("a"), std::string(), hostile, std::string(4096, 'k')}) {
    VersionRecord record = version_record(key, hostile);
    ASSERT_TRUE(store->create_version(record));
    EXPECT_TRUE(store->create_version(record)) << "again is fine";
    const auto read = store->read_meta(record.id);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_EQ(read->key, key);
    EXPECT_EQ(read->origin_id, record.origin_id);
    EXPECT_EQ(read->validator, record.validator);
    EXPECT_EQ(read->size, record.size);
    EXPECT_EQ(read->modified_s, record.modified_s);
    EXPECT_EQ(read->id, record.id);
  }
  EXPECT_EQ(entries(directory_ / "tmp"), 0u);
}

TEST_F(ChunkStoreTest, NothingOfARemoteNameReachesAPath) {
  const auto store = open();
  const VersionRecord record = version_record("../../../escape");
  ASSERT_TRUE(store->create_version(record));
  const std::string path = store->chunk_path(record.id, {0, 4096});
  const std::string hex = record.id.hex();
  EXPECT_EQ(path, directory_.string() + "/objects/" + hex.substr(0, 2) + "/" + hex +
                      "/0000000000000000-0000000000001000");
  const fs::path version = fs::path(path).parent_path();
  EXPECT_EQ(mode_of(version), 0700u);
  EXPECT_EQ(mode_of(version / "meta"), 0600u);
}

TEST_F(ChunkStoreTest, NoFlippedBitOfMetaIsBelieved) {
  const auto store = open();
  const VersionRecord record = version_record("some/key");
  ASSERT_TRUE(store->create_version(record));
  const fs::path meta = fs::path(store->chunk_path(record.id, {0, 1})).parent_path() / "meta";
  const std::string good = read_text(meta);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    write_text(meta, bad);
    if (const auto read = store->read_meta(record.id)) {
      // The letter case of a hex digit, say, changes nothing of what is meant.
      EXPECT_EQ(read->key, record.key) << bit;
      EXPECT_EQ(read->validator, record.validator) << bit;
    } else {
      EXPECT_EQ(read.error().code, ErrorCode::kCorrupt) << bit;
    }
  }
  for (std::size_t length = 0; length < good.size(); ++length) {
    write_text(meta, good.substr(0, length));
    EXPECT_FALSE(store->read_meta(record.id)) << length;
  }
  for (const char* text : {"null", "[]", "{}", "{\"version\":{},\"checksum\":1}", "{\"version\":1}",
                           "\xff\xfe", "{\"version\":{\"origin\":1},\"checksum\":\"\"}"}) {
    write_text(meta, text);
    EXPECT_FALSE(store->read_meta(record.id)) << text;
  }
}

TEST_F(ChunkStoreTest, AVersionUnderAnothersNameIsCorrupt) {
  const auto store = open();
  const VersionRecord a = version_record("a"), b = version_record("b");
  ASSERT_TRUE(store->create_version(a));
  ASSERT_TRUE(store->create_version(b));
  const auto meta = [&](const VersionRecord& record) {
    return fs::path(store->chunk_path(record.id, {0, 1})).parent_path() / "meta";
  };
  fs::copy_file(meta(a), meta(b), fs::copy_options::overwrite_existing);
  EXPECT_EQ(store->read_meta(b.id).error().code, ErrorCode::kCorrupt);
}

TEST_F(ChunkStoreTest, AVersionThatCannotBeWrittenDownLeavesNothing) {
  for (const Call call : {Call::kOpen, Call::kWrite, Call::kRename}) {
    FaultyFileSystem files(posix_file_system());
    auto store = ChunkStore::open(files, directory_);
    ASSERT_TRUE(store);
    const VersionRecord record = version_record("a");
    files.fail(call, ENOSPC);
    const auto created = (*store)->create_version(record);
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code, ErrorCode::kNoSpace);
    EXPECT_EQ(entries(directory_ / "tmp"), 0u);
    EXPECT_FALSE(fs::exists(fs::path((*store)->chunk_path(record.id, {0, 1})).parent_path()));
    EXPECT_TRUE((*store)->create_version(record)) << "the next attempt is not in its own way";
    EXPECT_TRUE((*store)->remove_version(record.id));
  }
}

TEST_F(ChunkStoreTest, RemovingAVersionTwiceIsFine) {
  const auto store = open();
  const VersionRecord record = version_record("a");
  ASSERT_TRUE(store->create_version(record));
  EXPECT_TRUE(store->remove_version(record.id));
  EXPECT_TRUE(store->remove_version(record.id));
  EXPECT_FALSE(fs::exists(fs::path(store->chunk_path(record.id, {0, 1})).parent_path()));
  EXPECT_EQ(store->read_meta(record.id).error().code, ErrorCode::kNotFound);
}

// --- chunks -----------------------------------------------------------------------------------

TEST_F(ChunkStoreTest, AChunkOfTheWrongSizeIsCorruptAndAMissingOneNotFound) {
  const auto store = open();
  const VersionRecord record = version_record("a");
  const ByteRange range{100, 5000};
  ASSERT_TRUE(store->create_version(record));
  EXPECT_EQ(store->open_chunk(record.id, range).error().code, ErrorCode::kNotFound);
  put_chunk(*store, record.id, range);
  EXPECT_TRUE(store->open_chunk(record.id, range));
  for (const std::uint64_t size : {0, 1, 4899, 4901, 8192}) {
    fs::resize_file(store->chunk_path(record.id, range), size);
    EXPECT_EQ(store->open_chunk(record.id, range).error().code, ErrorCode::kCorrupt) << size;
  }
}

TEST_F(ChunkStoreTest, AChunkThatIsASymbolicLinkIsNotFollowed) {
  const auto store = open();
  const VersionRecord record = version_record("a");
  ASSERT_TRUE(store->create_version(record));
  write_text(root_ / "secret", std::string(4096, 's'));
  fs::create_symlink(root_ / "secret", store->chunk_path(record.id, {0, 4096}));
  EXPECT_FALSE(store->open_chunk(record.id, {0, 4096}));
}

TEST_F(ChunkStoreTest, DescriptorsAreNotInherited) {
  const auto store = open();
  const VersionRecord record = version_record("a");
  ASSERT_TRUE(store->create_version(record));
  put_chunk(*store, record.id, {0, 10});
  const auto fd = store->open_chunk(record.id, {0, 10});
  ASSERT_TRUE(fd);
  EXPECT_TRUE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC);
}

// --- the walk over the disk ---------------------------------------------------------------------

TEST_F(ChunkStoreTest, TheWalkFindsEveryChunkAndProvesItsBytes) {
  const auto store = open();
  const VersionRecord a = version_record("a"), b = version_record("b");
  ASSERT_TRUE(store->create_version(a));
  ASSERT_TRUE(store->create_version(b));
  for (const auto& id : {a.id, b.id}) {
    for (const ByteRange range : {ByteRange{0, 200'000}, ByteRange{kMiB, kMiB + 1}})
      put_chunk(*store, id, range);
  }
  if (!marks_work_) GTEST_SKIP() << "no extended attributes on " << root_;
  const auto found = scan(*store);
  ASSERT_EQ(found.size(), 4u);
  for (const FoundChunk& chunk : found) {
    EXPECT_TRUE(store->is_chunk(chunk.version, chunk.range));
    const auto bytes = some_bytes(chunk.range.size(), chunk.range.begin);
    const auto blocks = prove(*store, chunk);
    ASSERT_TRUE(blocks);
    ASSERT_EQ(blocks->size(), (chunk.range.size() + kBlockSize - 1) / kBlockSize);
    for (std::size_t i = 0; i < blocks->size(); ++i) {
      const std::size_t at = i * kBlockSize;
      EXPECT_EQ((*blocks)[i],
                block_checksum(bytes->data() + at,
                               std::min<std::size_t>(kBlockSize, bytes->size() - at)));
    }
  }
}

TEST_F(ChunkStoreTest, TheWalkDoesNotBelieveAChunkUnderAnothersName) {
  const auto store = open();
  const VersionRecord a = version_record("a"), b = version_record("b");
  ASSERT_TRUE(store->create_version(a));
  ASSERT_TRUE(store->create_version(b));
  put_chunk(*store, a.id, {0, 4096});
  fs::rename(store->chunk_path(a.id, {0, 4096}), store->chunk_path(b.id, {0, 4096}));
  put_chunk(*store, a.id, {0, 4096});
  fs::rename(store->chunk_path(a.id, {0, 4096}), store->chunk_path(a.id, {4096, 8192}));
  put_chunk(*store, a.id, {0, 4096}, /*mark=*/false);
  const auto found = scan(*store);
  EXPECT_EQ(found.size(), 3u);
  for (const FoundChunk& chunk : found) {
    EXPECT_FALSE(store->is_chunk(chunk.version, chunk.range));
    EXPECT_FALSE(prove(*store, chunk));
  }
}

TEST_F(ChunkStoreTest, AChangedBitOrACutFileIsNotProved) {
  const auto store = open();
  const VersionRecord a = version_record("a");
  ASSERT_TRUE(store->create_version(a));
  const ByteRange range{0, 100'000};
  auto bytes = put_chunk(*store, a.id, range);
  const FoundChunk found{a.id, range};
  if (!marks_work_) GTEST_SKIP() << "no extended attributes on " << root_;
  ASSERT_TRUE(prove(*store, found));
  bytes[70'000] ^= std::byte{1};
  write_text(store->chunk_path(a.id, range),
             {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  EXPECT_EQ(prove(*store, found).error().code, ErrorCode::kCorrupt);
  for (const std::uint64_t size : {0, 99'999, 100'001}) {
    fs::resize_file(store->chunk_path(a.id, range), size);
    EXPECT_FALSE(prove(*store, found)) << size;
  }
}

TEST_F(ChunkStoreTest, NamesThatAreNotOursAreLeftAloneAndHideNothing) {
  const auto store = open();
  const VersionRecord a = version_record("a");
  ASSERT_TRUE(store->create_version(a));
  put_chunk(*store, a.id, {0, 4096});
  const std::string hex = a.id.hex();
  const fs::path objects = directory_ / "objects", version = objects / hex.substr(0, 2) / hex;
  // Sorted before and after ours, so that none of them may end the walk.
  write_text(objects / "README", "");
  for (const char* prefix : {"!!", "zz", "00", "ff"}) {
    fs::create_directories(objects / prefix / std::string(32, 'e'));
    fs::create_directories(objects / prefix / "short");
    write_text(objects / prefix / std::string(32, 'a'), "a file, not a directory");
  }
  fs::create_directories(objects / hex.substr(0, 2) / std::string(32, 'F'));
  for (const char* name :
       {"notes", "0000000000000000-0000000000000000", "0000000000000010-0000000000000001",
        "000000000000000g-0000000000000001", "0000000000000000+0000000000000001",
        "0x00000000000000-0000000000000001"})
    write_text(version / name, "");
  fs::create_directory(version / "0000000000002000-0000000000003000");
  const auto found = scan(*store);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].range, (ByteRange{0, 4096}));
  EXPECT_TRUE(fs::exists(version / "notes"));
}

TEST_F(ChunkStoreTest, OneUnreadableDirectoryDoesNotHideTheOthers) {
  FaultyFileSystem files(posix_file_system());
  auto store = ChunkStore::open(files, directory_);
  ASSERT_TRUE(store);
  for (int i = 0; i < 8; ++i) {
    const VersionRecord record = version_record("key" + std::to_string(i));
    ASSERT_TRUE((*store)->create_version(record));
    put_chunk(**store, record.id, {0, 100});
  }
  files.fail(Call::kList, EIO, 1, 1, "/objects/" + version_record("key3").id.hex().substr(0, 2));
  std::size_t found = 0;
  EXPECT_FALSE((*store)->scan([&](const VersionId&, const std::vector<ByteRange>& chunks) {
    found += chunks.size();
    return true;
  }));
  EXPECT_GE(found, 6u);  // two keys may share their first digits
}

}  // namespace
}  // namespace rangecache::cache
