#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "base/mutex.h"

namespace rangecache {

/// A disk in memory that remembers every call, and can say what it might hold after a power cut at
/// any of them. Files are memfds, so that readers get real descriptors.
///
/// What a cut may do (rename atomicity and ordering as ext4 and XFS have it; that data of renamed
/// files are lost, or zeros of the right length, was seen on both):
///   - all that fsync of a file, of its directory, or syncfs made sure of is there;
///   - of later writes any may be missing, torn at 512 bytes, or zeros;
///   - of later names a prefix is there, in the order of the calls: over all directories (kOrdered,
///     as a journal has it), or in each directory for itself (kPerDirectory: a file may have both
///     its names, or none).
class PowerCutDisk final : public FileSystem {
 public:
  enum class Mode { kOrdered, kPerDirectory };

  explicit PowerCutDisk(std::string boot_id = "boot-1\n") : boot_id_(std::move(boot_id)) {
    directories_.insert("");
  }

  /// How many calls have changed something.
  std::size_t history() const {
    MutexLock lock(mu_);
    return log_.size();
  }
  /// What the disk may hold after a cut right after the first `calls` calls, under the next boot.
  std::unique_ptr<PowerCutDisk> after_cut(std::size_t calls, Mode mode, std::uint32_t seed) const;

  /// Regular files below `directory`: path and size.
  std::map<std::string, std::uint64_t> files_below(const std::string& directory) const {
    MutexLock lock(mu_);
    std::map<std::string, std::uint64_t> found;
    for (auto it = names_.lower_bound(directory + "/"); it != names_.end(); ++it) {
      if (it->first.compare(0, directory.size() + 1, directory + "/") != 0) break;
      found[it->first] = size_of(*it->second);
    }
    return found;
  }
  std::string content(const std::string& path) const {
    MutexLock lock(mu_);
    return read_all(*names_.at(path));
  }

  // --- FileSystem -----------------------------------------------------------------------------

