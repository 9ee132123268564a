#include "daemon/api_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/log.h"

namespace rangecache::daemon {
namespace {

constexpr std::size_t kReadStep = 64 * 1024;
constexpr std::size_t kMaxScmFds = 253;  // SCM_MAX_FD of Linux

std::string our_greeting(const ClientLimits& limits) {
  wire::Greeting greeting;
  greeting.max_payload = protocol::kMaxRequestPayload;
  greeting.max_read_length = protocol::kMaxReadLength;
  greeting.max_lease_length = protocol::kMaxLeaseLength;
  greeting.max_in_flight = limits.in_flight;
  greeting.max_handles = limits.handles;
  return wire::encode(greeting);
}

OutgoingFrame error_frame(std::uint64_t request_id, const Error& error) {
  OutgoingFrame frame;
  frame.flags = protocol::kFlagReply | protocol::kFlagError;
  frame.request_id = request_id;
  frame.head = wire::encode(error);
  return frame;
}

// Nobody has a use for descriptors of a client's: none may stay open here.
void close_received_fds(msghdr& message) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      ::close(fd);
    }
  }
}

}  // namespace

ApiConnection::ApiConnection(UniqueFd socket, std::shared_ptr<EventLoop> loop, Service& service,
                             const ClientLimits& limits, const Deadlines& deadlines,
                             ApiCounters counters, Closed closed)
    : socket_(std::move(socket)),
      loop_(std::move(loop)),
      limits_(limits),
      deadlines_(deadlines),
      counters_(counters),
      closed_(std::move(closed)) {
  session_ = std::make_shared<Session>(
      loop_, service, limits_, [this](OutgoingFrame f) { on_frame_from_session(std::move(f)); });
}

ApiConnection::~ApiConnection() { session_->close(); }

void ApiConnection::start() {
  started_ns_ = progress_ns_ = system_clock().monotonic_ns();
  output_.push_raw(our_greeting(limits_));
  interest_ = EPOLLIN;
  loop_->watch(socket_.get(), interest_, [weak = weak_from_this()](std::uint32_t events) {
    if (const auto self = weak.lock()) self->on_events(events);
  });
  settle();
}

void ApiConnection::refuse(UniqueFd socket, const ClientLimits& limits, const Error& why) {
  OutputQueue output;
  output.push_raw(our_greeting(limits));
  output.push(error_frame(0, why));
  [[maybe_unused]] const auto sent = output.flush(socket.get());
}

void ApiConnection::on_events(std::uint32_t events) {
  const auto self = shared_from_this();  // end() lets the server forget us
  if ((events & EPOLLIN) && !ending_ && has_room() && !receive()) return end();
  if (events & (EPOLLHUP | EPOLLERR)) return end();
  settle();
}

bool ApiConnection::has_room() const {
  // A client that keeps to the limits is always heard: its next message may be a CANCEL.
  return session_->in_flight() <= limits_.in_flight &&
         session_->in_flight_bytes() + output_.size_bytes() < limits_.backlog_bytes;
}

bool ApiConnection::receive() {
  std::array<char, kReadStep> buffer;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMaxScmFds * sizeof(int))> control;
  iovec iov{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  close_received_fds(message);
  if (got == 0) return false;
  input_.append(buffer.data(), static_cast<std::size_t>(got));
  return true;
}

void ApiConnection::serve_input() {
  if (serving_ || ended_) return;
  serving_ = true;
  while (!ending_ && !ended_ && has_room()) {
    if (!(greeted_ ? take_frame() : take_greeting())) break;
  }
  serving_ = false;
  input_.erase(0, consumed_);
  consumed_ = 0;
}

bool ApiConnection::take_greeting() {
  if (unread().size() < protocol::kGreetingSize) return false;
  const auto theirs = wire::decode_greeting(unread().substr(0, protocol::kGreetingSize));
  consumed_ += protocol::kGreetingSize;
  if (!theirs) {
    fail(0, theirs.error());
    return false;
  }
  const auto version = wire::agree_on_version(wire::Greeting{}, *theirs);
  if (!version) {
    fail(0, version.error());
    return false;
  }
  greeted_ = true;
  return true;
}

bool ApiConnection::take_frame() {
  if (unread().size() < protocol::kHeaderSize) return false;
  const wire::FrameHeader header = wire::decode_header(unread());
  if (header.length > protocol::kMaxRequestPayload) {
    fail(header.request_id,
         Error{ErrorCode::kProtocol, "a request of " + std::to_string(header.length) +
                                         " bytes is larger than the limit of " +
                                         std::to_string(protocol::kMaxRequestPayload)});
    return false;
  }
  const std::size_t size = protocol::kHeaderSize + header.length;
  if (unread().size() < size) return false;
  counters_.requests.add();
  const auto handled =
      session_->handle(header, unread().substr(protocol::kHeaderSize, header.length));
  consumed_ += size;
  if (!handled) {
    fail(header.request_id, handled.error());
    return false;
  }
  return true;
}

void ApiConnection::fail(std::uint64_t request_id, const Error& error) {
  counters_.protocol_errors.add();
  log_warning("socket: client dropped: {}", error.message());
  output_.push(error_frame(request_id, error));
  ending_ = true;
  session_->close();
}

void ApiConnection::on_frame_from_session(OutgoingFrame frame) {
  if (ending_ || ended_) return;
  if (output_.empty()) progress_ns_ = system_clock().monotonic_ns();
  output_.push(std::move(frame));
  if (serving_) return;
  const auto self = shared_from_this();
  settle();
}

void ApiConnection::flush() {
  const std::uint64_t before = output_.written_bytes();
  const auto state = output_.flush(socket_.get());
  if (output_.written_bytes() != before) progress_ns_ = system_clock().monotonic_ns();
  if (!state) {
    log_debug("socket: client dropped: {}", state.error().message());
    end();
  }
}

void ApiConnection::settle() {
  if (ended_) return;
  serve_input();
  flush();
  if (ended_) return;
  if (has_room()) {  // what flushing made room for
    serve_input();
    flush();
  }
  if (ended_) return;
  if (ending_ && output_.empty()) return end();
  const std::uint32_t wanted =
      ((!ending_ && has_room()) ? EPOLLIN : 0u) | (output_.empty() ? 0u : EPOLLOUT);
  if (wanted != interest_) loop_->modify(socket_.get(), interest_ = wanted);
}

void ApiConnection::check_deadlines(std::int64_t now_ns) {
  const auto self = shared_from_this();
  if (ended_) return;
  const bool silent = !greeted_ && now_ns - started_ns_ > deadlines_.hello_ms * 1'000'000;
  const bool stalled = !output_.empty() && now_ns - progress_ns_ > deadlines_.stall_ms * 1'000'000;
  if (!silent && !stalled) return output_.let_go_of_memory();
  counters_.shed.add();
  log_warning("socket: client dropped: it {}",
              silent ? "did not greet in time" : "does not take its replies");
  end();
}

void ApiConnection::end() {
  if (ended_) return;
  const int fd = socket_.get();
  close();
  if (closed_) closed_(fd);
}

void ApiConnection::close() {
  if (ended_) return;
  ended_ = true;
  session_->close();
  [[maybe_unused]] const auto flushed = output_.flush(socket_.get());
  loop_->unwatch(socket_.get());
  socket_.reset();
}

}  // namespace rangecache::daemon
