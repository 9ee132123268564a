#include "fuse/reply.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <memory>
#include <vector>

#include "base/log.h"

namespace rangecache::fuse {
namespace {

constexpr std::uint64_t kBlockSize = 4096;
constexpr double kImmutable_s = 86'400;

/// Whether every file still holds what its slice promises. libfuse would answer a cut file with a
/// short reply, and the kernel takes a short read for the end of the file: the program would see a
/// shorter file and no error.
bool files_are_whole(const Slices& slices) {
  return std::all_of(slices.begin(), slices.end(), [](const Slice& slice) {
    if (slice.fd < 0) return true;
    struct stat status {};
    return fstat(slice.fd, &status) == 0 &&
           static_cast<std::uint64_t>(status.st_size) >= slice.offset + slice.length;
  });
}

void reply_memory(fuse_req_t request, const Slices& slices) {
  std::vector<iovec> pieces;
  pieces.reserve(slices.size());
  for (const Slice& slice : slices)
    pieces.push_back({const_cast<std::byte*>(slice.data), slice.length});
  fuse_reply_iov(request, pieces.data(), static_cast<int>(pieces.size()));
}

void reply_buffers(fuse_req_t request, const Slices& slices) {
  // A fuse_bufvec ends in an array of one fuse_buf: the rest follows in the same memory.
  const std::size_t bytes = sizeof(fuse_bufvec) + (slices.size() - 1) * sizeof(fuse_buf);
  std::vector<std::max_align_t> memory(bytes / sizeof(std::max_align_t) + 1);
  auto* buffers = reinterpret_cast<fuse_bufvec*>(memory.data());
  *buffers = {};
  buffers->count = slices.size();
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const Slice& slice = slices[i];
    fuse_buf& buffer = buffers->buf[i];
    buffer = {};
    buffer.size = slice.length;
    if (slice.fd >= 0) {
      // RETRY: a splice that stops at a page not yet read is continued, not taken for the end.
      buffer.flags =
          static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY);
      buffer.fd = slice.fd;
      buffer.pos = static_cast<off_t>(slice.offset);
    } else {
      buffer.mem = const_cast<std::byte*>(slice.data);
    }
  }
  fuse_reply_data(request, buffers, FUSE_BUF_SPLICE_MOVE);
}

}  // namespace

void reply_error(fuse_req_t request, const Error& error) {
  fuse_reply_err(request, to_errno(error.code));
}

void reply_slices(fuse_req_t request, const Slices& slices, std::uint64_t expected_bytes) {
  std::uint64_t total = 0;
  bool memory_only = true;
  for (const Slice& slice : slices) {
    total += slice.length;
    memory_only = memory_only && slice.fd < 0;
  }
  if (total != expected_bytes || !files_are_whole(slices)) {
    log_error("fuse: a read of {} bytes got {}, or a cached file was cut: answering EIO",
              expected_bytes, total);
    fuse_reply_err(request, EIO);
  } else if (total == 0) {
    fuse_reply_buf(request, nullptr, 0);
  } else if (memory_only && slices.size() < IOV_MAX) {  // one more is libfuse's header
    reply_memory(request, slices);
  } else {
    reply_buffers(request, slices);
  }
}

struct stat to_stat(const NodeAttributes& attributes) {
  struct stat status {};
  status.st_ino = attributes.stable_ino;
  status.st_mode = attributes.is_directory ? S_IFDIR | 0555 : S_IFREG | 0444;
  status.st_nlink = 1;
  status.st_uid = geteuid();
  status.st_gid = getegid();
  status.st_size = static_cast<off_t>(attributes.size);
  status.st_blksize = kBlockSize;
  status.st_blocks = static_cast<blkcnt_t>((attributes.size + 511) / 512);
  status.st_mtim.tv_sec = attributes.modified_s;
  status.st_ctim = status.st_mtim;
  status.st_atim = status.st_mtim;
  return status;
}

double entry_timeout_s(const NodeAttributes& attributes) {
  return static_cast<double>(std::max<std::int64_t>(attributes.valid_for_ms, 0)) / 1000;
}

double attribute_timeout_s(const NodeAttributes& attributes) {
  return attributes.is_directory ? entry_timeout_s(attributes) : kImmutable_s;
}

}  // namespace rangecache::fuse