  Result<UniqueFd> open(const std::string& path, int flags, mode_t) override {
    MutexLock lock(mu_);
    if (directories_.contains(path)) {
      UniqueFd fd(::memfd_create("directory", MFD_CLOEXEC));
      open_[fd.get()] = {nullptr, path};
      return fd;
    }
    auto found = names_.find(path);
    if (found == names_.end()) {
      if (!(flags & O_CREAT) || !directories_.contains(parent(path)))
        return error_from_errno(ENOENT, "cannot open " + path);
      found = names_.emplace(path, make_inode()).first;
      log_.push_back({Op::kCreate, found->second, path, "", 0, {}});
    } else if (flags & O_EXCL) {
      return error_from_errno(EEXIST, "cannot open " + path);
    }
    if (flags & O_TRUNC && size_of(*found->second) > 0) {
      empty(*found->second);
      log_.push_back({Op::kTruncate, found->second, "", "", 0, {}});
    }
    UniqueFd fd(::fcntl(found->second->fd.get(), F_DUPFD_CLOEXEC, 0));
    open_[fd.get()] = {found->second, path};
    return fd;
  }
  Result<void> write_all(int fd, std::span<const std::byte> data, std::uint64_t offset) override {
    MutexLock lock(mu_);
    const InodePtr inode = open_.at(fd).inode;
    write(*inode, data, offset);
    log_.push_back({Op::kWrite, inode, "", "", offset, {data.begin(), data.end()}});
    return {};
  }
  Result<std::size_t> read_at(int fd, std::span<std::byte> to, std::uint64_t offset) override {
    const ssize_t n = ::pread(fd, to.data(), to.size(), static_cast<off_t>(offset));
    return n < 0 ? Result<std::size_t>(error_from_errno(errno, "cannot read"))
                 : static_cast<std::size_t>(n);
  }
  Result<std::string> read_file(const std::string& path, std::uint64_t limit) override {
    if (path == "/proc/sys/kernel/random/boot_id") return boot_id_;
    MutexLock lock(mu_);
    const auto found = names_.find(path);
    if (found == names_.end()) return error_from_errno(ENOENT, "cannot read " + path);
    std::string text = read_all(*found->second);
    if (text.size() > limit) return Error(ErrorCode::kCorrupt, path + " is too long");
    return text;
  }
  Result<void> copy(int from, ByteRange range, int to, std::uint64_t offset) override {
    std::vector<std::byte> bytes(range.size());
    RC_ASSIGN(const std::size_t have, read_at(from, bytes, range.begin));
    if (have < bytes.size()) return Error(ErrorCode::kCorrupt, "a file ends too early");
    return write_all(to, bytes, offset);
  }
  Result<void> sync(int fd) override {
    MutexLock lock(mu_);
    const Open& what = open_.at(fd);
    log_.push_back({what.inode ? Op::kSync : Op::kSyncDirectory, what.inode, what.path, "", 0, {}});
    return {};
  }
  Result<void> sync_all(int) override {
    MutexLock lock(mu_);
    log_.push_back({Op::kSyncAll, nullptr, "", "", 0, {}});
    return {};
  }
  Result<std::uint64_t> free_bytes(const std::string&) override { return std::uint64_t{1} << 40; }
  Result<void> rename(const std::string& from, const std::string& to) override {
    MutexLock lock(mu_);
    const auto found = names_.find(from);
    if (found == names_.end() || !directories_.contains(parent(to)))
      return error_from_errno(ENOENT, "cannot rename to " + to);
    const InodePtr inode = found->second;
    names_.erase(found);
    names_[to] = inode;
    log_.push_back({Op::kRename, inode, from, to, 0, {}});
    return {};
  }
  Result<void> unlink(const std::string& path) override {
    MutexLock lock(mu_);
    const auto found = names_.find(path);
    if (found == names_.end()) return error_from_errno(ENOENT, "cannot delete " + path);
    log_.push_back({Op::kUnlink, found->second, path, "", 0, {}});
    names_.erase(found);
    return {};
  }
  Result<void> make_directory(const std::string& path, mode_t) override {
    MutexLock lock(mu_);
    if (directories_.contains(path)) return {};
    if (!directories_.contains(parent(path)))
      return error_from_errno(ENOENT, "cannot make " + path);
    directories_.insert(path);
    log_.push_back({Op::kMakeDirectory, nullptr, path, "", 0, {}});
    return {};
  }
  Result<void> remove_directory(const std::string& path) override {
    MutexLock lock(mu_);
    if (!directories_.contains(path)) return error_from_errno(ENOENT, "cannot remove " + path);
    if (!children(path).empty()) return error_from_errno(ENOTEMPTY, "cannot remove " + path);
    directories_.erase(path);
    log_.push_back({Op::kRemoveDirectory, nullptr, path, "", 0, {}});
    return {};
  }
  Result<Status> status(int fd) override {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return error_from_errno(errno, "cannot look at a file");
    return to_status(static_cast<std::uint64_t>(status.st_size), S_IFREG | 0600);
  }
  Result<Status> status(const std::string& path) override {
    MutexLock lock(mu_);
    if (directories_.contains(path)) return to_status(4096, S_IFDIR | 0700);
    const auto found = names_.find(path);
    if (found == names_.end()) return error_from_errno(ENOENT, "cannot look at " + path);
    return to_status(size_of(*found->second), S_IFREG | 0600);
  }
  Result<std::vector<Entry>> list(const std::string& path) override {
    MutexLock lock(mu_);
    if (!directories_.contains(path)) return error_from_errno(ENOENT, "cannot list " + path);
    return children(path);
  }
  Result<void> set_attribute(int fd, const char*, const std::string& value) override {
    MutexLock lock(mu_);
    const InodePtr inode = open_.at(fd).inode;
    inode->attribute = value;
    log_.push_back({Op::kSetAttribute, inode, value, "", 0, {}});
    return {};
  }
  Result<std::string> attribute(int fd, const char*) override {
    MutexLock lock(mu_);
    const InodePtr inode = open_.at(fd).inode;
    if (inode->attribute.empty()) return error_from_errno(ENODATA, "cannot read the mark");
    return inode->attribute;
  }
  Result<void> lock(int) override { return {}; }

