#include "fuse/operations.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "fuse/reply.h"

namespace rangecache::fuse {
namespace {

constexpr std::size_t kNameMax = 255;
constexpr std::uint64_t kDots = 2;  // "." and ".." come before the names of a directory
constexpr std::uint64_t kStatfsBlock = 4096;
constexpr std::uint32_t kOpenPassthrough = 1U << 7;  // FOPEN_PASSTHROUGH of Linux 6.9

/// For every operation that would change something: EROFS, as on any read-only file system (libfuse
/// would say ENOSYS for a missing one).
template <typename... Args>
void refuse(fuse_req_t request, Args...) {
  fuse_reply_err(request, EROFS);
}

/// A value or a list of names, as getxattr(2) wants it: `size` 0 asks for the length alone.
void reply_attribute_bytes(fuse_req_t request, std::string_view bytes, std::size_t size) {
  if (size == 0) {
    fuse_reply_xattr(request, bytes.size());
  } else if (bytes.size() > size) {
    fuse_reply_err(request, ERANGE);
  } else {
    fuse_reply_buf(request, bytes.data(), bytes.size());
  }
}

}  // namespace

Operations::Operations(std::shared_ptr<Backend> backend, Limits limits,
                       std::function<void()> on_initialised)
    : backend_(std::move(backend)),
      limits_(limits),
      on_initialised_(std::move(on_initialised)),
      inodes_(backend_->root()) {}

const fuse_lowlevel_ops& Operations::table() {
  static const fuse_lowlevel_ops operations = [] {
    fuse_lowlevel_ops ops{};
    ops.init = init;
    ops.lookup = lookup;
    ops.forget = forget;
    ops.forget_multi = forget_multi;
    ops.getattr = getattr;
    ops.open = open;
    ops.read = read;
    ops.release = release;
    ops.opendir = opendir;
    ops.readdir = readdir;
    ops.readdirplus = readdirplus;
    ops.releasedir = releasedir;
    ops.statfs = statfs;
    ops.getxattr = getxattr;
    ops.listxattr = listxattr;
    ops.access = access;

    ops.setattr = refuse;
    ops.mknod = refuse;
    ops.mkdir = refuse;
    ops.unlink = refuse;
    ops.rmdir = refuse;
    ops.symlink = refuse;
    ops.rename = refuse;
    ops.link = refuse;
    ops.write = refuse;
    ops.setxattr = refuse;
    ops.removexattr = refuse;
    ops.create = refuse;
    ops.fallocate = refuse;
    ops.copy_file_range = refuse;
    return ops;
  }();
  return operations;
}

Operations& Operations::of(fuse_req_t request) {
  return *static_cast<Operations*>(fuse_req_userdata(request));
}

void Operations::init(void* self, fuse_conn_info* connection) {
  const Operations& ops = *static_cast<Operations*>(self);
  // Nothing else of what libfuse wants by default: no locks to forward, nothing to write, no
  // AUTO_INVAL_DATA, because the bytes of an inode never change, and no ASYNC_DIO, because a
  // process in such a read cannot be killed.
  connection->want = connection->capable &
                     (FUSE_CAP_ASYNC_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                      FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_PARALLEL_DIROPS);
  connection->max_read = ops.limits_.max_read_bytes;
  connection->max_readahead = std::min(connection->max_readahead, ops.limits_.max_readahead_bytes);
  connection->max_background = ops.limits_.max_background;
  connection->congestion_threshold = ops.limits_.congestion_threshold;
  if (ops.on_initialised_) ops.on_initialised_();
}

void Operations::reply_entry(fuse_req_t request, fuse_ino_t parent, const std::string& name,
                             const NodePtr& node) {
  const NodeAttributes attributes = node->attributes();
  fuse_entry_param entry{};
  entry.attr = to_stat(attributes);
  entry.attr_timeout = attribute_timeout_s(attributes);
  entry.entry_timeout = entry_timeout_s(attributes);
  entry.ino = inodes_.add_lookup(node, parent, name);
  // An error means that the kernel never saw the answer (it was interrupted): so it will not
  // forget it either.
  if (fuse_reply_entry(request, &entry) != 0) inodes_.forget(entry.ino, 1);
}

void Operations::lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  Operations& self = of(request);
  const NodePtr directory = self.inodes_.find(parent);
  if (!directory) return void(fuse_reply_err(request, ESTALE));
  if (!directory->attributes().is_directory) return void(fuse_reply_err(request, ENOTDIR));
  if (std::strlen(name) > kNameMax) return void(fuse_reply_err(request, ENAMETOOLONG));

