#include "cache/chunk_writer.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;
using Bytes = std::shared_ptr<std::vector<std::byte>>;

class ChunkWriterTest : public TempDirectoryTest, public testing::WithParamInterface<WriterKind> {
 protected:
  ChunkWriterTest() : files_(posix_file_system()) {}
  ~ChunkWriterTest() override {
    writer_.reset();
    store_.reset();
  }

  void SetUp() override { start(); }
  void start() {
    auto store = ChunkStore::open(files_, directory_);
    ASSERT_TRUE(store) << store.error().message();
    store_ = std::move(*store);
    auto writer = make_chunk_writer(*store_, files_, GetParam());
    if (!writer && writer.error().code == ErrorCode::kUnsupported)
      GTEST_SKIP() << writer.error().message();
    ASSERT_TRUE(writer) << writer.error().message();
    writer_ = std::move(*writer);
    ASSERT_TRUE(store_->create_version(record_));
  }
  bool threads() const { return GetParam() == WriterKind::kThreads; }
  fs::path version_path() const {
    return fs::path(store_->chunk_path(record_.id, {0, 1})).parent_path();
  }

  ChunkWrite chunk(ByteRange range, const Bytes& bytes, Callback<std::uint64_t> done) const {
    ChunkWrite write;
    write.version = record_.id;
    write.range = range;
    write.data = *bytes;
    write.owner = bytes;
    write.checksum = checksum(*bytes);
    write.done = std::move(done);
    return write;
  }
  Result<std::uint64_t> write(ByteRange range, const Bytes& bytes) {
    std::promise<Result<std::uint64_t>> promise;
    writer_->write(chunk(range, bytes, [&](Result<std::uint64_t> disk_bytes) {
      promise.set_value(std::move(disk_bytes));
    }));
    return promise.get_future().get();
  }
  void expect_on_disk(ByteRange range, const Bytes& bytes) {
    EXPECT_TRUE(store_->open_chunk(record_.id, range));
    const std::string text = read_text(store_->chunk_path(record_.id, range));
    ASSERT_EQ(text.size(), bytes->size());
    EXPECT_TRUE(std::equal(text.begin(), text.end(), bytes->begin(),
                           [](char a, std::byte b) { return static_cast<std::byte>(a) == b; }));
  }
  /// A failed write leaves no temporary file, no chunk, and a writer that goes on working.
  void expect_nothing_left(ByteRange range) {
    EXPECT_EQ(entries(directory_ / "tmp"), 0u);
    EXPECT_FALSE(fs::exists(store_->chunk_path(record_.id, range)));
  }

  FaultyFileSystem files_;
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<ChunkWriter> writer_;
  const VersionRecord record_ = version_record("a");
};