 private:
  struct Inode {
    UniqueFd fd;
    std::string attribute;
  };
  using InodePtr = std::shared_ptr<Inode>;
  struct Open {
    InodePtr inode;  ///< null: a directory
    std::string path;
  };
  struct Op {
    enum Kind {
      kCreate,
      kWrite,
      kTruncate,
      kSetAttribute,
      kRename,
      kUnlink,
      kMakeDirectory,
      kRemoveDirectory,
      kSync,
      kSyncDirectory,
      kSyncAll,
    };
    Kind kind;
    InodePtr inode;
    std::string path;  ///< or the attribute
    std::string to;
    std::uint64_t offset;
    std::vector<std::byte> data;
  };

  static std::string parent(const std::string& path) { return path.substr(0, path.rfind('/')); }
  static InodePtr make_inode() {
    auto inode = std::make_shared<Inode>();
    inode->fd = UniqueFd(::memfd_create("file", MFD_CLOEXEC));
    return inode;
  }
  static std::uint64_t size_of(const Inode& inode) {
    struct stat status {};
    (void)::fstat(inode.fd.get(), &status);
    return static_cast<std::uint64_t>(status.st_size);
  }
  static std::string read_all(const Inode& inode) {
    std::string text(size_of(inode), '\0');
    text.resize(static_cast<std::size_t>(
        std::max<ssize_t>(0, ::pread(inode.fd.get(), text.data(), text.size(), 0))));
    return text;
  }
  static void write(Inode& inode, std::span<const std::byte> data, std::uint64_t offset) {
    [[maybe_unused]] const ssize_t n =
        ::pwrite(inode.fd.get(), data.data(), data.size(), static_cast<off_t>(offset));
  }
  static void empty(Inode& inode) {
    [[maybe_unused]] const int result = ::ftruncate(inode.fd.get(), 0);
  }
  static Status to_status(std::uint64_t size, mode_t mode) {
    return {size, (size + 4095) / 4096 * 4096, mode, ::geteuid()};
  }
  std::vector<Entry> children(const std::string& path) const REQUIRES(mu_) {
    std::vector<Entry> entries;
    const auto add = [&](const std::string& name, bool directory) {
      if (name.size() > path.size() + 1 && parent(name) == path)
        entries.push_back({name.substr(path.size() + 1), directory});
    };
    for (const auto& [name, inode] : names_) add(name, false);
    for (const std::string& name : directories_) add(name, true);
    return entries;
  }