  const PendingRequestPtr pending = self.pending_.begin(request);
  self.backend_->lookup(
      directory, name,
      [&self, pending, parent, name = std::string(name)](Result<NodePtr> found) mutable {
        pending->finish(
            [&self, parent, name = std::move(name), found = std::move(found)](fuse_req_t req) {
              if (!found) return reply_error(req, found.error());
              self.reply_entry(req, parent, name, *found);
            });
      });
  self.pending_.issued(pending, ReadTicket());
}

void Operations::forget(fuse_req_t request, fuse_ino_t id, std::uint64_t lookups) {
  of(request).inodes_.forget(id, lookups);
  fuse_reply_none(request);
}

void Operations::forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgets) {
  InodeTable& inodes = of(request).inodes_;
  for (std::size_t i = 0; i < count; ++i) inodes.forget(forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

void Operations::getattr(fuse_req_t request, fuse_ino_t id, fuse_file_info*) {
  const NodePtr node = of(request).inodes_.find(id);
  if (!node) return void(fuse_reply_err(request, ESTALE));
  const NodeAttributes attributes = node->attributes();
  const struct stat status = to_stat(attributes);
  fuse_reply_attr(request, &status, attribute_timeout_s(attributes));
}

int Operations::reply_open(fuse_req_t request, std::uint64_t handle, std::int32_t backing_id) {
  fuse_open_out reply{};
  reply.fh = handle;
  reply.open_flags = FOPEN_NOFLUSH;
  if (backing_id != 0) {
    reply.open_flags |= kOpenPassthrough;  // no other flag goes with it (fs/fuse/passthrough.c)
    reply.padding = static_cast<std::uint32_t>(backing_id);  // its name before Linux 6.9
  } else {
    // An inode is one version: what the kernel has cached of it stays right.
    reply.open_flags |= FOPEN_KEEP_CACHE;
  }
  return fuse_reply_buf(request, reinterpret_cast<const char*>(&reply), sizeof reply);
}

void Operations::open(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  Operations& self = of(request);
  if ((info->flags & O_ACCMODE) != O_RDONLY || (info->flags & (O_TRUNC | O_CREAT)) != 0)
    return void(fuse_reply_err(request, EROFS));
  const NodePtr node = self.inodes_.find(id);
  if (!node) return void(fuse_reply_err(request, ESTALE));
  const NodeAttributes attributes = node->attributes();
  if (attributes.is_directory) return void(fuse_reply_err(request, EISDIR));

  const PendingRequestPtr pending = self.pending_.begin(request);
  self.backend_->open(
      node, [&self, pending, node, id](Result<std::shared_ptr<Handle>> opened) mutable {
        pending->finish([&self, node, id, opened = std::move(opened)](fuse_req_t req) mutable {
          if (!opened) return reply_error(req, opened.error());
          auto file = std::make_shared<OpenFile>();
          file->node = node;
          file->handle = *std::move(opened);
          file->size = node->attributes().size;
          const std::uint64_t handle = self.files_.add(std::move(file));
          const std::int32_t backing_id =
              self.open_modes_.open(id, [&] { return self.backend_->whole_file(node); });
          if (self.reply_open(req, handle, backing_id) != 0) {  // no release will come
            self.files_.remove(handle);
            self.open_modes_.close(id);
          }
        });
      });
  self.pending_.issued(pending, ReadTicket());
}

void Operations::read(fuse_req_t request, fuse_ino_t, std::size_t size, off_t offset,
                      fuse_file_info* info) {
  Operations& self = of(request);
  const std::shared_ptr<OpenFile> file = self.files_.find(info->fh);
  if (!file) return void(fuse_reply_err(request, EBADF));
  const ByteRange range =
      ByteRange::at(static_cast<std::uint64_t>(offset), size).intersect({0, file->size});
  if (range.empty()) return void(fuse_reply_buf(request, nullptr, 0));

  const PendingRequestPtr pending = self.pending_.begin(request);
  // `file` goes along: the handle outlives the read, whatever the kernel closes meanwhile.
  ReadTicket ticket =
      self.backend_->read(file->node, *file->handle, range,
                          [pending, file, expected = range.size()](Result<Slices> slices) {
                            pending->finish([expected, slices = std::move(slices)](fuse_req_t req) {
                              if (!slices) return reply_error(req, slices.error());
                              reply_slices(req, *slices, expected);
                            });
                          });
  self.pending_.issued(pending, std::move(ticket));
}

void Operations::release(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  Operations& self = of(request);
  // The handle last: who sees none open sees nothing backed either.
  if (self.files_.find(info->fh)) self.open_modes_.close(id);
  self.files_.remove(info->fh);
  fuse_reply_err(request, 0);
}

void Operations::opendir(fuse_req_t request, fuse_ino_t id, fuse_file_info* info) {
  Operations& self = of(request);
  const NodePtr node = self.inodes_.find(id);
  if (!node) return void(fuse_reply_err(request, ESTALE));
  const NodeAttributes attributes = node->attributes();
  if (!attributes.is_directory) return void(fuse_reply_err(request, ENOTDIR));

  const PendingRequestPtr pending = self.pending_.begin(request);
  self.backend_->open_directory(node, [&self, pending, attributes, reply = *info](
                                          Result<std::shared_ptr<DirectoryPages>> pages) mutable {
    pending->finish([&self, attributes, reply, pages = std::move(pages)](fuse_req_t req) mutable {
      if (!pages) return reply_error(req, pages.error());
      reply.fh =
          self.directories_.add(std::make_shared<OpenDirectory>(attributes, *std::move(pages)));
      const std::uint64_t handle = reply.fh;
      if (fuse_reply_open(req, &reply) != 0) self.directories_.remove(handle);
    });
  });
  self.pending_.issued(pending, ReadTicket());
}

void Operations::read_directory(fuse_req_t request, const ReadDirectory& wanted,
                                std::uint64_t handle) {
  const std::shared_ptr<OpenDirectory> directory = directories_.find(handle);
  if (!directory) return void(fuse_reply_err(request, EBADF));
  const PendingRequestPtr pending = pending_.begin(request);
  const std::uint64_t number = std::max(wanted.offset, kDots) - kDots;
  directory->find(number, [this, pending, wanted, directory](Result<OpenDirectory::Place> place) {
    pending->finish([this, wanted, directory, place = std::move(place)](fuse_req_t req) {
      if (!place) return reply_error(req, place.error());
      reply_listing(req, wanted, directory->attributes, *place);
    });
  });
  pending_.issued(pending, ReadTicket());
}

void Operations::reply_listing(fuse_req_t request, const ReadDirectory& wanted,
                               const NodeAttributes& directory, const OpenDirectory::Place& place) {
  const std::uint64_t end = kDots + (place.page ? place.first + place.page->size() : 0);
  std::vector<char> buffer(wanted.size);
  std::vector<std::uint64_t> looked_up;
  std::size_t used = 0;
  // Offset n means "after the n-th name", where 0 is "." and 1 is "..": the kernel comes back
  // with the offset of the last entry that it took.
  for (std::uint64_t i = wanted.offset; i < end; ++i) {
    const DirEntry* child = i < kDots ? nullptr : &(*place.page)[i - kDots - place.first];
    const char* name = child ? child->name.c_str() : i == 0 ? "." : "..";

    fuse_entry_param entry{};  // entry.ino 0: the kernel looks the name up when it needs it
    entry.attr.st_ino = child ? child->stable_ino : directory.stable_ino;
    entry.attr.st_mode = !child || child->is_directory ? S_IFDIR : S_IFREG;
    const bool with_node = wanted.with_attributes && child && child->node;
    if (with_node) {
      const NodeAttributes attributes = child->node->attributes();
      entry.attr = to_stat(attributes);
      entry.attr_timeout = attribute_timeout_s(attributes);
      entry.entry_timeout = entry_timeout_s(attributes);
      entry.ino = inodes_.add_lookup(child->node, wanted.id, child->name);
    }
    const auto next = static_cast<off_t>(i + 1);
    char* const at = buffer.data() + used;
    const std::size_t room = wanted.size - used;
    const std::size_t needed = wanted.with_attributes
                                   ? fuse_add_direntry_plus(request, at, room, name, &entry, next)
                                   : fuse_add_direntry(request, at, room, name, &entry.attr, next);
    if (needed > room) {
      if (with_node) inodes_.forget(entry.ino, 1);
      break;
    }
    if (with_node) looked_up.push_back(entry.ino);
    used += needed;
  }
  if (fuse_reply_buf(request, buffer.data(), used) != 0) {
    for (const std::uint64_t unseen : looked_up) inodes_.forget(unseen, 1);
  }
}

void Operations::readdir(fuse_req_t request, fuse_ino_t id, std::size_t size, off_t offset,
                         fuse_file_info* info) {
  of(request).read_directory(request, {id, size, static_cast<std::uint64_t>(offset), false},
                             info->fh);
}

void Operations::readdirplus(fuse_req_t request, fuse_ino_t id, std::size_t size, off_t offset,
                             fuse_file_info* info) {
  of(request).read_directory(request, {id, size, static_cast<std::uint64_t>(offset), true},
                             info->fh);
}

void Operations::releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  of(request).directories_.remove(info->fh);
  fuse_reply_err(request, 0);
}

void Operations::statfs(fuse_req_t request, fuse_ino_t) {
  const FileSystemSpace space = of(request).backend_->space();
  struct statvfs status {};
  status.f_bsize = kStatfsBlock;
  status.f_frsize = kStatfsBlock;
  status.f_blocks = space.total_bytes / kStatfsBlock;
  status.f_bfree = space.free_bytes / kStatfsBlock;
  status.f_bavail = status.f_bfree;
  status.f_files = space.files;
  status.f_namemax = kNameMax;
  fuse_reply_statfs(request, &status);
}

void Operations::getxattr(fuse_req_t request, fuse_ino_t id, const char* name, std::size_t size) {
  Operations& self = of(request);
  const NodePtr node = self.inodes_.find(id);
  if (!node) return void(fuse_reply_err(request, ESTALE));
  for (const auto& [known, value] : self.backend_->extended_attributes(node)) {
    if (known == name) return reply_attribute_bytes(request, value, size);
  }
  fuse_reply_err(request, ENODATA);
}

void Operations::listxattr(fuse_req_t request, fuse_ino_t id, std::size_t size) {
  Operations& self = of(request);
  const NodePtr node = self.inodes_.find(id);
  if (!node) return void(fuse_reply_err(request, ESTALE));
  std::string names;
  for (const auto& [name, value] : self.backend_->extended_attributes(node)) {
    names += name;
    names += '\0';
  }
  reply_attribute_bytes(request, names, size);
}

void Operations::access(fuse_req_t request, fuse_ino_t id, int mask) {
  const NodePtr node = of(request).inodes_.find(id);
  if (!node) return void(fuse_reply_err(request, ESTALE));
  if ((mask & W_OK) != 0) return void(fuse_reply_err(request, EROFS));
  const bool may = (mask & X_OK) == 0 || node->attributes().is_directory;
  fuse_reply_err(request, may ? 0 : EACCES);
}

}  // namespace rangecache::fuse
