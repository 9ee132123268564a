// FUSE requests without a mount: the test plays the kernel.
#include "fuse/operations.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "fake_backend.h"
#include "fake_kernel.h"
#include "fuse/session.h"

namespace rangecache::fuse {
namespace {

class FuseProtocol : public ::testing::Test {
 protected:
  void SetUp() override { start(); }
  void start() {
    auto attached = Session::attach(backend_, kernel_.take_device(), nullptr,
                                    {.threads = 4, .on_exit = [this] { exited_ = true; }});
    ASSERT_TRUE(attached) << attached.error().message();
    session_ = std::move(*attached);
  }
  void TearDown() override {
    EXPECT_EQ(kernel_.unexpected_answers(), 0U);
    // libfuse keeps an interrupt that met no request until the next request: it would leak here.
    if (session_ && session_->mounted()) {
      for (int i = 0; i < 3; ++i)
        kernel_.call(FUSE_GETATTR, FUSE_ROOT_ID, FakeKernel::bytes_of(fuse_getattr_in{}));
    }
  }

  /// Requests without an answer (FORGET, INTERRUPT) are done when their effect shows.
  template <typename Condition>
  static bool eventually(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }

  std::shared_ptr<FakeBackend> backend_ = std::make_shared<FakeBackend>();
  FakeKernel kernel_;
  std::atomic<bool> exited_{false};
  std::unique_ptr<Session> session_;
};

TEST_F(FuseProtocol, InitAsksForWhatAReadOnlyCacheNeedsAndNoMore) {
  const fuse_init_out out = kernel_.init_reply();
  const auto wanted =
      FUSE_ASYNC_READ | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS;
  EXPECT_EQ(out.flags & wanted, static_cast<unsigned>(wanted));
  EXPECT_EQ(out.flags & (FUSE_AUTO_INVAL_DATA | FUSE_POSIX_LOCKS | FUSE_WRITEBACK_CACHE), 0U);
  EXPECT_EQ(out.max_background, 8192);
  EXPECT_EQ(out.congestion_threshold, 48);
  EXPECT_EQ(out.max_readahead, 128U * 1024);  // no more than the kernel offered
}

TEST_F(FuseProtocol, LookupTellsAttributesAndHowLongTheyHold) {
  backend_->put("file", pattern(1025), 2500);
  const fuse_entry_out entry = kernel_.lookup_entry("file");
  EXPECT_GT(entry.nodeid, 1U);
  EXPECT_EQ(entry.attr.mode, static_cast<unsigned>(S_IFREG | 0444));
  EXPECT_EQ(entry.attr.size, 1025U);
  EXPECT_EQ(entry.attr.blocks, 3U);
  EXPECT_EQ(entry.attr.nlink, 1U);
  EXPECT_EQ(entry.attr.uid, ::getuid());
  EXPECT_EQ(entry.attr.mtime, 1'600'000'000U);
  EXPECT_EQ(entry.entry_valid, 2U);
  EXPECT_EQ(entry.entry_valid_nsec, 500'000'000U);
  EXPECT_GE(entry.attr_valid, 3600U);  // a version's attributes do not change
}

TEST_F(FuseProtocol, LookupOfTheAbsentIsENOENTAndOfBadNamesSaysWhy) {
  const std::uint64_t file = (backend_->put("file", "x"), kernel_.lookup_entry("file").nodeid);
  EXPECT_EQ(kernel_.lookup(FUSE_ROOT_ID, "none").error, ENOENT);
  EXPECT_EQ(kernel_.lookup(FUSE_ROOT_ID, std::string(300, 'n')).error, ENAMETOOLONG);
  EXPECT_EQ(kernel_.lookup(file, "below").error, ENOTDIR);
  EXPECT_EQ(kernel_.lookup(4711, "x").error, ESTALE);
}

TEST_F(FuseProtocol, RootIsAReadOnlyDirectory) {
  const auto reply =
      kernel_.call(FUSE_GETATTR, FUSE_ROOT_ID, FakeKernel::bytes_of(fuse_getattr_in{}));
  ASSERT_EQ(reply.error, 0);
  EXPECT_EQ(FakeKernel::as<fuse_attr_out>(reply.body).attr.mode,
            static_cast<unsigned>(S_IFDIR | 0555));
}

TEST_F(FuseProtocol, ReadGivesTheBytesWhateverTheirSlicesAre) {
  const std::string content = pattern(200'001);
  backend_->put("file", content);
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  for (const auto supply :
       {FakeBackend::Supply::kMemory, FakeBackend::Supply::kFile, FakeBackend::Supply::kMixed}) {
    backend_->supply = supply;
    for (const std::uint64_t offset : {0ULL, 1ULL, 4095ULL, 4999ULL, 123'457ULL, 199'999ULL}) {
      for (const std::uint32_t size : {1U, 4096U, 5001U, 65'536U, 131'072U}) {
        const auto reply = kernel_.read(id, handle, offset, size);
        ASSERT_EQ(reply.error, 0);
        ASSERT_EQ(reply.body, content.substr(offset, size)) << offset << "+" << size;
      }
    }
    EXPECT_EQ(kernel_.read(id, handle, content.size(), 4096).body, "");
    EXPECT_EQ(kernel_.read(id, handle, content.size() + 9999, 4096).body, "");
  }
}

TEST_F(FuseProtocol, HeldReadsAreAnsweredInTheOrderTheyComplete) {
  const std::string content = pattern(16'384);
  backend_->put("file", content);
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->hold_reads = true;
  // More of them than the session has threads: none of them blocks one.
  std::vector<std::uint64_t> reads;
  for (std::uint64_t i = 0; i < 40; ++i) {
    reads.push_back(kernel_.send_read(id, handle, i * 100, 100));
    ASSERT_TRUE(backend_->wait_for_held(i + 1));
  }
  const auto other = kernel_.call(FUSE_GETATTR, id, FakeKernel::bytes_of(fuse_getattr_in{}));
  EXPECT_EQ(other.error, 0);
  for (std::size_t i = reads.size(); i-- > 0;) {
    std::thread([&] { backend_->finish(backend_->take_held(i)); }).join();
    ASSERT_EQ(kernel_.wait(reads[i]).body, content.substr(i * 100, 100));
    if (i > 0) {
      ASSERT_FALSE(kernel_.has_answer(reads[i - 1]));
    }
  }
}

TEST_F(FuseProtocol, BackendErrorsBecomeTheirErrno) {
  backend_->put("file", pattern(100));
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->hold_reads = true;
  const std::pair<ErrorCode, int> cases[] = {{ErrorCode::kStale, ESTALE},
                                             {ErrorCode::kTimedOut, EIO},
                                             {ErrorCode::kOriginFailed, EIO},
                                             {ErrorCode::kPermissionDenied, EACCES}};
  for (const auto& [code, expected] : cases) {
    const std::uint64_t read = kernel_.send_read(id, handle, 0, 10);
    ASSERT_TRUE(backend_->wait_for_held(1));
    backend_->take_held().done(Error{code, "test"});
    EXPECT_EQ(kernel_.wait(read).error, expected);
  }
}

TEST_F(FuseProtocol, InterruptOfAWaitingReadIsEINTRAndCancelsIt) {
  backend_->put("file", pattern(100));
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->hold_reads = true;
  const std::uint64_t read = kernel_.send_read(id, handle, 0, 10);
  ASSERT_TRUE(backend_->wait_for_held(1));
  kernel_.interrupt(read);
  EXPECT_EQ(kernel_.wait(read).error, EINTR);
  EXPECT_EQ(backend_->cancelled(), 1U);
}

TEST_F(FuseProtocol, InterruptIsAnsweredEvenIfTheBackendDoesNotCancel) {
  backend_->ignore_cancel = true;
  backend_->put("file", pattern(100));
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->hold_reads = true;
  const std::uint64_t read = kernel_.send_read(id, handle, 0, 10);
  ASSERT_TRUE(backend_->wait_for_held(1));
  kernel_.interrupt(read);
  EXPECT_EQ(kernel_.wait(read).error, EINTR);
  backend_->finish(backend_->take_held());  // late: must not answer a second time
  EXPECT_EQ(kernel_.lookup(FUSE_ROOT_ID, "none").error, ENOENT);
  EXPECT_FALSE(kernel_.has_answer(read));
}

TEST_F(FuseProtocol, InterruptAfterTheAnswerIsHarmless) {
  backend_->put("file", "0123456789");
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  const std::uint64_t read = kernel_.send_read(id, handle, 2, 3);
  EXPECT_EQ(kernel_.wait(read).body, "234");
  kernel_.interrupt(read);
  EXPECT_EQ(kernel_.read(id, handle, 0, 2).body, "01");
  EXPECT_FALSE(kernel_.has_answer(read));
}

TEST_F(FuseProtocol, InterruptThatOvertakesItsReadStillCountsAndIsNotLost) {
  backend_->put("file", pattern(100));
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->hold_reads = true;
  // With several threads the interrupt may be processed first, or in the middle of the read.
  for (int i = 0; i < 300; ++i) {
    const std::uint64_t read = kernel_.send_read(id, handle, 0, 10);
    kernel_.interrupt(read);
    ASSERT_EQ(kernel_.wait(read).error, EINTR) << i;
  }
  EXPECT_TRUE(eventually([&] { return session_->usage().waiting == 0; }));
}

TEST_F(FuseProtocol, InterruptsRacingWithAnswersGiveOneAnswerEach) {
  const std::string content = pattern(100);
  backend_->put("file", content);
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->ignore_cancel = true;
  backend_->hold_reads = true;
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t read = kernel_.send_read(id, handle, 0, 10);
    ASSERT_TRUE(backend_->wait_for_held(1));
    auto held = backend_->take_held();
    std::thread completer([&] { backend_->finish(std::move(held)); });
    kernel_.interrupt(read);
    const auto reply = kernel_.wait(read);
    completer.join();
    ASSERT_TRUE(reply.error == EINTR || reply.body == content.substr(0, 10));
    ASSERT_FALSE(kernel_.has_answer(read));
  }
}

TEST_F(FuseProtocol, InterruptedLookupIsEINTRAndItsLateResultIsNotCounted) {
  const auto node = backend_->put("file", "x");
  backend_->hold_lookups = true;
  const std::uint64_t lookup =
      kernel_.send(FUSE_LOOKUP, FUSE_ROOT_ID, FakeKernel::with_nul("file"));
  ASSERT_TRUE(backend_->wait_for_held_lookup());
  kernel_.interrupt(lookup);
  EXPECT_EQ(kernel_.wait(lookup).error, EINTR);
  backend_->take_held_lookup()(NodePtr(node));
  EXPECT_EQ(session_->usage().inodes, 1U);
}

TEST_F(FuseProtocol, ReadThatComesBackTooShortIsEIOAndNeverAShortRead) {
  backend_->put("file", pattern(10'000));
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->cut_short = true;
  EXPECT_EQ(kernel_.read(id, handle, 0, 4096).error, EIO);
}

TEST_F(FuseProtocol, CachedFileThatWasCutIsEIOAndNeverAShortRead) {
  const auto node = backend_->put("file", pattern(100'000));
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->supply = FakeBackend::Supply::kFile;
  ASSERT_EQ(::ftruncate(node->file->get(), 60'000), 0);
  EXPECT_EQ(kernel_.read(id, handle, 0, 65'536).error, EIO);
  EXPECT_EQ(kernel_.read(id, handle, 0, 4096).body.size(), 4096U);
}

TEST_F(FuseProtocol, EveryChangeIsEROFS) {
  backend_->put("file", "x");
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const auto name = FakeKernel::with_nul("new");
  const auto two_names = name + FakeKernel::with_nul("other");
  const auto b = [](const auto& value) { return FakeKernel::bytes_of(value); };
  fuse_setxattr_in setxattr{};
  setxattr.size = 1;
  fuse_write_in write{};
  write.size = 1;
  fuse_setattr_in setattr{};
  setattr.valid = FATTR_MODE;
  const std::string setxattr_body = b(setxattr).substr(0, FUSE_COMPAT_SETXATTR_IN_SIZE);

  EXPECT_EQ(kernel_.call(FUSE_SETATTR, id, b(setattr)).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_SYMLINK, 1, two_names).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_MKNOD, 1, b(fuse_mknod_in{}) + name).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_MKDIR, 1, b(fuse_mkdir_in{}) + name).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_UNLINK, 1, name).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_RMDIR, 1, name).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_RENAME, 1, b(fuse_rename_in{1}) + two_names).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_RENAME2, 1, b(fuse_rename2_in{}) + two_names).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_LINK, 1, b(fuse_link_in{id}) + name).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_WRITE, id, b(write) + "x").error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_SETXATTR, id, setxattr_body + name + "v").error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_REMOVEXATTR, id, name).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_CREATE, 1, b(fuse_create_in{}) + name).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_FALLOCATE, id, b(fuse_fallocate_in{})).error, EROFS);
  EXPECT_EQ(kernel_.call(FUSE_COPY_FILE_RANGE, id, b(fuse_copy_file_range_in{})).error, EROFS);
  for (const int flags : {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_RDONLY | O_CREAT})
    EXPECT_EQ(kernel_.open(FUSE_OPEN, id, static_cast<unsigned>(flags)).error, EROFS) << flags;
  fuse_access_in access{};
  access.mask = W_OK;
  EXPECT_EQ(kernel_.call(FUSE_ACCESS, id, b(access)).error, EROFS);
}

