#include "fuse/session.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "base/mutex.h"
#include "fuse/fuse_api.h"
#include "fuse/invalidator.h"
#include "fuse/mount_point.h"
#include "fuse/operations.h"

namespace rangecache::fuse {
namespace {

thread_local std::string last_fuse_message;

/// libfuse explains failures only through its log: kept for the error, and shown at debug level.
void take_fuse_log(fuse_log_level level, const char* format, va_list arguments) {
  char text[512];
  std::vsnprintf(text, sizeof text, format, arguments);
  last_fuse_message = text;
  while (!last_fuse_message.empty() && last_fuse_message.back() == '\n')
    last_fuse_message.pop_back();
  if (level <= FUSE_LOG_ERR) {
    log_warning("libfuse: {}", last_fuse_message);
  } else {
    log_debug("libfuse: {}", last_fuse_message);
  }
}

ssize_t plain_splice(int from, off_t* from_offset, int to, off_t* to_offset, std::size_t size,
                     unsigned flags, void*) {
  return ::splice(from, from_offset, to, to_offset, size, flags);
}

ssize_t plain_read(int fd, void* buffer, std::size_t size, void*) {
  return ::read(fd, buffer, size);
}

// Set while this thread is in the answer to INIT.
thread_local bool answering_init = false;

/// What libfuse 3.14 (Debian 12) does not say for us: it takes FUSE_CAP_PARALLEL_DIROPS and does
/// not tell the kernel, which then has one lookup at a time in a directory (one that waits for a
/// silent server stops all the others); and it does not know pass-through.
ssize_t writev_init(int fd, iovec* pieces, int count) {
  fuse_init_out reply{};
  std::vector<iovec> patched(pieces, pieces + count);
  if (count == 2 && pieces[1].iov_len == sizeof reply) {
    std::memcpy(&reply, pieces[1].iov_base, pieces[1].iov_len);
    reply.flags |= FUSE_PARALLEL_DIROPS;
    BackingFiles::ask(reply);
    patched[1].iov_base = &reply;
  }
  return ::writev(fd, patched.data(), count);
}

ssize_t plain_writev(int fd, iovec* pieces, int count, void*) {
  if (std::exchange(answering_init, false)) return writev_init(fd, pieces, count);
  for (;;) {
    const ssize_t written = ::writev(fd, pieces, count);
    if (written >= 0 || errno != EAGAIN) return written;
    pollfd writable{fd, POLLOUT, 0};  // a full socket: the device itself never is
    ::poll(&writable, 1, -1);
  }
}

/// Commas separate mount options, and URLs may have them.
std::string escape_option(const std::string& value) {
  std::string escaped;
  for (const char c : value) {
    if (c == ',' || c == '\\') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string mount_options(const SessionOptions& options) {
  std::string text = "ro,nosuid,nodev,default_permissions,subtype=rangecache,fsname=" +
                     escape_option(options.fs_name);
  if (options.max_read_bytes > 0) text += fmt::format(",max_read={}", options.max_read_bytes);
  if (options.allow_other) text += ",allow_other";
  return text;
}

}  // namespace

class Session::Impl {
 public:
  Impl(std::shared_ptr<Backend> backend, SessionOptions options)
      : options_(std::move(options)),
        operations_(std::move(backend),
                    Operations::Limits{.max_read_bytes = options_.max_read_bytes,
                                       .max_readahead_bytes = options_.read_ahead_kb * 1024,
                                       .max_background = options_.max_background,
                                       .congestion_threshold = options_.congestion_threshold},
                    [this] {
                      init_seen_ = true;
                      answering_init = true;
                    }),
        stop_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    CHECK(stop_event_);
  }
  ~Impl() { unmount(); }

  Result<void> mount();
  Result<void> attach(UniqueFd device, const fuse_custom_io* io);
  void unmount() EXCLUDES(unmount_mu_);
  bool mounted() const { return serving_; }
  void invalidate(const NodePtr& version);
  Usage usage() const;

 private:
  Result<void> create();
  Result<void> start();
  void serve(int epoll_fd);
  bool wait_for_request(int epoll_fd);
  void ended();
  bool is_at_path() const;  ///< our mount is what the kernel shows at path_

  const SessionOptions options_;
  Operations operations_;
  std::string path_;  ///< absolute mount point; empty when attached
  MountEntry entry_;
  const UniqueFd stop_event_;
  std::vector<UniqueFd> epolls_;  ///< one a thread
  std::vector<std::thread> threads_;
  std::unique_ptr<Invalidator> invalidator_;

  std::atomic<bool> init_seen_{false};
  std::atomic<bool> serving_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> exit_reported_{false};
  std::atomic<bool> unmounted_outside_{false};

  mutable Mutex state_mu_;
  CondVar state_changed_;
  bool ready_ GUARDED_BY(state_mu_) = false;  ///< the kernel's INIT has been answered
  bool over_ GUARDED_BY(state_mu_) = false;   ///< no more requests will come

  Mutex unmount_mu_;
  fuse_session* session_ = nullptr;  ///< made before the threads, destroyed after they are joined
};

Result<void> Session::Impl::create() {
  fuse_set_log_func(take_fuse_log);
  // Also without a mount: libfuse checks that init() asks for the same max_read.
  std::vector<std::string> words = {"rangecache", "-o", mount_options(options_)};
  if (options_.debug) words.push_back("-d");
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  fuse_args arguments = FUSE_ARGS_INIT(static_cast<int>(pointers.size()), pointers.data());
  last_fuse_message.clear();
  const fuse_lowlevel_ops& operations = Operations::table();
  session_ = fuse_session_new(&arguments, &operations, sizeof operations, &operations_);
  fuse_opt_free_args(&arguments);
  if (!session_)
    return Error{ErrorCode::kInternal, "libfuse refuses the session: " + last_fuse_message};
  return {};
}

Result<void> Session::Impl::mount() {
  RC_ASSIGN(std::string path, check_mount_point(options_.mount_point));
  RC_TRY(create());
  last_fuse_message.clear();
  if (fuse_session_mount(session_, path.c_str()) != 0) {
    return Error{
        ErrorCode::kPermissionDenied,
        fmt::format("cannot mount on {}: {}", path,
                    last_fuse_message.empty() ? "fusermount3 refused (its message is above)"
                                              : last_fuse_message)};
  }
  fuse_custom_io device{};
  device.read = plain_read;
  device.writev = plain_writev;
  device.splice_receive = plain_splice;
  device.splice_send = plain_splice;
  CHECK(fuse_session_custom_io(session_, &device, fuse_session_fd(session_)) == 0);
  path_ = std::move(path);
  if (const auto entry = find_mount(path_)) entry_ = *entry;
  RC_TRY(start());
  if (!entry_.device.empty() && !set_read_ahead_kb(entry_.device, options_.read_ahead_kb))
    log_debug("fuse: read-ahead of {} left as the kernel has it", path_);
  return {};
}

Result<void> Session::Impl::attach(UniqueFd device, const fuse_custom_io* io) {
  RC_TRY(create());
  fuse_custom_io plain{};
  plain.read = plain_read;
  plain.writev = plain_writev;
  const int error = fuse_session_custom_io(session_, io ? io : &plain, device.get());
  if (error != 0) return Error{ErrorCode::kInvalidArgument, "libfuse refuses the device", -error};
  device.release();  // libfuse closes it with the session
  return start();
}

Result<void> Session::Impl::start() {
  // Not libfuse's own loop: it stops only by a signal, and ends its threads by pthread_cancel.
  // Here a thread sleeps in epoll, where stop_event_ can wake it, and only when nothing is left to
  // read. One epoll a thread with EPOLLEXCLUSIVE: a request wakes one of them, not all.
  const int device = fuse_session_fd(session_);
  operations_.backing_files().attach(device);
  if (!options_.passthrough) operations_.backing_files().disable();
  CHECK(::fcntl(device, F_SETFL, ::fcntl(device, F_GETFL) | O_NONBLOCK) == 0);
  for (unsigned i = 0; i < std::max(options_.threads, 1U); ++i) {
    UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    bool added = epoll && ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, device, &event) == 0;
    event.events = EPOLLIN;
    added = added && ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, stop_event_.get(), &event) == 0;
    if (!added) return Error{ErrorCode::kIo, "cannot watch the FUSE device", errno};
    epolls_.push_back(std::move(epoll));
  }
  invalidator_ =
      std::make_unique<Invalidator>([this](std::uint64_t parent, const std::string& name) {
        // ENOENT: the kernel has dropped the name by itself.
        fuse_lowlevel_notify_inval_entry(session_, parent, name.c_str(), name.size());
      });
  serving_ = true;
  for (const UniqueFd& epoll : epolls_) {
    threads_.emplace_back([this, fd = epoll.get()] { serve(fd); });
    pthread_setname_np(threads_.back().native_handle(), "rc-fuse");
  }

  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.start_timeout_ms);
  MutexLock lock(state_mu_);
  while (!ready_ && !over_) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero())
      return Error{ErrorCode::kTimedOut, "the kernel did not begin to use the mount"};
    state_changed_.wait_for(state_mu_, left);
  }
  if (!ready_) return Error{ErrorCode::kIo, "the mount ended before it began"};
  return {};
}