  const std::string boot_id_;
  mutable Mutex mu_;
  std::map<std::string, InodePtr> names_ GUARDED_BY(mu_);
  std::set<std::string> directories_ GUARDED_BY(mu_);
  std::map<int, Open> open_ GUARDED_BY(mu_);  ///< by descriptor; numbers that were closed are stale
  std::vector<Op> log_ GUARDED_BY(mu_);
};

inline std::unique_ptr<PowerCutDisk> PowerCutDisk::after_cut(std::size_t calls, Mode mode,
                                                             std::uint32_t seed) const {
  auto left = std::make_unique<PowerCutDisk>("boot-2\n");
  MutexLock lock(mu_);
  MutexLock left_lock(left->mu_);
  std::mt19937 random(seed);
  const auto one_in = [&](unsigned n) { return random() % n == 0; };

  // What is sure: for each inode and directory the last call whose effect must be there.
  std::size_t all = 0, any_sync = 0;
  std::map<const Inode*, std::size_t> sure_of_inode;
  std::map<std::string, std::size_t> sure_of_directory;
  for (std::size_t i = 0; i < calls; ++i) {
    const Op& op = log_[i];
    if (op.kind == Op::kSyncAll) all = i + 1;
    if (op.kind == Op::kSync) sure_of_inode[op.inode.get()] = i + 1;
    if (op.kind == Op::kSyncDirectory) sure_of_directory[op.path] = i + 1;
    if (op.kind >= Op::kSync) any_sync = i + 1;
  }

  // Names. A sync of anything commits the journal that the names of before are in.
  const auto cut_after = [&](std::size_t sure) { return sure + random() % (calls - sure + 1); };
  const std::size_t ordered_cut = cut_after(std::max(all, any_sync));
  std::map<std::string, std::size_t> cuts;
  const auto there = [&](std::size_t i, const std::string& directory) {
    if (mode == Mode::kOrdered) return i < ordered_cut;
    const auto [cut, is_new] = cuts.try_emplace(directory, 0);
    if (is_new) cut->second = cut_after(std::max(all, sure_of_directory[directory]));
    return i < cut->second;
  };
  std::map<const Inode*, InodePtr> inodes;  // ours to the copy's
  const auto copy_of = [&](const InodePtr& inode) {
    InodePtr& copy = inodes[inode.get()];
    if (!copy) copy = make_inode();
    return copy;
  };
  for (std::size_t i = 0; i < calls; ++i) {
    const Op& op = log_[i];
    switch (op.kind) {
      case Op::kCreate:
        if (there(i, parent(op.path)) && left->directories_.contains(parent(op.path)))
          left->names_[op.path] = copy_of(op.inode);
        break;
      case Op::kRename:
        if (there(i, parent(op.path))) left->names_.erase(op.path);
        if (there(i, parent(op.to)) && left->directories_.contains(parent(op.to)))
          left->names_[op.to] = copy_of(op.inode);
        break;
      case Op::kUnlink:
        if (there(i, parent(op.path))) left->names_.erase(op.path);
        break;
      case Op::kMakeDirectory:
        if (there(i, parent(op.path)) && left->directories_.contains(parent(op.path)))
          left->directories_.insert(op.path);
        break;
      case Op::kRemoveDirectory:
        if (there(i, parent(op.path)) && left->children(op.path).empty())
          left->directories_.erase(op.path);
        break;
      default:
        break;
    }
  }

  // Bytes and attributes.
  std::set<const Inode*> wanted;
  for (const auto& [name, inode] : left->names_) wanted.insert(inode.get());
  for (std::size_t i = 0; i < calls; ++i) {
    const Op& op = log_[i];
    if (!op.inode) continue;
    const auto found = inodes.find(op.inode.get());
    if (found == inodes.end() || !wanted.contains(found->second.get())) continue;
    Inode& inode = *found->second;
    const auto sure = sure_of_inode.find(op.inode.get());
    const bool certain = i < std::max(all, sure == sure_of_inode.end() ? 0 : sure->second);
    if (op.kind == Op::kTruncate && (certain || !one_in(3))) empty(inode);
    if (op.kind == Op::kSetAttribute && (certain || !one_in(3))) inode.attribute = op.path;
    if (op.kind != Op::kWrite) continue;
    const std::span<const std::byte> data = op.data;
    switch (certain ? 0 : random() % 6) {
      case 0:
      case 1:
      case 2:
        write(inode, data, op.offset);
        break;
      case 3: {  // the size got there, the bytes did not
        const std::vector<std::byte> zeros(data.size());
        write(inode, zeros, op.offset);
        break;
      }
      case 4: {  // torn: a part of it, perhaps with zeros behind
        std::vector<std::byte> torn(data.begin(), data.end());
        const std::size_t kept = random() % (data.size() / 512 + 1) * 512;
        std::fill(torn.begin() + static_cast<std::ptrdiff_t>(kept), torn.end(), std::byte{0});
        write(inode, one_in(2) ? std::span<const std::byte>(torn) : data.first(kept), op.offset);
        break;
      }
      default:
        break;  // nothing of it
    }
  }
  return left;
}

}  // namespace rangecache