TEST_P(ChunkWriterTest, BytesAreIdenticalAtEverySize) {
  std::uint64_t begin = 0;
  for (const std::uint64_t size : std::vector<std::uint64_t>{
           1, 511, 4095, 4096, 4097, 65'536, 65'537, kMiB + 13, 4 * kMiB - 1, 4 * kMiB}) {
    const ByteRange range{begin, begin + size};
    const Bytes bytes = some_bytes(size, begin);
    const auto disk_bytes = write(range, bytes);
    ASSERT_TRUE(disk_bytes) << disk_bytes.error().message();
    struct stat status {};
    ASSERT_EQ(::stat(store_->chunk_path(record_.id, range).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(*disk_bytes % 512, 0u);
    expect_on_disk(range, bytes);
    begin += size;
  }
  EXPECT_EQ(entries(directory_ / "tmp"), 0u);
}

TEST_P(ChunkWriterTest, LargeChunksGoPastThePageCache) {
  if (threads()) GTEST_SKIP() << "only io_uring does";
  {
    const UniqueFd probe(
        ::open((directory_ / "probe").c_str(), O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
    if (!probe) GTEST_SKIP() << "the file system of " << directory_ << " has no O_DIRECT";
  }
  for (const std::size_t size : {4 * kMiB, 4 * kMiB - 5, 64 * std::size_t{1024}}) {
    // Aligned, as the pieces' buffers are.
    const Bytes all = some_bytes(size + 4096, 3);
    const auto misplaced = reinterpret_cast<std::uintptr_t>(all->data()) % 4096;
    ChunkWrite wanted = chunk({0, size}, all, nullptr);
    wanted.data = std::span(*all).subspan((4096 - misplaced) % 4096, size);
    wanted.checksum = checksum(wanted.data);
    std::promise<bool> written;
    wanted.done = [&](Result<std::uint64_t> done) { written.set_value(done.has_value()); };
    const auto data = wanted.data;
    writer_->write(std::move(wanted));
    ASSERT_TRUE(written.get_future().get());
    const std::string path = store_->chunk_path(record_.id, {0, size});
    const double resident = share_in_page_cache(path, size);
    if (size == 4 * kMiB) {
      EXPECT_LT(resident, 0.1);
    } else {
      EXPECT_GT(resident, 0.9) << "what is small or ends within a block is written as ever";
    }
    expect_on_disk({0, size}, std::make_shared<std::vector<std::byte>>(data.begin(), data.end()));
  }
}

TEST_P(ChunkWriterTest, AChunkCarriesItsIdentity) {
  const ByteRange range{4096, 300'000};
  const Bytes bytes = some_bytes(range.size(), 7);
  ASSERT_TRUE(write(range, bytes));
  const auto fd = store_->open_chunk(record_.id, range);
  ASSERT_TRUE(fd);
  const auto mark = files_.attribute(fd->get(), ChunkStore::kIdentityAttribute);
  if (!mark && mark.error().sys_errno == ENOTSUP) GTEST_SKIP() << "no extended attributes here";
  ASSERT_TRUE(mark) << mark.error().message();
  EXPECT_EQ(*mark, ChunkStore::identity(record_.id, range, checksum(*bytes)));
}

TEST_P(ChunkWriterTest, AChunkIsNeverSeenHalfUnderItsName) {
  // The kernel tells of each thing that happens to names and bytes in the version's directory.
  const UniqueFd watch(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  ASSERT_TRUE(watch);
  ASSERT_GE(::inotify_add_watch(watch.get(), version_path().c_str(),
                                IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM),
            0);
  constexpr int kChunks = 20;
  for (int i = 0; i < kChunks; ++i) {
    const std::uint64_t begin = i * kMiB;
    writer_->write(chunk({begin, begin + kMiB}, some_bytes(kMiB, begin),
                         [](Result<std::uint64_t> disk_bytes) { EXPECT_TRUE(disk_bytes); }));
  }
  writer_->drain();
  alignas(inotify_event) char buffer[64 * 1024];
  const ssize_t size = ::read(watch.get(), buffer, sizeof buffer);
  ASSERT_GT(size, 0);
  int moved = 0;
  for (ssize_t at = 0; at < size;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
    EXPECT_EQ(event->mask & IN_ALL_EVENTS, static_cast<unsigned>(IN_MOVED_TO)) << event->name;
    ++moved;
    at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
  }
  EXPECT_EQ(moved, kChunks);
}

TEST_P(ChunkWriterTest, ManyWritesFromManyThreadsAllArriveOnce) {
  constexpr int kThreads = 4, kEach = 50;
  constexpr std::uint64_t kSize = 100'000;
  std::atomic<int> calls[kThreads * kEach] = {};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t * kEach; i < (t + 1) * kEach; ++i) {
        const std::uint64_t begin = i * kSize;
        writer_->write(chunk({begin, begin + kSize}, some_bytes(kSize, begin),
                             [&calls, i](Result<std::uint64_t> disk_bytes) {
                               EXPECT_TRUE(disk_bytes);
                               ++calls[i];
                             }));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  writer_->drain();
  for (int i = 0; i < kThreads * kEach; ++i) {
    EXPECT_EQ(calls[i], 1) << i;
    const std::uint64_t begin = i * kSize;
    expect_on_disk({begin, begin + kSize}, some_bytes(kSize, begin));
  }
  EXPECT_EQ(entries(directory_ / "tmp"), 0u);
}

TEST_P(ChunkWriterTest, DestructionWritesWhatIsQueued) {
  std::atomic<int> done{0};
  for (std::uint64_t i = 0; i < 50; ++i) {
    writer_->write(chunk({i * 1000, i * 1000 + 1000}, some_bytes(1000, i),
                         [&](Result<std::uint64_t> disk_bytes) {
                           EXPECT_TRUE(disk_bytes);
                           ++done;
                         }));
  }
  writer_.reset();
  EXPECT_EQ(done, 50);
  EXPECT_EQ(entries(version_path()), 51u);  // and meta
}

TEST_P(ChunkWriterTest, ACallbackMayWriteTheNextChunk) {
  std::promise<void> finished;
  std::function<void(std::uint64_t)> next = [&](std::uint64_t i) {
    if (i == 30) return finished.set_value();
    writer_->write(chunk({i * 1000, i * 1000 + 1000}, some_bytes(1000, i),
                         [&next, i](Result<std::uint64_t> disk_bytes) {
                           EXPECT_TRUE(disk_bytes);
                           next(i + 1);
                         }));
  };
  next(0);
  finished.get_future().wait();
  writer_->drain();
}

TEST_P(ChunkWriterTest, TheMemoryIsGivenBackBeforeTheCallback) {
  Bytes bytes = some_bytes(kMiB, 1);
  const std::weak_ptr<std::vector<std::byte>> watch = bytes;
  std::promise<bool> gone;
  auto job =
      chunk({0, kMiB}, bytes, [&](Result<std::uint64_t>) { gone.set_value(watch.expired()); });
  bytes.reset();
  writer_->write(std::move(job));
  EXPECT_TRUE(gone.get_future().get());
}

TEST_P(ChunkWriterTest, AVersionDirectoryThatWasRemovedIsMadeAgain) {
  for (const fs::path& victim : {version_path(), version_path().parent_path()}) {
    fs::remove_all(victim);
    const Bytes bytes = some_bytes(50'000, 3);
    const auto written = write({0, 50'000}, bytes);
    ASSERT_TRUE(written) << written.error().message();
    expect_on_disk({0, 50'000}, bytes);
  }
}

// --- real failures of the kernel, met by both writers alike --------------------------------------

TEST_P(ChunkWriterTest, AMissingTemporaryDirectoryIsAnErrorAndNoMore) {
  fs::remove(directory_ / "tmp");
  const auto failed = write({0, 100}, some_bytes(100, 0));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().sys_errno, ENOENT);
  fs::create_directory(directory_ / "tmp");
  EXPECT_TRUE(write({0, 100}, some_bytes(100, 0)));
}

TEST_P(ChunkWriterTest, ARenameThatFailsLeavesNoTemporaryFile) {
  const ByteRange range{0, 5000};
  fs::create_directory(store_->chunk_path(record_.id, range));  // EISDIR
  const auto failed = write(range, some_bytes(5000, 0));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().sys_errno, EISDIR);
  EXPECT_NE(failed.error().message().find(record_.id.hex()), std::string::npos);
  fs::remove(store_->chunk_path(record_.id, range));
  expect_nothing_left(range);
  EXPECT_TRUE(write(range, some_bytes(5000, 0)));
}

TEST_P(ChunkWriterTest, AVersionDirectoryThatCannotBeMadeAgainIsAnError) {
  const fs::path version = version_path();
  fs::remove_all(version);
  write_text(version, "a file in its place");
  ASSERT_FALSE(write({0, 5000}, some_bytes(5000, 0)));
  EXPECT_EQ(entries(directory_ / "tmp"), 0u);
  fs::remove(version);
  EXPECT_TRUE(write({0, 5000}, some_bytes(5000, 0)));
}

TEST_P(ChunkWriterTest, AShortWriteIsContinuedAndItsFailureReported) {
  // A limit of file size gives what a disk that fills up gives: a short write, then an error.
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = kMiB + 100;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto failed = write({0, 4 * kMiB}, some_bytes(4 * kMiB, 0));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().sys_errno, EFBIG);
  expect_nothing_left({0, 4 * kMiB});
  EXPECT_TRUE(write({0, 4 * kMiB}, some_bytes(4 * kMiB, 0)));
}

TEST_P(ChunkWriterTest, AFailedMarkIsAnErrorButMissingSupportIsNot) {
  files_.fail(Call::kSetAttribute, ENOSPC);
  const auto failed = write({0, 100}, some_bytes(100, 0));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kNoSpace);
  expect_nothing_left({0, 100});
  files_.fail(Call::kSetAttribute, ENOTSUP);
  EXPECT_TRUE(write({0, 100}, some_bytes(100, 0)));
}

TEST_P(ChunkWriterTest, FaultsAmongManyWritesHurtOnlyTheirOwn) {
  files_.fail(Call::kSetAttribute, EIO, 10, 15);
  std::mutex mu;
  std::vector<bool> written(60);
  std::atomic<int> calls{0};
  for (std::uint64_t i = 0; i < 60; ++i) {
    writer_->write(chunk({i * 9000, i * 9000 + 9000}, some_bytes(9000, i * 9000),
                         [&, i](Result<std::uint64_t> disk_bytes) {
                           std::lock_guard lock(mu);
                           written[i] = disk_bytes.has_value();
                           ++calls;
                         }));
  }
  writer_->drain();
  EXPECT_EQ(calls, 60);
  EXPECT_EQ(std::count(written.begin(), written.end(), false), 15);
  for (std::uint64_t i = 0; i < 60; ++i) {
    const ByteRange range{i * 9000, i * 9000 + 9000};
    if (written[i]) {
      expect_on_disk(range, some_bytes(9000, range.begin));
    } else {
      EXPECT_FALSE(fs::exists(store_->chunk_path(record_.id, range)));
    }
  }
  EXPECT_EQ(entries(directory_ / "tmp"), 0u);
}

INSTANTIATE_TEST_SUITE_P(Both, ChunkWriterTest,
                         testing::Values(WriterKind::kIoUring, WriterKind::kThreads),
                         [](const auto& kind) {
                           return kind.param == WriterKind::kIoUring ? "IoUring" : "Threads";
                         });

TEST(ChunkWriterKinds, AutoAlwaysFindsOne) {
  std::string pattern = (fs::temp_directory_path() / "rangecache-kind-XXXXXX").string();
  ASSERT_TRUE(::mkdtemp(pattern.data()));
  {
    auto store = ChunkStore::open(posix_file_system(), pattern);
    ASSERT_TRUE(store);
    auto writer = make_chunk_writer(**store, posix_file_system(), WriterKind::kAuto);
    ASSERT_TRUE(writer);
    const bool ring =
        make_chunk_writer(**store, posix_file_system(), WriterKind::kIoUring).has_value();
    EXPECT_STREQ((*writer)->name(), ring ? "io_uring" : "threads");
  }
  fs::remove_all(pattern);
}

// --- faults of each call, which only the thread writer makes through the port --------------------

struct CallFault {
  Call call;
  int error_number;
  ErrorCode code;
};

class ThreadWriterFault : public ChunkWriterTest {};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadWriterFault, testing::Values(WriterKind::kThreads),
                         [](const auto&) { return "Threads"; });

TEST_P(ThreadWriterFault, EachCallMayFailWithEachError) {
  std::vector<CallFault> faults;
  for (const Call call :
       {Call::kOpen, Call::kWrite, Call::kSetAttribute, Call::kStatus, Call::kRename}) {
    faults.push_back({call, EIO, ErrorCode::kIo});
    faults.push_back({call, ENOSPC, ErrorCode::kNoSpace});
    faults.push_back({call, EDQUOT, ErrorCode::kNoSpace});
    faults.push_back({call, EROFS, ErrorCode::kPermissionDenied});
  }
  faults.push_back({Call::kRename, EXDEV, ErrorCode::kIo});
  faults.push_back({Call::kOpen, EMFILE, ErrorCode::kIo});
  for (const CallFault& fault : faults) {
    SCOPED_TRACE(std::to_string(static_cast<int>(fault.call)) + " " +
                 std::to_string(fault.error_number));
    std::atomic<int> calls{0};
    std::optional<Result<std::uint64_t>> result;
    files_.fail(fault.call, fault.error_number);
    writer_->write(chunk({0, 10'000}, some_bytes(10'000, 0), [&](Result<std::uint64_t> written) {
      ++calls;
      result = std::move(written);
    }));
    writer_->drain();
    EXPECT_EQ(calls, 1);
    ASSERT_TRUE(result && !*result);
    EXPECT_EQ(result->error().code, fault.code);
    EXPECT_EQ(result->error().sys_errno, fault.error_number);
    expect_nothing_left({0, 10'000});
  }
  EXPECT_TRUE(write({0, 10'000}, some_bytes(10'000, 0)));
}

TEST_P(ThreadWriterFault, TheNameAppearsOnlyWithTheRename) {
  std::atomic<int> renames{0};
  files_.before_rename([&](const std::string& from, const std::string& to) {
    ++renames;
    EXPECT_EQ(fs::file_size(from), 10'000u);
    EXPECT_FALSE(fs::exists(to));
  });
  EXPECT_TRUE(write({0, 10'000}, some_bytes(10'000, 0)));
  EXPECT_EQ(renames, 1);
}

// --- a disk that is really full
// -------------------------------------------------------------------

class FullDisk : public ChunkWriterTest {
 protected:
  void SetUp() override {
    // In a mount name space of its own, so that nothing stays behind whatever happens.
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=3m,mode=0700") != 0) {
      GTEST_SKIP() << "cannot mount a small tmpfs: " << std::strerror(errno);
    }
    mounted_ = true;
    start();
  }
  ~FullDisk() override {
    writer_.reset();
    store_.reset();
    if (mounted_) ::umount2(root_.c_str(), MNT_DETACH);
  }
  bool mounted_ = false;
};
INSTANTIATE_TEST_SUITE_P(Both, FullDisk,
                         testing::Values(WriterKind::kIoUring, WriterKind::kThreads),
                         [](const auto& kind) {
                           return kind.param == WriterKind::kIoUring ? "IoUring" : "Threads";
                         });

TEST_P(FullDisk, NoSpaceIsReportedAndLeavesTheDiskAsItWas) {
  EXPECT_TRUE(write({0, kMiB}, some_bytes(kMiB, 0)));
  const auto before = fs::space(root_).free;
  const auto failed = write({kMiB, 5 * kMiB}, some_bytes(4 * kMiB, kMiB));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kNoSpace) << failed.error().message();
  expect_nothing_left({kMiB, 5 * kMiB});
  EXPECT_EQ(fs::space(root_).free, before);
  EXPECT_TRUE(write({kMiB, 2 * kMiB}, some_bytes(kMiB, kMiB)));
  expect_on_disk({0, kMiB}, some_bytes(kMiB, 0));
  expect_on_disk({kMiB, 2 * kMiB}, some_bytes(kMiB, kMiB));
}

TEST_P(FullDisk, ManyWritesOfWhichFewFitAllCallBack) {
  std::atomic<int> good{0}, full{0};
  for (std::uint64_t i = 0; i < 30; ++i) {
    writer_->write(chunk({i * kMiB, i * kMiB + 700'000}, some_bytes(700'000, i * kMiB),
                         [&](Result<std::uint64_t> written) {
                           if (written) {
                             ++good;
                           } else if (written.error().code == ErrorCode::kNoSpace) {
                             ++full;
                           }
                         }));
  }
  writer_->drain();
  EXPECT_EQ(good + full, 30);
  EXPECT_GE(full, 26);
  EXPECT_EQ(entries(directory_ / "tmp"), 0u);
  EXPECT_EQ(entries(version_path()), static_cast<std::size_t>(good + 1));
}

}  // namespace
}  // namespace rangecache::cache
