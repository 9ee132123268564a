#include "fetcher/file_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

namespace rangecache::fetcher {
namespace {

/// Long enough that a burst of opens asks a slow network file system once.
constexpr std::int64_t kFreshFor_s = 1;

Error system_error(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return {ErrorCode::kNotFound, path, error};
    case EACCES:
    case EPERM:
      return {ErrorCode::kPermissionDenied, path, error};
    case EXDEV:
    case ELOOP:
      return {ErrorCode::kPermissionDenied, path + ": is a link that leads out of the origin",
              error};
    case ESTALE:
      return {ErrorCode::kStale, path, error};
    case ENOSYS:
      return {ErrorCode::kUnsupported, path + ": openat2 is needed (Linux 5.6 or later)", error};
    default:
      return {ErrorCode::kIo, path, error};
  }
}

}  // namespace

Result<FileTree> FileTree::open(const std::string& root) {
  UniqueFd fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return system_error(root, errno);
  return FileTree(std::move(fd), root == "/" ? "" : root);
}

Result<UniqueFd> FileTree::open_at(std::string_view key, int flags) const {
  std::string path(key);
  while (!path.empty() && path.back() == '/') path.pop_back();
  const std::string shown = root_path_ + "/" + path;
  // An absolute path or a NUL would name something else than the key does.
  if (path.find('\0') != std::string::npos || (!path.empty() && path.front() == '/'))
    return Error{ErrorCode::kInvalidArgument, shown + ": is no path below the origin"};
  if (path.empty()) path.assign(1, '.');
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_NO_MAGICLINKS | (root_path_.empty() ? RESOLVE_IN_ROOT : RESOLVE_BENEATH);
  for (;;) {
    UniqueFd fd(
        static_cast<int>(syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how)));
    if (fd) return fd;
    if (errno != EINTR && errno != EAGAIN)
      return system_error(shown, errno);  // EAGAIN: a rename raced
  }
}

Result<FileTree::OpenFile> FileTree::open_file(const std::string& key) const {
  OpenFile file;
  // Not blocking, for the case that it is a FIFO; regular files do not care.
  RC_ASSIGN(file.fd, open_at(key, O_RDONLY | O_NONBLOCK | O_NOCTTY));
  if (fstat(file.fd.get(), &file.status) != 0) return system_error(key, errno);
  if (S_ISDIR(file.status.st_mode)) return Error{ErrorCode::kIsDirectory, root_path_ + "/" + key};
  RC_TRY(check_regular(file.status, key));
  return file;
}

Result<void> FileTree::check_regular(const struct stat& status, const std::string& key) const {
  const char* why = nullptr;
  if (!S_ISREG(status.st_mode))
    why = ": is not a regular file";
  else if (static_cast<std::uint64_t>(status.st_size) > kMaxObjectSize)
    why = ": is too large";
  if (why != nullptr) return Error{ErrorCode::kUnsupported, root_path_ + "/" + key + why};
  return {};
}

Result<struct stat> FileTree::stat(const std::string& key) const {
  RC_ASSIGN(const UniqueFd fd, open_at(key, O_PATH));
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return system_error(key, errno);
  if (S_ISDIR(status.st_mode)) return status;
  RC_TRY(check_regular(status, key));
  if (!key.empty() && key.back() == '/')
    return Error{ErrorCode::kNotDirectory, root_path_ + "/" + key};
  return status;
}

Result<ListPage> FileTree::list(const std::string& dir_key) const {
  std::string prefix = dir_key;
  if (!prefix.empty() && prefix.back() != '/') prefix += '/';
  RC_ASSIGN(const struct stat status, stat(dir_key));
  if (!S_ISDIR(status.st_mode)) return Error{ErrorCode::kNotDirectory, root_path_ + "/" + dir_key};
  RC_ASSIGN(UniqueFd fd, open_at(dir_key, O_RDONLY | O_DIRECTORY));
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd.get()), closedir);
  if (!directory) return system_error(prefix, errno);
  static_cast<void>(fd.release());  // closedir() closes it

  ListPage page;
  page.complete = true;
  page.freshness = attributes_of(status).freshness;
  for (;;) {
    errno = 0;
    const dirent* found = readdir(directory.get());
    if (found == nullptr) break;
    const std::string name = found->d_name;
    if (name == "." || name == "..") continue;
    const auto entry_status = stat(prefix + name);
    if (!entry_status) {  // dangling, leading out, a device, or gone by now
      ++page.hidden_entries;
      continue;
    }
    ListEntry entry;
    entry.name = name;
    entry.is_directory = S_ISDIR(entry_status->st_mode);
    const ObjectAttributes attributes = attributes_of(*entry_status);
    entry.modified_s = attributes.modified_s;
    if (!entry.is_directory) {
      entry.size = attributes.size;
      entry.validator = attributes.validator;
    }
    page.entries.push_back(std::move(entry));
  }
  if (errno != 0) return system_error(prefix, errno);  // half a listing must not pass for a whole
  return page;
}

ObjectAttributes attributes_of(const struct stat& status) {
  ObjectAttributes attributes;
  attributes.size = static_cast<std::uint64_t>(status.st_size);
  attributes.modified_s = status.st_mtim.tv_sec;
  attributes.validator = {
      Validator::Kind::kEtag,
      fmt::format("\"{:x}:{:x}:{:x}.{:x}:{:x}.{:x}:{:x}\"", status.st_dev, status.st_ino,
                  status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_ctim.tv_sec,
                  status.st_ctim.tv_nsec, status.st_size)};
  attributes.freshness.lifetime_s = kFreshFor_s;
  return attributes;
}

}  // namespace rangecache::fetcher