TEST_F(FuseProtocol, AccessFollowsTheModes) {
  backend_->put("file", "x");
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const auto access = [&](std::uint64_t node, std::uint32_t mask) {
    fuse_access_in in{};
    in.mask = mask;
    return kernel_.call(FUSE_ACCESS, node, FakeKernel::bytes_of(in)).error;
  };
  EXPECT_EQ(access(id, R_OK), 0);
  EXPECT_EQ(access(id, X_OK), EACCES);
  EXPECT_EQ(access(FUSE_ROOT_ID, R_OK | X_OK), 0);
}

TEST_F(FuseProtocol, OpenKeepsThePageCacheAndChecksTheKind) {
  backend_->put("file", "x");
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const auto opened = FakeKernel::as<fuse_open_out>(kernel_.open(FUSE_OPEN, id).body);
  EXPECT_NE(opened.open_flags & FOPEN_KEEP_CACHE, 0U);
  EXPECT_EQ(opened.open_flags & FOPEN_DIRECT_IO, 0U);
  EXPECT_EQ(kernel_.open(FUSE_OPEN, FUSE_ROOT_ID).error, EISDIR);
  EXPECT_EQ(kernel_.open(FUSE_OPENDIR, id).error, ENOTDIR);
  EXPECT_EQ(kernel_.open(FUSE_OPEN, 4711).error, ESTALE);
  EXPECT_EQ(session_->usage().handles, 1U);
  kernel_.release(FUSE_RELEASE, id, opened.fh);
  EXPECT_EQ(session_->usage().handles, 0U);
  EXPECT_EQ(kernel_.read(id, opened.fh, 0, 1).error, EBADF);
}

