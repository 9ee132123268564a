#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "fuse/backend.h"
#include "fuse/backing_files.h"
#include "fuse/fuse_api.h"
#include "fuse/handle_table.h"
#include "fuse/inode_table.h"
#include "fuse/open_directory.h"
#include "fuse/open_modes.h"
#include "fuse/pending_requests.h"

namespace rangecache::fuse {

/// Answers the kernel's requests for one mount out of a Backend. Read-only: everything that would
/// change something is refused with EROFS.
///
/// The functions of table() run on the session's threads, several at once; none of them waits for
/// the backend. Pass `this` to fuse_session_new() as its userdata.
class Operations {
 public:
  /// What is agreed with the kernel when the mount begins.
  struct Limits {
    unsigned max_read_bytes = 0;       ///< 0: the kernel's own limit
    unsigned max_readahead_bytes = 0;  ///< the kernel may offer less
    unsigned max_background = 0;
    unsigned congestion_threshold = 0;
  };

  Operations(std::shared_ptr<Backend> backend, Limits limits, std::function<void()> on_initialised);

  static const fuse_lowlevel_ops& table();

  InodeTable& inodes() { return inodes_; }
  PendingRequests& pending() { return pending_; }
  BackingFiles& backing_files() { return backing_files_; }
  const OpenModes& open_modes() const { return open_modes_; }
  std::size_t open_handles() const { return files_.size() + directories_.size(); }

 private:
  struct OpenFile {
    NodePtr node;
    std::shared_ptr<Handle> handle;
    std::uint64_t size = 0;
  };

  static Operations& of(fuse_req_t request);

  static void init(void* self, fuse_conn_info* connection);
  static void lookup(fuse_req_t, fuse_ino_t parent, const char* name);
  static void forget(fuse_req_t, fuse_ino_t id, std::uint64_t lookups);
  static void forget_multi(fuse_req_t, std::size_t count, fuse_forget_data* forgets);
  static void getattr(fuse_req_t, fuse_ino_t id, fuse_file_info*);
  static void open(fuse_req_t, fuse_ino_t id, fuse_file_info*);
  static void read(fuse_req_t, fuse_ino_t id, std::size_t size, off_t offset, fuse_file_info*);
  static void release(fuse_req_t, fuse_ino_t id, fuse_file_info*);
  static void opendir(fuse_req_t, fuse_ino_t id, fuse_file_info*);
  static void readdir(fuse_req_t, fuse_ino_t id, std::size_t size, off_t offset, fuse_file_info*);
  static void readdirplus(fuse_req_t, fuse_ino_t id, std::size_t size, off_t offset,
                          fuse_file_info*);
  static void releasedir(fuse_req_t, fuse_ino_t id, fuse_file_info*);
  static void statfs(fuse_req_t, fuse_ino_t id);
  static void getxattr(fuse_req_t, fuse_ino_t id, const char* name, std::size_t size);
  static void listxattr(fuse_req_t, fuse_ino_t id, std::size_t size);
  static void access(fuse_req_t, fuse_ino_t id, int mask);

  void reply_entry(fuse_req_t request, fuse_ino_t parent, const std::string& name,
                   const NodePtr& node);
  struct ReadDirectory {
    fuse_ino_t id;
    std::size_t size;
    std::uint64_t offset;
    bool with_attributes;
  };
  void read_directory(fuse_req_t request, const ReadDirectory& wanted, std::uint64_t handle);
  void reply_listing(fuse_req_t request, const ReadDirectory& wanted,
                     const NodeAttributes& directory, const OpenDirectory::Place& place);
  /// The answer to an open, and the one place that knows how an inode's bytes reach the kernel.
  int reply_open(fuse_req_t request, std::uint64_t handle, std::int32_t backing_id);

  const std::shared_ptr<Backend> backend_;
  const Limits limits_;
  const std::function<void()> on_initialised_;
  InodeTable inodes_;
  HandleTable<OpenFile> files_;
  HandleTable<OpenDirectory> directories_;
  BackingFiles backing_files_;
  OpenModes open_modes_{backing_files_};
  PendingRequests pending_;
};

}  // namespace rangecache::fuse
