// The FUSE front end on a real mount. Where the machine does not let us mount, the tests are
// skipped and say why.
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "fake_backend.h"
#include "fuse/mount_point.h"
#include "fuse/session.h"

namespace rangecache::fuse {
namespace {

std::string whole_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string content;
  std::string piece(1 << 20, '\0');
  for (;;) {
    const ssize_t got = ::read(file.get(), piece.data(), piece.size());
    if (got < 0) return "error " + std::to_string(errno);
    if (got == 0) return content;
    content.append(piece, 0, static_cast<std::size_t>(got));
  }
}

template <typename Condition>
bool eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

/// Waits for a child with a limit, so that a hang is a failure and not a stuck test (a child that
/// cannot be killed ends with the mount).
int wait_status(pid_t child) {
  int status = -1;
  if (!eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; })) {
    ADD_FAILURE() << "the child hangs";
    ::kill(child, SIGKILL);
  }
  return status;
}

class FuseMount : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::access("/dev/fuse", R_OK | W_OK) != 0)
      GTEST_SKIP() << "/dev/fuse is not usable: " << std::strerror(errno);
    char name[] = "/tmp/rangecache-mount-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    path_ = name;
  }
  void TearDown() override {
    session_.reset();
    if (path_.empty()) return;
    EXPECT_FALSE(find_mount(path_)) << "the mount was left behind";
    EXPECT_EQ(::rmdir(path_.c_str()), 0) << std::strerror(errno);
  }
  void mount() {
    auto mounted = Session::mount(backend_, {.mount_point = path_,
                                             .fs_name = "http://host/a,b\\c d",
                                             .on_exit = [this] { exited_ = true; }});
    if (!mounted && ::geteuid() != 0) GTEST_SKIP() << mounted.error().message();
    ASSERT_TRUE(mounted) << mounted.error().message();
    session_ = std::move(*mounted);
  }
  std::string in(const std::string& name) const { return path_ + "/" + name; }

  std::shared_ptr<FakeBackend> backend_ = std::make_shared<FakeBackend>();
  std::string path_;
  std::atomic<bool> exited_{false};
  std::unique_ptr<Session> session_;
};