TEST_F(FuseProtocol, NewVersionIsANewNodeAndTheOldHandleStaysWithTheOldBytes) {
  backend_->put("file", std::string(5000, 'a'));
  const fuse_entry_out old_entry = kernel_.lookup_entry("file");
  const std::uint64_t old_handle = kernel_.open_handle(old_entry.nodeid);
  backend_->put("file", std::string(7000, 'b'));
  const fuse_entry_out new_entry = kernel_.lookup_entry("file");
  const std::uint64_t new_handle = kernel_.open_handle(new_entry.nodeid);
  EXPECT_NE(new_entry.nodeid, old_entry.nodeid);
  EXPECT_EQ(new_entry.attr.ino, old_entry.attr.ino);
  EXPECT_EQ(kernel_.read(old_entry.nodeid, old_handle, 0, 8192).body, std::string(5000, 'a'));
  EXPECT_EQ(kernel_.read(new_entry.nodeid, new_handle, 0, 8192).body, std::string(7000, 'b'));
  const auto old_attributes =
      kernel_.call(FUSE_GETATTR, old_entry.nodeid, FakeKernel::bytes_of(fuse_getattr_in{}));
  EXPECT_EQ(FakeKernel::as<fuse_attr_out>(old_attributes.body).attr.size, 5000U);
}

