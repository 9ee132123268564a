#include "client/connection.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "client/awaited.h"
#include "client/connect.h"

namespace rangecache::client {
namespace {

constexpr std::size_t kInputSize = 64 * 1024;
constexpr std::size_t kMaxFdsAtOnce = 253;  // SCM_MAX_FD of Linux
constexpr int kReceivesPerRound = 64;

}  // namespace

Result<std::shared_ptr<Connection>> Connection::open(const std::string& path,
                                                     std::chrono::milliseconds timeout) {
  RC_ASSIGN(Greeted greeted, connect_and_greet(path, timeout));
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return Error{ErrorCode::kIo, "cannot make an eventfd", errno};
  return std::shared_ptr<Connection>(
      new Connection(std::move(greeted.socket), std::move(wake), greeted.daemon, path));
}

Connection::Connection(UniqueFd socket, UniqueFd wake, wire::Greeting daemon, std::string path)
    : socket_(std::move(socket)),
      wake_(std::move(wake)),
      daemon_(daemon),
      path_(std::move(path)),
      input_(kInputSize) {
  // The host program's signals are not for this thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  MutexLock lock(join_mu_);
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "rc-client");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Connection::~Connection() { close(); }

void Connection::close() {
  {
    MutexLock lock(mu_);
    closing_ = true;
  }
  wake();
  MutexLock lock(join_mu_);
  if (thread_.joinable()) {
    CHECK(thread_.get_id() != std::this_thread::get_id());  // a Client destroyed in its callback
    thread_.join();
  }
}

void Connection::wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

std::uint64_t Connection::send(protocol::MessageType type, std::string payload, Done done,
                               std::span<std::byte> destination) {
  std::uint64_t id = 0;
  std::optional<Error> gone;
  bool must_wake = false;
  {
    MutexLock lock(mu_);
    id = next_id_++;
    gone = gone_;
    if (!gone) {
      wire::FrameHeader header;
      header.length = static_cast<std::uint32_t>(payload.size());
      header.type = type;
      header.request_id = id;
      requests_.emplace(id, Request{std::move(done), destination});
      waiting_.push_back({id, destination.size(), wire::encode(header) + payload});
      admit_waiting_locked();
      // The socket does not block, so the lock is not held over a wait. What it does not take now,
      // or an error, is left to the connection's thread.
      if (corks_ == 0) {
        write_locked();
        must_wake = !output_.empty();
      }
    }
  }
  if (gone) done(*gone);
  if (must_wake) wake();
  return id;
}

Connection::Cork::Cork(Connection& connection) : connection_(connection) {
  MutexLock lock(connection.mu_);
  ++connection.corks_;
}

Connection::Cork::~Cork() {
  bool must_wake = false;
  {
    MutexLock lock(connection_.mu_);
    if (--connection_.corks_ > 0) return;
    connection_.write_locked();
    must_wake = !connection_.output_.empty();
  }
  if (must_wake) connection_.wake();
}

void Connection::set_housekeeping(std::function<int()> housekeeping) {
  MutexLock lock(mu_);
  housekeeping_ = std::move(housekeeping);
}

Result<Reply> Connection::call(protocol::MessageType type, std::string payload) {
  const auto result = std::make_shared<Awaited<Result<Reply>>>();
  send(type, std::move(payload), [result](Result<Reply> reply) { result->set(std::move(reply)); });
  return result->wait();
}

void Connection::cancel(std::uint64_t request_id) {
  Done unsent;
  {
    MutexLock lock(mu_);
    const auto found = requests_.find(request_id);
    if (found == requests_.end()) return;
    const auto waiting =
        std::find_if(waiting_.begin(), waiting_.end(),
                     [request_id](const Waiting& w) { return w.id == request_id; });
    if (waiting != waiting_.end()) {
      unsent = std::move(found->second.done);
      waiting_.erase(waiting);
      requests_.erase(found);
    } else {
      wire::Writer payload;
      payload.u64(request_id);
      wire::FrameHeader header;
      header.length = 8;
      header.type = protocol::MessageType::kCancel;
      header.request_id = next_id_++;
      output_ += wire::encode(header) + payload.take();
    }
  }
  if (unsent) {
    unsent(Error{ErrorCode::kCancelled, "the read was cancelled"});
  } else {
    wake();
  }
}

void Connection::admit_waiting_locked() {
  // Never so much that the daemon reads no more from us: it would not hear a CANCEL.
  while (!waiting_.empty()) {
    const Waiting& next = waiting_.front();
    if (in_flight_ > 0 && (in_flight_ >= daemon_.max_in_flight ||
                           in_flight_bytes_ + next.bytes > protocol::kMaxInFlightBytes))
      return;
    ++in_flight_;
    in_flight_bytes_ += next.bytes;
    output_ += next.frame;
    waiting_.pop_front();
  }
}

bool Connection::write_locked() {
  while (output_sent_ < output_.size()) {
    const ssize_t sent = ::send(socket_.get(), output_.data() + output_sent_,
                                output_.size() - output_sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    output_sent_ += static_cast<std::size_t>(sent);
  }
  output_.clear();
  output_sent_ = 0;
  return true;
}

bool Connection::send_queued() {
  MutexLock lock(mu_);
  return write_locked();
}

void Connection::run() {
  std::function<int()> housekeeping;
  for (;;) {
    const int timeout_ms = housekeeping ? housekeeping() : -1;
    pollfd fds[2] = {{socket_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    {
      MutexLock lock(mu_);
      if (closing_) break;
      if (!output_.empty()) fds[0].events |= POLLOUT;
      if (!housekeeping) housekeeping = housekeeping_;
    }
    if (poll(fds, 2, timeout_ms) < 0) continue;  // EINTR
    if (fds[1].revents != 0) {
      std::uint64_t ignored = 0;
      [[maybe_unused]] const auto got = ::read(wake_.get(), &ignored, sizeof ignored);
    }
    // A broken write is not the end: what the daemon said before it hung up is still to be read.
    if ((fds[0].revents & POLLOUT) && !send_queued()) {
      MutexLock lock(mu_);
      output_.clear();
      output_sent_ = 0;
    }
    if ((fds[0].revents & ~POLLOUT) && !receive()) break;
  }
  fail_all();
}

void Connection::fail_all() {
  const Error error = failure_.value_or(Error{ErrorCode::kUnreachable, "the client was closed"});
  std::vector<Done> outstanding;
  {
    MutexLock lock(mu_);
    gone_ = error;
    if (incoming_ && incoming_->request.done) {
      outstanding.push_back(std::move(incoming_->request.done));
    }
    for (auto& [id, request] : requests_) outstanding.push_back(std::move(request.done));
    requests_.clear();
    waiting_.clear();
    output_.clear();
  }
  incoming_.reset();
  shutdown(socket_.get(), SHUT_RDWR);  // the daemon need not wait for the descriptor to be closed
  for (Done& done : outstanding) done(error);
}

bool Connection::broken(Error error) {
  failure_ = std::move(error);
  return false;
}

void Connection::collect_fds(msghdr& message) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      fds_.emplace_back(fd);
    }
  }
}

bool Connection::receive() {
  for (int round = 0; round < kReceivesPerRound; ++round) {
    // The rest of a payload goes straight to where it is wanted; else to the input buffer, which
    // takes many small frames at once.
    const bool direct = incoming_.has_value();
    iovec iov{};
    if (direct) {
      iov.iov_base = incoming_->target + incoming_->received;
      iov.iov_len = incoming_->header.length - incoming_->received;
    } else {
      iov.iov_base = input_.data() + input_size_;
      iov.iov_len = input_.size() - input_size_;
    }
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxFdsAtOnce * sizeof(int))> control;
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return broken(Error{ErrorCode::kUnreachable,
                          "the connection to the daemon at " + path_ + " was lost",
                          got < 0 ? errno : ECONNRESET});
    }
    collect_fds(message);
    if (message.msg_flags & MSG_CTRUNC) {
      return broken(
          Error{ErrorCode::kIo, "this process has no room for the descriptors of a lease", EMFILE});
    }
    if (direct) {
      incoming_->received += static_cast<std::size_t>(got);
      if (incoming_->received == incoming_->header.length && !finish_frame()) return false;
    } else {
      input_size_ += static_cast<std::size_t>(got);
      if (!consume()) return false;
    }
  }
  return true;
}