/// False when the thread shall end.
bool Session::Impl::wait_for_request(int epoll_fd) {
  epoll_event event{};
  while (::epoll_wait(epoll_fd, &event, 1, -1) < 0) CHECK(errno == EINTR);
  return !stopping_;
}

void Session::Impl::serve(int epoll_fd) {
  fuse_buf buffer{};  // its memory is libfuse's
  bool announced = false;
  while (!stopping_) {
    if (fuse_session_exited(session_)) {  // libfuse gave up, e.g. in the handshake
      ended();
      break;
    }
    const int received = fuse_session_receive_buf(session_, &buffer);
    if (received == -EINTR) continue;
    if (received == -EAGAIN) {
      if (wait_for_request(epoll_fd)) continue;
      break;
    }
    if (received <= 0) {  // 0: unmounted; else aborted, or the other end is gone
      if (received == 0) unmounted_outside_ = true;
      ended();
      break;
    }
    fuse_session_process_buf(session_, &buffer);
    if (!announced && init_seen_ && !fuse_session_exited(session_)) {
      announced = true;
      MutexLock lock(state_mu_);
      ready_ = true;
      state_changed_.notify_all();
    }
  }
  std::free(buffer.mem);
}

void Session::Impl::ended() {
  serving_ = false;
  {
    MutexLock lock(state_mu_);
    over_ = true;
    state_changed_.notify_all();
  }
  if (!stopping_ && !exit_reported_.exchange(true) && init_seen_ && options_.on_exit)
    options_.on_exit();
}