TEST_F(FuseProtocol, ForgettingEveryLookupLeavesOnlyTheRoot) {
  for (int i = 0; i < 50; ++i) backend_->put("f" + std::to_string(i), "x");
  std::map<std::uint64_t, std::uint64_t> looked_up;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 50; ++i) ++looked_up[kernel_.lookup_entry("f" + std::to_string(i)).nodeid];
  }
  EXPECT_EQ(session_->usage().inodes, 51U);
  std::string batch;
  std::uint32_t batched = 0;
  for (const auto& [id, count] : looked_up) {
    if (id % 2 == 0) {
      kernel_.forget(id, count);
    } else {
      batch += FakeKernel::bytes_of(fuse_forget_one{id, count});
      ++batched;
    }
  }
  kernel_.send(FUSE_BATCH_FORGET, 0,
               FakeKernel::bytes_of(fuse_batch_forget_in{batched, 0}) + batch);
  EXPECT_TRUE(eventually([&] { return session_->usage().inodes == 1; }));
}

/// Walks a directory as the kernel does: from the offset of the last entry, in small pieces.
std::vector<std::string> walk(FakeKernel& kernel, std::uint64_t handle, std::uint32_t piece) {
  std::vector<std::string> names;
  std::uint64_t offset = 0;
  for (;;) {
    const std::string body = kernel.list(FUSE_READDIR, FUSE_ROOT_ID, handle, offset, piece).body;
    if (body.empty()) return names;
    for (std::size_t at = 0; at + FUSE_NAME_OFFSET <= body.size();) {
      fuse_dirent entry{};
      std::memcpy(static_cast<void*>(&entry), body.data() + at, FUSE_NAME_OFFSET);
      names.push_back(body.substr(at + FUSE_NAME_OFFSET, entry.namelen));
      offset = entry.off;
      at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
    }
  }
}

