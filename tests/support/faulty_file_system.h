#pragma once

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "base/mutex.h"

namespace rangecache {

/// A FileSystem whose calls fail as the test says; all others reach the one behind it. Counts
/// calls by kind. Thread-safe.
class FaultyFileSystem final : public FileSystem {
 public:
  enum class Call {
    kOpen,
    kWrite,
    kReadAt,
    kReadFile,
    kCopy,
    kSync,
    kSyncAll,
    kFreeBytes,
    kRename,
    kUnlink,
    kMakeDirectory,
    kRemoveDirectory,
    kStatus,
    kList,
    kSetAttribute,
    kAttribute,
    kLock,
    kCount
  };

  explicit FaultyFileSystem(FileSystem& target) : target_(target) {}

  /// The `nth` call of this kind from now on (1 is the next) fails with `error_number`, and so do
  /// the `times` - 1 after it. A failing write puts half of its bytes on the disk first, as a
  /// full disk does. `path_part`: only calls whose path contains it count (of those on
  /// descriptors only sync() has one).
  void fail(Call call, int error_number, int nth = 1, int times = 1, std::string path_part = "") {
    MutexLock lock(mu_);
    faults_.push_back({call, error_number, nth - 1, times, std::move(path_part)});
  }
  static constexpr int kAlways = 1 << 30;
  void heal() {
    MutexLock lock(mu_);
    faults_.clear();
  }
  /// SIGKILLs this process at the `nth` call of any kind from now on; a write puts half of its
  /// bytes on the disk first.
  void die_at(int nth) {
    MutexLock lock(mu_);
    die_in_ = nth;
  }
  int calls() const {
    MutexLock lock(mu_);
    int all = 0;
    for (const int count : calls_) all += count;
    return all;
  }
  int calls(Call call) const {
    MutexLock lock(mu_);
    return calls_[static_cast<int>(call)];
  }
  /// How many calls have failed on purpose.
  int failures() const {
    MutexLock lock(mu_);
    return failures_;
  }
  /// What free_bytes() says from now on. Called on any thread.
  void free_bytes_as(std::function<std::uint64_t()> free) { free_ = std::move(free); }
  /// Called before each rename, outside the lock.
  void before_rename(std::function<void(const std::string& from, const std::string& to)> hook) {
    before_rename_ = std::move(hook);
  }

