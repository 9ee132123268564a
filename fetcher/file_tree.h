#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

#include "base/origin.h"
#include "base/unique_fd.h"
#include "rangecache/result.h"

namespace rangecache::fetcher {

/// The files below one local directory. A symbolic link is followed where it stays below the root;
/// one that leads out is refused (openat2, Linux 5.6). Below the root "/" every link stays inside.
/// Calls block. Thread-safe.
class FileTree {
 public:
  static Result<FileTree> open(const std::string& root);

  /// The file, open for reading, and what fstat said of it.
  struct OpenFile {
    UniqueFd fd;
    struct stat status {};
  };
  Result<OpenFile> open_file(const std::string& key) const;
  Result<struct stat> stat(const std::string& key) const;
  Result<ListPage> list(const std::string& dir_key) const;

 private:
  FileTree(UniqueFd root, std::string root_path)
      : root_(std::move(root)), root_path_(std::move(root_path)) {}
  Result<UniqueFd> open_at(std::string_view key, int flags) const;
  Result<void> check_regular(const struct stat& status, const std::string& key) const;

  UniqueFd root_;
  std::string root_path_;
};

/// Size, modification time, and a validator made of device, inode, size and both change times to
/// the nanosecond: it differs after every write that the file system's clock can tell apart.
ObjectAttributes attributes_of(const struct stat& status);

}  // namespace rangecache::fetcher