TEST_F(FuseProtocol, ListingIsWholeInPiecesOfAnySizeAndStaysAsItWasAtOpendir) {
  std::vector<std::string> expected = {".", ".."};
  for (int i = 100; i < 300; ++i) {
    backend_->put("file" + std::to_string(i), "x");
    expected.push_back("file" + std::to_string(i));
  }
  backend_->put("bad/name", "x");
  backend_->put("..", "x");
  backend_->put(std::string(256, 'l'), "x");
  const std::uint64_t handle = kernel_.open_handle(FUSE_ROOT_ID, FUSE_OPENDIR);
  EXPECT_EQ(walk(kernel_, handle, 4096), expected);
  backend_->put("file150a", "x");  // a change during the walk is not seen by this handle
  EXPECT_EQ(walk(kernel_, handle, 100), expected);
  kernel_.release(FUSE_RELEASEDIR, FUSE_ROOT_ID, handle);
  const std::uint64_t again = kernel_.open_handle(FUSE_ROOT_ID, FUSE_OPENDIR);
  EXPECT_EQ(walk(kernel_, again, 4096).size(), expected.size() + 1);
  EXPECT_EQ(kernel_.list(FUSE_READDIR, FUSE_ROOT_ID, 4711, 0, 4096).error, EBADF);
}

std::map<std::string, fuse_entry_out> parse_plus(const std::string& body) {
  std::map<std::string, fuse_entry_out> entries;
  for (std::size_t at = 0; at + FUSE_NAME_OFFSET_DIRENTPLUS <= body.size();) {
    fuse_direntplus entry{};
    std::memcpy(static_cast<void*>(&entry), body.data() + at, FUSE_NAME_OFFSET_DIRENTPLUS);
    entries[body.substr(at + FUSE_NAME_OFFSET_DIRENTPLUS, entry.dirent.namelen)] = entry.entry_out;
    at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + entry.dirent.namelen);
  }
  return entries;
}

TEST_F(FuseProtocol, ListingInPagesIsTheSameListing) {
  std::vector<std::string> expected = {".", ".."};
  for (int i = 100; i < 200; ++i) {
    backend_->put("file" + std::to_string(i), "x");
    expected.push_back("file" + std::to_string(i));
  }
  for (const char* hidden : {"a/1", "a/2", "a/3", "a/4"}) backend_->put(hidden, "x");
  for (const std::size_t names_a_page : {1, 2, 7, 104}) {  // the first ones hold nothing to show
    backend_->names_a_page = names_a_page;
    const std::uint64_t handle = kernel_.open_handle(FUSE_ROOT_ID, FUSE_OPENDIR);
    EXPECT_EQ(walk(kernel_, handle, 4096), expected) << names_a_page;
    EXPECT_EQ(walk(kernel_, handle, 100), expected) << "from the start again";
    kernel_.release(FUSE_RELEASEDIR, FUSE_ROOT_ID, handle);
  }
}