bool Connection::consume() {
  std::size_t at = 0;
  while (input_size_ - at >= protocol::kHeaderSize) {
    const auto header = wire::decode_header({input_.data() + at, protocol::kHeaderSize});
    at += protocol::kHeaderSize;
    if (!begin_frame(header)) return false;
    const std::size_t part = std::min<std::size_t>(input_size_ - at, header.length);
    if (part > 0) std::memcpy(incoming_->target, input_.data() + at, part);
    incoming_->received = part;
    at += part;
    if (part < header.length) break;  // the rest is received in place; nothing follows here
    if (!finish_frame()) return false;
  }
  std::memmove(input_.data(), input_.data() + at, input_size_ - at);
  input_size_ -= at;
  return true;
}

bool Connection::begin_frame(const wire::FrameHeader& header) {
  if (!header.is_reply() || header.length > protocol::kMaxReplyPayload) {
    return broken(Error{ErrorCode::kProtocol, "the daemon sent what is not a reply"});
  }
  Incoming incoming;
  incoming.header = header;
  bool known = header.type == protocol::MessageType::kConnection && header.is_error();
  {
    MutexLock lock(mu_);
    const auto found = requests_.find(header.request_id);
    if (found != requests_.end()) {
      known = true;
      incoming.request = std::move(found->second);
      requests_.erase(found);
      --in_flight_;
      in_flight_bytes_ -= incoming.request.destination.size();
      admit_waiting_locked();
    }
  }
  incoming_ = std::move(incoming);
  Incoming& now = *incoming_;
  if (!known) return broken(Error{ErrorCode::kProtocol, "the daemon answers what was not asked"});
  if (header.is_error() || now.request.destination.empty()) {
    now.reply.payload.resize(header.length);
    now.target = reinterpret_cast<std::byte*>(now.reply.payload.data());
    return true;
  }
  if (header.length > now.request.destination.size()) {
    return broken(Error{ErrorCode::kProtocol, "the daemon sent more bytes than were asked for"});
  }
  now.target = now.request.destination.data();
  return true;
}

bool Connection::finish_frame() {
  Incoming incoming = std::move(*incoming_);
  incoming_.reset();
  if (incoming.header.is_error()) {
    Error error = wire::decode_error(incoming.reply.payload);
    if (incoming.header.type == protocol::MessageType::kConnection) {
      // The daemon is about to hang up, and this is why. All that waits fails with that reason.
      incoming_.emplace(std::move(incoming));
      return broken(std::move(error));
    }
    incoming.request.done(std::move(error));
    return true;
  }
  for (unsigned i = 0; i < incoming.header.fd_count(); ++i) {
    if (fds_.empty()) {
      incoming_.emplace(std::move(incoming));
      return broken(Error{ErrorCode::kProtocol, "the daemon promised descriptors and sent none"});
    }
    incoming.reply.fds.push_back(std::move(fds_.front()));
    fds_.pop_front();
  }
  if (!incoming.request.destination.empty()) incoming.reply.delivered = incoming.header.length;
  incoming.request.done(std::move(incoming.reply));
  return true;
}

}  // namespace rangecache::client