void Session::Impl::unmount() {
  MutexLock lock(unmount_mu_);
  if (!session_) return;
  // The order matters. While the threads still serve, nothing may be left waiting for an answer:
  // a process that waits in a lookup holds its directory's lock, which the invalidator may need.
  operations_.pending().close();
  if (invalidator_) invalidator_->stop();
  stopping_ = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(stop_event_.get(), &one, sizeof one);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  operations_.pending().drain();

  // Closes the device, which ends the connection for whoever still holds a file open, and detaches.
  // Not if another mount has taken the place of ours, which someone had detached.
  const bool at_path = is_at_path();
  if (at_path || unmounted_outside_) fuse_session_unmount(session_);
  fuse_session_destroy(session_);
  session_ = nullptr;
  serving_ = false;
  // libfuse takes an aborted connection for an unmounted one: the dead mount would stay.
  if (at_path && is_at_path()) {
    if (const auto detached = detach_mount(path_); !detached)
      log_warning("{}", detached.error().message());
  }
}

bool Session::Impl::is_at_path() const {
  if (path_.empty() || unmounted_outside_) return false;
  const auto top = find_mount(path_);
  return top && top->type == kMountType && top->device == entry_.device;
}

void Session::Impl::invalidate(const NodePtr& version) {
  const auto name = operations_.inodes().name_of(version);
  if (!name || !invalidator_) return;
  if (!invalidator_->add(name->parent, name->name))
    log_debug("fuse: too many names to invalidate; {} keeps its time-out", name->name);
}

Session::Usage Session::Impl::usage() const {
  auto& operations = const_cast<Operations&>(operations_);
  return {operations.inodes().size(), operations_.open_handles(), operations.pending().waiting(),
          operations.open_modes().backed(), operations.backing_files().available()};
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::mount(std::shared_ptr<Backend> backend,
                                                SessionOptions options) {
  auto impl = std::make_unique<Impl>(std::move(backend), std::move(options));
  RC_TRY(impl->mount());
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

Result<std::unique_ptr<Session>> Session::attach(std::shared_ptr<Backend> backend, UniqueFd device,
                                                 const fuse_custom_io* io, SessionOptions options) {
  auto impl = std::make_unique<Impl>(std::move(backend), std::move(options));
  RC_TRY(impl->attach(std::move(device), io));
  return std::unique_ptr<Session>(new Session(std::move(impl)));
}

void Session::unmount() { impl_->unmount(); }
bool Session::mounted() const { return impl_->mounted(); }
void Session::invalidate(const NodePtr& version) { impl_->invalidate(version); }
Session::Usage Session::usage() const { return impl_->usage(); }

}  // namespace rangecache::fuse