TEST_F(FuseProtocol, FirstNamesAreThereWhileLaterPagesAreOnTheirWay) {
  for (const char* name : {"a", "b", "c"}) backend_->put(name, "x");
  backend_->names_a_page = 2;
  backend_->hold_pages = true;
  const std::uint64_t handle = kernel_.open_handle(FUSE_ROOT_ID, FUSE_OPENDIR);
  auto first = parse_plus(kernel_.list(FUSE_READDIRPLUS, FUSE_ROOT_ID, handle, 0, 4096).body);
  EXPECT_EQ(first.size(), 4U);  // with . and ..
  fuse_read_in in{};
  in.fh = handle;
  in.offset = 4;
  in.size = 4096;
  const std::uint64_t waiting =
      kernel_.send(FUSE_READDIRPLUS, FUSE_ROOT_ID, FakeKernel::bytes_of(in));
  const auto pages = backend_->opened_directory();
  ASSERT_TRUE(eventually([&] { return pages->is_asked(); }));
  EXPECT_EQ(kernel_.lookup(FUSE_ROOT_ID, "c").error, 0) << "nobody else waits";
  EXPECT_FALSE(kernel_.has_answer(waiting));
  pages->release();
  EXPECT_EQ(parse_plus(kernel_.wait(waiting).body).count("c"), 1U);
}

TEST_F(FuseProtocol, PageThatFailsEndsTheListingWithItsError) {
  for (const char* name : {"a", "b", "c"}) backend_->put(name, "x");
  backend_->names_a_page = 2;
  backend_->broken_page = 1;
  const std::uint64_t handle = kernel_.open_handle(FUSE_ROOT_ID, FUSE_OPENDIR);
  EXPECT_EQ(kernel_.list(FUSE_READDIR, FUSE_ROOT_ID, handle, 0, 4096).error, 0);
  EXPECT_EQ(kernel_.list(FUSE_READDIR, FUSE_ROOT_ID, handle, 4, 4096).error, EIO);
}

TEST_F(FuseProtocol, ReaddirplusCountsOneLookupForEachNodeItShows) {
  backend_->put("a", "12345", 1000);
  backend_->put("b", "123456", 1000);
  const std::uint64_t handle = kernel_.open_handle(FUSE_ROOT_ID, FUSE_OPENDIR);
  // A reply with room for three entries: the fourth must not be counted.
  const std::uint32_t three = 3 * FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + 1) + 8;
  auto entries = parse_plus(kernel_.list(FUSE_READDIRPLUS, FUSE_ROOT_ID, handle, 0, three).body);
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries["."].nodeid, 0U);
  EXPECT_EQ(entries[".."].nodeid, 0U);
  EXPECT_EQ(entries["a"].attr.size, 5U);
  EXPECT_EQ(entries["a"].entry_valid, 1U);
  EXPECT_EQ(session_->usage().inodes, 2U);
  EXPECT_EQ(kernel_.lookup_entry("a").nodeid, entries["a"].nodeid);
  kernel_.forget(entries["a"].nodeid, 2);
  EXPECT_TRUE(eventually([&] { return session_->usage().inodes == 1; }));
}

TEST_F(FuseProtocol, ReaddirplusWithoutNodesLetsTheKernelLookUpLater) {
  backend_->list_with_nodes = false;
  backend_->put("a", "12345");
  const std::uint64_t handle = kernel_.open_handle(FUSE_ROOT_ID, FUSE_OPENDIR);
  auto entries = parse_plus(kernel_.list(FUSE_READDIRPLUS, FUSE_ROOT_ID, handle, 0, 4096).body);
  ASSERT_EQ(entries.count("a"), 1U);
  EXPECT_EQ(entries["a"].nodeid, 0U);
  EXPECT_EQ(session_->usage().inodes, 1U);
}

TEST_F(FuseProtocol, ExtendedAttributesFollowTheSizeRules) {
  backend_->put("file", "x");
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const auto get = [&](const std::string& name, std::uint32_t size) {
    return kernel_.call(
        FUSE_GETXATTR, id,
        FakeKernel::bytes_of(fuse_getxattr_in{size, 0}) + FakeKernel::with_nul(name));
  };
  EXPECT_EQ(FakeKernel::as<fuse_getxattr_out>(get("user.rangecache.etag", 0).body).size, 5U);
  EXPECT_EQ(get("user.rangecache.etag", 4).error, ERANGE);
  EXPECT_EQ(get("user.rangecache.etag", 5).body, "\"abc\"");
  EXPECT_EQ(get("user.other", 100).error, ENODATA);
  EXPECT_EQ(get("user.other", 0).error, ENODATA);

  const std::string names("user.rangecache.etag\0user.rangecache.age\0", 41);
  const auto list = [&](std::uint32_t size) {
    return kernel_.call(FUSE_LISTXATTR, id, FakeKernel::bytes_of(fuse_getxattr_in{size, 0}));
  };
  EXPECT_EQ(FakeKernel::as<fuse_getxattr_out>(list(0).body).size, names.size());
  EXPECT_EQ(list(10).error, ERANGE);
  EXPECT_EQ(list(1000).body, names);
}