TEST_F(FuseMount, StatListAndSpaceAreThoseOfTheBackend) {
  backend_->put("file", pattern(1025));
  const auto directory = backend_->put_directory("dir");
  backend_->put("inner", "in", 0, directory);
  mount();
  const auto entry = find_mount(path_);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->type, kMountType);

  struct stat status {};
  ASSERT_EQ(::stat(in("file").c_str(), &status), 0);
  EXPECT_EQ(status.st_size, 1025);
  EXPECT_EQ(status.st_blocks, 3);
  EXPECT_EQ(status.st_mode, static_cast<mode_t>(S_IFREG | 0444));
  EXPECT_EQ(status.st_mtime, 1'600'000'000);
  ASSERT_EQ(::stat(in("dir").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, static_cast<mode_t>(S_IFDIR | 0555));
  EXPECT_EQ(whole_file(in("dir/inner")), "in");

  std::vector<std::string> names;
  DIR* const listing = ::opendir(path_.c_str());
  ASSERT_NE(listing, nullptr);
  while (const dirent* child = ::readdir(listing)) names.push_back(child->d_name);
  ::closedir(listing);
  EXPECT_EQ(names, (std::vector<std::string>{".", "..", "dir", "file"}));

  struct statvfs space {};
  ASSERT_EQ(::statvfs(path_.c_str(), &space), 0);
  EXPECT_EQ(space.f_blocks * space.f_frsize, 1U << 20);
}

TEST_F(FuseMount, ReadAndMmapGiveTheBytesWhateverTheirSlicesAre) {
  const std::string content = pattern(5'000'017);
  mount();
  if (IsSkipped()) return;
  int file_number = 0;
  for (const auto supply :
       {FakeBackend::Supply::kMemory, FakeBackend::Supply::kFile, FakeBackend::Supply::kMixed}) {
    backend_->supply = supply;
    const std::string name = "file" + std::to_string(file_number++);
    backend_->put(name, content);
    EXPECT_TRUE(whole_file(in(name)) == content) << "sequential, supply " << file_number;

    backend_->put(name, content);  // a new version: nothing of it is in the page cache
    const UniqueFd file(::open(in(name).c_str(), O_RDONLY | O_CLOEXEC));
    for (std::uint64_t at = content.size() - 5; at > 400'000; at -= 333'333) {
      std::string piece(10'000, '\0');
      const ssize_t got = ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(at));
      ASSERT_GE(got, 0);
      piece.resize(static_cast<std::size_t>(got));
      ASSERT_TRUE(piece == content.substr(at, 10'000)) << at;
    }
    void* const map = ::mmap(nullptr, content.size(), PROT_READ, MAP_SHARED, file.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    EXPECT_EQ(std::memcmp(map, content.data(), content.size()), 0);
    ::munmap(map, content.size());
  }
}

TEST_F(FuseMount, ExtendedAttributesAreListedAndRead) {
  backend_->put("file", "x");
  mount();
  if (IsSkipped()) return;
  char buffer[200];
  ASSERT_EQ(::listxattr(in("file").c_str(), buffer, sizeof buffer), 41);
  EXPECT_STREQ(buffer, "user.rangecache.etag");
  ASSERT_EQ(::getxattr(in("file").c_str(), "user.rangecache.etag", buffer, sizeof buffer), 5);
  EXPECT_EQ(std::string(buffer, 5), "\"abc\"");
  EXPECT_EQ(::getxattr(in("file").c_str(), "user.rangecache.etag", buffer, 3), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(::getxattr(in("file").c_str(), "user.none", buffer, sizeof buffer), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(FuseMount, EveryChangeIsEROFS) {
  backend_->put("file", "x");
  mount();
  if (IsSkipped()) return;
  const std::string file = in("file");
  const std::string other = in("new");
  const auto refused = [](int result) { return result == -1 && errno == EROFS; };
  EXPECT_TRUE(refused(::open(file.c_str(), O_WRONLY | O_CLOEXEC)));
  EXPECT_TRUE(refused(::open(file.c_str(), O_RDWR | O_CLOEXEC)));
  EXPECT_TRUE(refused(::open(file.c_str(), O_RDONLY | O_TRUNC | O_CLOEXEC)));
  EXPECT_TRUE(refused(::open(other.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)));
  EXPECT_TRUE(refused(::truncate(file.c_str(), 0)));
  EXPECT_TRUE(refused(::unlink(file.c_str())));
  EXPECT_TRUE(refused(::mkdir(other.c_str(), 0700)));
  EXPECT_TRUE(refused(::rename(file.c_str(), other.c_str())));
  EXPECT_TRUE(refused(::link(file.c_str(), other.c_str())));
  EXPECT_TRUE(refused(::symlink("x", other.c_str())));
  EXPECT_TRUE(refused(::mknod(other.c_str(), S_IFIFO | 0600, 0)));
  EXPECT_TRUE(refused(::chmod(file.c_str(), 0600)));
  EXPECT_TRUE(refused(::utimensat(AT_FDCWD, file.c_str(), nullptr, 0)));
  EXPECT_TRUE(refused(::setxattr(file.c_str(), "user.a", "b", 1, 0)));
  EXPECT_TRUE(refused(::removexattr(file.c_str(), "user.rangecache.etag")));
  EXPECT_TRUE(refused(::access(file.c_str(), W_OK)));
}

TEST_F(FuseMount, OpenHandleKeepsItsVersionAndItsPagesWhenTheFileChanges) {
  const std::string old_content(3'000'000, 'a');
  const std::string new_content(2'000'000, 'b');
  backend_->put("file", old_content);
  mount();
  if (IsSkipped()) return;
  const UniqueFd old_file(::open(in("file").c_str(), O_RDONLY | O_CLOEXEC));
  std::string half(1'000'000, '\0');
  ASSERT_EQ(::pread(old_file.get(), half.data(), half.size(), 0), 1'000'000);
  backend_->put("file", new_content);
  EXPECT_TRUE(whole_file(in("file")) == new_content);
  std::string rest(2'000'000, '\0');
  ASSERT_EQ(::pread(old_file.get(), rest.data(), rest.size(), 1'000'000), 2'000'000);
  EXPECT_TRUE(half + rest == old_content);
}

/// Mounts, and tells whether the kernel reads complete files by itself here.
class FusePassthrough : public FuseMount {
 protected:
  void mount() {
    FuseMount::mount();
    if (IsSkipped() || HasFatalFailure()) return;
    backend_->put("probe", "x")->complete = true;
    const UniqueFd probe(::open(in("probe").c_str(), O_RDONLY | O_CLOEXEC));
    if (session_->usage().backed == 0)
      GTEST_SKIP()
          << "the kernel does not read complete files by itself (Linux 6.9, CAP_SYS_ADMIN)";
  }
  bool nobody_has_files_open() {
    return eventually([&] { return session_->usage().handles == 0; });
  }
};

TEST_F(FusePassthrough, CompleteFileIsReadWithoutTheBackend) {
  const std::string content = pattern(5'000'017);
  backend_->put("file", content)->complete = true;
  mount();
  if (IsSkipped()) return;
  backend_->hold_reads = true;  // one that came would never be answered
  EXPECT_TRUE(whole_file(in("file")) == content);
  const UniqueFd file(::open(in("file").c_str(), O_RDONLY | O_CLOEXEC));
  void* const map = ::mmap(nullptr, content.size(), PROT_READ, MAP_SHARED, file.get(), 0);
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_EQ(std::memcmp(map, content.data(), content.size()), 0);
  ::munmap(map, content.size());
  struct stat status {};
  ASSERT_EQ(::fstat(file.get(), &status), 0);
  EXPECT_EQ(status.st_size, 5'000'017);
  EXPECT_EQ(status.st_mode, static_cast<mode_t>(S_IFREG | 0444));
}

TEST_F(FusePassthrough, AllHandlesOfAFileAgreeUntilTheLastIsClosed) {
  const std::string content = pattern(300'000);
  const auto node = backend_->put("file", content);
  mount();
  if (IsSkipped()) return;
  ASSERT_TRUE(nobody_has_files_open());
  std::string bytes(1000, '\0');
  {
    const UniqueFd before(::open(in("file").c_str(), O_RDONLY | O_CLOEXEC));
    node->complete = true;
    const UniqueFd after(::open(in("file").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(after) << std::strerror(errno);
    EXPECT_EQ(session_->usage().backed, 0U);
    EXPECT_EQ(::pread(before.get(), bytes.data(), 1000, 1000), 1000);
    EXPECT_EQ(::pread(after.get(), bytes.data(), 1000, 200'000), 1000);
    EXPECT_EQ(bytes, content.substr(200'000, 1000));
  }
  ASSERT_TRUE(nobody_has_files_open());
  {
    const UniqueFd backed(::open(in("file").c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(session_->usage().backed, 1U);
    node->complete = false;  // evicted, say
    const UniqueFd too(::open(in("file").c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(too) << std::strerror(errno);
    EXPECT_EQ(session_->usage().backed, 1U);
    backend_->hold_reads = true;
    EXPECT_EQ(::pread(too.get(), bytes.data(), 1000, 100'000), 1000);
    EXPECT_EQ(bytes, content.substr(100'000, 1000));
    backend_->hold_reads = false;
  }
  ASSERT_TRUE(nobody_has_files_open());
  EXPECT_EQ(session_->usage().backed, 0U);
  EXPECT_TRUE(whole_file(in("file")) == content);
}

TEST_F(FusePassthrough, ManyOpenOneFileAtOnceAndItMayBecomeCompleteMeanwhile) {
  const std::string content = pattern(200'000);
  const auto node = backend_->put("file", content);
  mount();
  if (IsSkipped()) return;
  std::atomic<int> wrong{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([&] {
      for (int round = 0; round < 300; ++round)
        if (whole_file(in("file")) != content) ++wrong;
    });
  }
  for (int round = 0; round < 300; ++round) {
    node->complete = round % 2 == 0;
    if (whole_file(in("file")) != content) ++wrong;
  }
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  ASSERT_TRUE(nobody_has_files_open());
  EXPECT_EQ(session_->usage().backed, 0U);
}

TEST_F(FuseMount, InvalidationMakesTheNextOpenLookUpAgain) {
  const auto old_version = backend_->put("file", "old", 3'600'000);
  mount();
  if (IsSkipped()) return;
  EXPECT_EQ(whole_file(in("file")), "old");
  backend_->put("file", "new!", 3'600'000);
  EXPECT_EQ(whole_file(in("file")), "old");  // the name was granted for an hour
  session_->invalidate(old_version);
  EXPECT_TRUE(eventually([&] { return whole_file(in("file")) == "new!"; }));
}

TEST_F(FuseMount, InvalidationDuringALookupInTheSameDirectoryDeadlocksNothing) {
  const auto version = backend_->put("file", "x", 3'600'000);
  mount();
  if (IsSkipped()) return;
  EXPECT_EQ(whole_file(in("file")), "x");
  backend_->hold_lookups = true;
  struct stat status {};
  std::thread reader([&] { ::stat(in("other").c_str(), &status); });
  ASSERT_TRUE(backend_->wait_for_held_lookup());
  session_->invalidate(version);  // the kernel may hold the directory's lock until the lookup ends
  session_->unmount();
  reader.join();
}

TEST_F(FuseMount, SignalEndsAReaderThatWaitsForTheOrigin) {
  const std::string names[] = {"int", "kill", "int-direct", "kill-direct"};
  for (const std::string& name : names) backend_->put(name, pattern(100'000));
  backend_->put("other", "served");
  mount();
  if (IsSkipped()) return;
  backend_->hold_reads = true;
  for (const std::string& name : names) {
    const bool direct = name.find("direct") != std::string::npos;
    const pid_t child = ::fork();
    if (child == 0) {
      ::close_range(3, ~0U, 0);  // the device too: else the connection would outlive this test
      const int file = ::open(in(name).c_str(), O_RDONLY | (direct ? O_DIRECT : 0));
      alignas(4096) static char page[4096];
      ::_exit(::read(file, page, sizeof page) == sizeof page ? 0 : 1);
    }
    ASSERT_TRUE(backend_->wait_for_held(1));
    ::kill(child, name[0] == 'i' ? SIGINT : SIGKILL);
    // An interrupted read may return EINTR to the process before its signal ends it.
    const int status = wait_status(child);
    EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 1) << name;
    backend_->hold_reads = false;
    EXPECT_EQ(whole_file(in("other")), "served");
    backend_->hold_reads = true;
    // Read-ahead is nobody's, so the kernel does not interrupt it: it goes on.
    while (backend_->held() > 0) backend_->finish(backend_->take_held());
  }
  backend_->hold_reads = false;
}

TEST_F(FuseMount, InterruptedDirectReadReturnsEINTRAndIsCancelled) {
  backend_->put("file", pattern(100'000));
  mount();
  if (IsSkipped()) return;
  backend_->hold_reads = true;
  const pid_t child = ::fork();
  if (child == 0) {
    ::close_range(3, ~0U, 0);
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &action, nullptr);
    const int file = ::open(in("file").c_str(), O_RDONLY | O_DIRECT);
    alignas(4096) static char page[4096];
    ::_exit(::read(file, page, sizeof page) == -1 ? errno : 0);
  }
  ASSERT_TRUE(backend_->wait_for_held(1));
  ::kill(child, SIGUSR1);
  EXPECT_EQ(WEXITSTATUS(wait_status(child)), EINTR);
  EXPECT_EQ(backend_->cancelled(), 1U);
}

TEST_F(FuseMount, UnmountWithAFileOpenAndAReadWaitingEndsBothAndLeavesNothing) {
  backend_->ignore_cancel = true;
  backend_->put("file", pattern(1'000'000));
  mount();
  if (IsSkipped()) return;
  const UniqueFd file(::open(in("file").c_str(), O_RDONLY | O_CLOEXEC));
  backend_->hold_reads = true;
  ssize_t got = 0;
  std::thread reader([&] {
    char byte;
    got = ::read(file.get(), &byte, 1);
  });
  ASSERT_TRUE(backend_->wait_for_held(1));
  session_->unmount();
  reader.join();
  EXPECT_EQ(got, -1);
  EXPECT_FALSE(find_mount(path_));
  EXPECT_FALSE(exited_);
  char byte;
  EXPECT_EQ(::read(file.get(), &byte, 1), -1);
}

TEST_F(FuseMount, UnmountFromOutsideIsReported) {
  mount();
  if (IsSkipped()) return;
  ASSERT_TRUE(detach_mount(path_));
  EXPECT_TRUE(eventually([&] { return exited_.load(); }));
  EXPECT_FALSE(session_->mounted());
}

TEST_F(FuseMount, SecondMountOnTheSamePlaceSaysHowToUnmount) {
  mount();
  if (IsSkipped()) return;
  const auto second = Session::mount(backend_, {.mount_point = path_});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().context.find("fusermount3 -u " + path_), std::string::npos);
}

TEST_F(FuseMount, MountOfADeadDaemonIsClearedAwayByTheNext) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto mounted = Session::mount(backend_, {.mount_point = path_, .threads = 1});
    ::_exit(mounted ? 0 : 1);  // without destructors: the mount stays, its daemon does not
  }
  EXPECT_EQ(wait_status(child), 0);
  backend_->put("file", "hello");
  const auto again = Session::mount(backend_, {.mount_point = path_});
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(whole_file(in("file")), "hello");
  (*again)->unmount();
  EXPECT_FALSE(find_mount(path_)) << "the dead mount is still below";
}

TEST_F(FuseMount, MountOfALivingDaemonIsNotTouched) {
  backend_->put("file", "hello");
  const auto first = Session::mount(backend_, {.mount_point = path_});
  ASSERT_TRUE(first) << first.error().message();
  const auto second = Session::mount(backend_, {.mount_point = path_});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().context.find("fusermount3 -u"), std::string::npos);
  EXPECT_EQ(whole_file(in("file")), "hello");
}

TEST_F(FuseMount, OrdinaryUserMountsAndUnmountsThroughFusermount) {
  if (::geteuid() != 0) GTEST_SKIP() << "not root: the other tests have run as an ordinary user";
  struct stat device {};
  ASSERT_EQ(::stat("/dev/fuse", &device), 0);
  if ((device.st_mode & 0006) != 0006)
    GTEST_SKIP() << "/dev/fuse is closed to ordinary users here (mode " << std::oct
                 << (device.st_mode & 0777) << ")";
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(::chown(path_.c_str(), kNobody, kNobody), 0);
  backend_->put("file", "hello");
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)
      ::_exit(10);
    {
      auto mounted = Session::mount(backend_, {.mount_point = path_});
      if (!mounted) ::_exit(11);
      if (whole_file(in("file")) != "hello") ::_exit(12);
    }
    ::_exit(find_mount(path_) ? 13 : 0);
  }
  EXPECT_EQ(WEXITSTATUS(wait_status(child)), 0);
}

}  // namespace
}  // namespace rangecache::fuse