  Result<UniqueFd> open(const std::string& path, int flags, mode_t mode) override {
    if (const int e = fault(Call::kOpen, path)) return error_from_errno(e, "cannot open " + path);
    return target_.open(path, flags, mode);
  }
  Result<void> write_all(int fd, std::span<const std::byte> data, std::uint64_t offset) override {
    if (dies_next()) (void)target_.write_all(fd, data.first(data.size() / 2), offset);
    if (const int e = fault(Call::kWrite, "")) {
      (void)target_.write_all(fd, data.first(data.size() / 2), offset);
      return error_from_errno(e, "cannot write");
    }
    return target_.write_all(fd, data, offset);
  }
  Result<std::size_t> read_at(int fd, std::span<std::byte> to, std::uint64_t offset) override {
    if (const int e = fault(Call::kReadAt, "")) return error_from_errno(e, "cannot read");
    return target_.read_at(fd, to, offset);
  }
  Result<std::string> read_file(const std::string& path, std::uint64_t limit) override {
    if (const int e = fault(Call::kReadFile, path))
      return error_from_errno(e, "cannot read " + path);
    return target_.read_file(path, limit);
  }
  Result<void> copy(int from, ByteRange range, int to, std::uint64_t offset) override {
    const ByteRange half{range.begin, range.begin + range.size() / 2};
    if (dies_next()) (void)target_.copy(from, half, to, offset);
    if (const int e = fault(Call::kCopy, "")) {
      (void)target_.copy(from, half, to, offset);
      return error_from_errno(e, "cannot copy");
    }
    RC_TRY(target_.copy(from, range, to, offset));
    if (!spoils_copies_) return {};
    constexpr std::array<std::byte, 8> kWrong{std::byte{0xa5}, std::byte{0x5a}, std::byte{0xa5}};
    return target_.write_all(to, kWrong, offset);
  }
  /// From now on copies come out wrong, and nobody says so.
  void spoil_copies() { spoils_copies_ = true; }
  Result<void> sync(int fd) override {
    if (const int e = fault(Call::kSync, path_of(fd))) return error_from_errno(e, "cannot sync");
    return target_.sync(fd);
  }
  Result<void> sync_all(int fd) override {
    if (const int e = fault(Call::kSyncAll, "")) return error_from_errno(e, "cannot sync");
    return target_.sync_all(fd);
  }
  Result<std::uint64_t> free_bytes(const std::string& path) override {
    if (const int e = fault(Call::kFreeBytes, path))
      return error_from_errno(e, "cannot look at " + path);
    return free_ ? Result<std::uint64_t>(free_()) : target_.free_bytes(path);
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    if (before_rename_) before_rename_(from, to);
    if (const int e = fault(Call::kRename, to))
      return error_from_errno(e, "cannot rename to " + to);
    return target_.rename(from, to);
  }
  Result<void> unlink(const std::string& path) override {
    if (const int e = fault(Call::kUnlink, path))
      return error_from_errno(e, "cannot delete " + path);
    return target_.unlink(path);
  }
  Result<void> make_directory(const std::string& path, mode_t mode) override {
    if (const int e = fault(Call::kMakeDirectory, path))
      return error_from_errno(e, "cannot make " + path);
    return target_.make_directory(path, mode);
  }
  Result<void> remove_directory(const std::string& path) override {
    if (const int e = fault(Call::kRemoveDirectory, path))
      return error_from_errno(e, "cannot remove " + path);
    return target_.remove_directory(path);
  }
  Result<Status> status(int fd) override {
    if (const int e = fault(Call::kStatus, "")) return error_from_errno(e, "cannot look at a file");
    return target_.status(fd);
  }
  Result<Status> status(const std::string& path) override {
    if (const int e = fault(Call::kStatus, path))
      return error_from_errno(e, "cannot look at " + path);
    return target_.status(path);
  }
  Result<std::vector<Entry>> list(const std::string& path) override {
    if (const int e = fault(Call::kList, path)) return error_from_errno(e, "cannot list " + path);
    return target_.list(path);
  }
  Result<void> set_attribute(int fd, const char* name, const std::string& value) override {
    if (const int e = fault(Call::kSetAttribute, "")) {
      if (e == ENOTSUP) return Error(ErrorCode::kUnsupported, "extended attributes", e);
      return error_from_errno(e, "cannot mark a file");
    }
    return target_.set_attribute(fd, name, value);
  }
  Result<std::string> attribute(int fd, const char* name) override {
    if (const int e = fault(Call::kAttribute, ""))
      return error_from_errno(e, "cannot read the mark of a file");
    return target_.attribute(fd, name);
  }
  Result<void> lock(int fd) override {
    if (const int e = fault(Call::kLock, "")) return error_from_errno(e, "cannot lock");
    return target_.lock(fd);
  }

 private:
  std::atomic<bool> spoils_copies_{false};
  struct Fault {
    Call call;
    int error_number;
    int pass;   ///< calls that still succeed
    int times;  ///< calls that fail after those
    std::string path_part;
  };

  /// The errno that this call fails with, or 0.
  int fault(Call call, const std::string& path) {
    MutexLock lock(mu_);
    if (die_in_ > 0 && --die_in_ == 0) ::kill(::getpid(), SIGKILL);
    ++calls_[static_cast<int>(call)];
    for (Fault& fault : faults_) {
      if (fault.call != call || path.find(fault.path_part) == std::string::npos) continue;
      if (fault.pass > 0) {
        --fault.pass;
      } else if (fault.times > 0) {
        --fault.times;
        ++failures_;
        return fault.error_number;
      }
    }
    return 0;
  }

  static std::string path_of(int fd) {
    char path[4096];
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    const ssize_t length = ::readlink(link.c_str(), path, sizeof path);
    return length < 0 ? "" : std::string(path, static_cast<std::size_t>(length));
  }

  bool dies_next() const {
    MutexLock lock(mu_);
    return die_in_ == 1;
  }

  FileSystem& target_;
  std::function<void(const std::string&, const std::string&)> before_rename_;
  std::function<std::uint64_t()> free_;
  mutable Mutex mu_;
  std::vector<Fault> faults_ GUARDED_BY(mu_);
  int calls_[static_cast<int>(Call::kCount)] GUARDED_BY(mu_) = {};
  int failures_ GUARDED_BY(mu_) = 0;
  int die_in_ GUARDED_BY(mu_) = 0;
};

}  // namespace rangecache