TEST_F(FuseProtocol, StatfsShowsTheCache) {
  const auto reply = kernel_.call(FUSE_STATFS, FUSE_ROOT_ID, "");
  const auto out = FakeKernel::as<fuse_statfs_out>(reply.body);
  EXPECT_EQ(out.st.blocks * out.st.bsize, 1U << 20);
  EXPECT_EQ(out.st.bavail * out.st.bsize, 1U << 19);
  EXPECT_EQ(out.st.files, 42U);
  EXPECT_EQ(out.st.namelen, 255U);
}

TEST_F(FuseProtocol, InvalidationNamesWhereTheVersionWasLookedUp) {
  const auto node = backend_->put("file", "x");
  session_->invalidate(node);  // not known to the kernel: nothing to tell
  kernel_.lookup_entry("file");
  session_->invalidate(node);
  const auto notification = kernel_.wait_for_notification();
  EXPECT_EQ(notification.error, FUSE_NOTIFY_INVAL_ENTRY);
  const auto out = FakeKernel::as<fuse_notify_inval_entry_out>(notification.body);
  EXPECT_EQ(out.parent, 1U);
  EXPECT_EQ(notification.body.substr(sizeof out, out.namelen), "file");
}

TEST_F(FuseProtocol, UnmountAnswersWhatWaitsAndLateResultsAreDropped) {
  backend_->ignore_cancel = true;
  const auto node = backend_->put("file", pattern(100));
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->hold_reads = true;
  backend_->hold_lookups = true;
  const std::uint64_t first = kernel_.send_read(id, handle, 0, 10);
  const std::uint64_t second = kernel_.send_read(id, handle, 10, 10);
  const std::uint64_t lookup =
      kernel_.send(FUSE_LOOKUP, FUSE_ROOT_ID, FakeKernel::with_nul("file"));
  ASSERT_TRUE(backend_->wait_for_held(2));
  ASSERT_TRUE(backend_->wait_for_held_lookup());
  session_->unmount();
  EXPECT_FALSE(session_->mounted());
  EXPECT_EQ(kernel_.wait(first).error, EIO);
  EXPECT_EQ(kernel_.wait(second).error, EIO);
  EXPECT_EQ(kernel_.wait(lookup).error, EIO);
  EXPECT_EQ(backend_->cancelled(), 2U);
  session_.reset();
  backend_->finish(backend_->take_held());
  backend_->finish(backend_->take_held());
  backend_->take_held_lookup()(NodePtr(node));
  EXPECT_FALSE(exited_);
}

TEST_F(FuseProtocol, UnmountRacingWithAnswersAnswersEachReadOnce) {
  const std::string content = pattern(100);
  backend_->put("file", content);
  const std::uint64_t id = kernel_.lookup_entry("file").nodeid;
  const std::uint64_t handle = kernel_.open_handle(id);
  backend_->ignore_cancel = true;
  backend_->hold_reads = true;
  std::vector<std::uint64_t> reads;
  for (int i = 0; i < 200; ++i) reads.push_back(kernel_.send_read(id, handle, 0, 10));
  ASSERT_TRUE(backend_->wait_for_held(200));
  std::thread completer([&] {
    for (int i = 0; i < 200; ++i) backend_->finish(backend_->take_held());
  });
  session_->unmount();
  completer.join();
  for (const std::uint64_t read : reads) {
    const auto reply = kernel_.wait(read);
    ASSERT_TRUE(reply.error == EIO || reply.body == content.substr(0, 10));
  }
}

TEST_F(FuseProtocol, EndFromOutsideIsReported) {
  EXPECT_TRUE(session_->mounted());
  kernel_.hang_up();
  EXPECT_TRUE(eventually([&] { return exited_.load(); }));
  EXPECT_FALSE(session_->mounted());
}

TEST(FuseSession, DeviceThatNeverSpeaksIsAnErrorInTime) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  const UniqueFd silent(ends[0]);
  const auto attached = Session::attach(std::make_shared<FakeBackend>(), UniqueFd(ends[1]), nullptr,
                                        {.threads = 2, .start_timeout_ms = 50});
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, ErrorCode::kTimedOut);
}

}  // namespace
}  // namespace rangecache::fuse
