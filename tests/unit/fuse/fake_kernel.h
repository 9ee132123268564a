#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace rangecache::fuse {

/// The kernel's end of the FUSE protocol, played by a test over a socket: one message, one request.
class FakeKernel {
 public:
  struct Reply {
    int error = 0;  ///< a positive errno
    std::string body;
  };

  FakeKernel() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel_.reset(ends[0]);
    device_.reset(ends[1]);
    const int bytes = 1 << 20;
    for (const int end : ends) ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    fuse_init_in in{};
    in.major = FUSE_KERNEL_VERSION;
    in.minor = FUSE_KERNEL_MINOR_VERSION;
    in.max_readahead = 128 * 1024;
    in.flags = FUSE_ASYNC_READ | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_MAX_PAGES |
               FUSE_SPLICE_WRITE | FUSE_PARALLEL_DIROPS | FUSE_AUTO_INVAL_DATA | FUSE_POSIX_LOCKS;
    init_unique_ = send(FUSE_INIT, 0, bytes_of(in));
  }

  UniqueFd take_device() { return std::move(device_); }
  void hang_up() { kernel_.reset(); }
  fuse_init_out init_reply() { return as<fuse_init_out>(wait(init_unique_).body); }

  template <typename T>
  static std::string bytes_of(const T& value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
  }
  template <typename T>
  static T as(std::string_view bytes) {
    T value{};
    EXPECT_GE(bytes.size(), sizeof value);
    std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
    return value;
  }
  static std::string with_nul(const std::string& text) { return text + '\0'; }

  /// Sends one request and returns its unique number.
  std::uint64_t send(std::uint32_t opcode, std::uint64_t node_id, const std::string& body) {
    fuse_in_header header{};
    header.len = static_cast<std::uint32_t>(sizeof header + body.size());
    header.opcode = opcode;
    header.unique = next_unique_;
    next_unique_ += 2;  // odd numbers mark interrupts, as in the kernel
    header.nodeid = node_id;
    header.uid = ::getuid();
    header.gid = ::getgid();
    header.pid = static_cast<std::uint32_t>(::getpid());
    const std::string message = bytes_of(header) + body;
    EXPECT_EQ(::send(kernel_.get(), message.data(), message.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(message.size()));
    return header.unique;
  }

  /// The answer to request `unique`; answers to others are kept. Fails after a long time.
  Reply wait(std::uint64_t unique) {
    while (replies_.find(unique) == replies_.end()) {
      if (!receive(20'000)) {
        ADD_FAILURE() << "no answer to request " << unique;
        return {-1, {}};
      }
    }
    Reply reply = replies_[unique];
    replies_.erase(unique);
    return reply;
  }
  /// Whether an answer to `unique` has arrived, without waiting.
  bool has_answer(std::uint64_t unique) {
    while (receive(0)) {
    }
    return replies_.count(unique) != 0;
  }
  Reply call(std::uint32_t opcode, std::uint64_t node_id, const std::string& body) {
    return wait(send(opcode, node_id, body));
  }

  std::uint64_t send_read(std::uint64_t node_id, std::uint64_t handle, std::uint64_t offset,
                          std::uint32_t size) {
    fuse_read_in in{};
    in.fh = handle;
    in.offset = offset;
    in.size = size;
    return send(FUSE_READ, node_id, bytes_of(in));
  }
  void interrupt(std::uint64_t unique) {
    fuse_interrupt_in in{};
    in.unique = unique;
    send(FUSE_INTERRUPT, 0, bytes_of(in));
  }
  void forget(std::uint64_t node_id, std::uint64_t lookups) {
    fuse_forget_in in{};
    in.nlookup = lookups;
    send(FUSE_FORGET, node_id, bytes_of(in));
  }
  Reply lookup(std::uint64_t parent, const std::string& name) {
    return call(FUSE_LOOKUP, parent, with_nul(name));
  }
  fuse_entry_out lookup_entry(const std::string& name) {
    const Reply reply = lookup(FUSE_ROOT_ID, name);
    EXPECT_EQ(reply.error, 0) << name;
    return as<fuse_entry_out>(reply.body);
  }
  Reply open(std::uint32_t opcode, std::uint64_t node_id, std::uint32_t flags = O_RDONLY) {
    fuse_open_in in{};
    in.flags = flags;
    return call(opcode, node_id, bytes_of(in));
  }
  std::uint64_t open_handle(std::uint64_t node_id, std::uint32_t opcode = FUSE_OPEN) {
    const Reply reply = open(opcode, node_id);
    EXPECT_EQ(reply.error, 0);
    return as<fuse_open_out>(reply.body).fh;
  }
  Reply read(std::uint64_t node_id, std::uint64_t handle, std::uint64_t offset,
             std::uint32_t size) {
    return wait(send_read(node_id, handle, offset, size));
  }
  Reply list(std::uint32_t opcode, std::uint64_t node_id, std::uint64_t handle,
             std::uint64_t offset, std::uint32_t size) {
    fuse_read_in in{};
    in.fh = handle;
    in.offset = offset;
    in.size = size;
    return call(opcode, node_id, bytes_of(in));
  }
  void release(std::uint32_t opcode, std::uint64_t node_id, std::uint64_t handle) {
    fuse_release_in in{};
    in.fh = handle;
    EXPECT_EQ(call(opcode, node_id, bytes_of(in)).error, 0);
  }

  /// The next notification (unique 0) with its code in `error`.
  Reply wait_for_notification() {
    while (notifications_.empty()) {
      if (!receive(20'000)) {
        ADD_FAILURE() << "no notification";
        return {-1, {}};
      }
    }
    Reply first = notifications_.front();
    notifications_.erase(notifications_.begin());
    return first;
  }
  std::size_t unexpected_answers() const { return unexpected_; }

 private:
  bool receive(int timeout_ms) {
    pollfd readable{kernel_.get(), POLLIN, 0};
    if (::poll(&readable, 1, timeout_ms) != 1) return false;
    std::string message(1 << 20, '\0');
    const ssize_t size = ::recv(kernel_.get(), message.data(), message.size(), 0);
    if (size < static_cast<ssize_t>(sizeof(fuse_out_header))) return false;
    message.resize(static_cast<std::size_t>(size));
    const auto header = as<fuse_out_header>(message);
    EXPECT_EQ(header.len, message.size());
    Reply reply{header.unique ? -header.error : header.error,
                message.substr(sizeof(fuse_out_header))};
    if (header.unique == 0) {
      notifications_.push_back(std::move(reply));
    } else if (!replies_.emplace(header.unique, std::move(reply)).second) {
      ++unexpected_;  // a second answer to the same request
    }
    return true;
  }

  UniqueFd kernel_;
  UniqueFd device_;
  std::uint64_t next_unique_ = 2;
  std::uint64_t init_unique_ = 0;
  std::map<std::uint64_t, Reply> replies_;
  std::vector<Reply> notifications_;
  std::size_t unexpected_ = 0;
};

}  // namespace rangecache::fuse
