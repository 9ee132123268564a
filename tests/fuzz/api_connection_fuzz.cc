// Input: a byte that says what follows: 0: all that a client sends. Else, after a right greeting,
// frames: type, request id and length of the payload (a byte each), payload; type 255: bytes as
// they are.
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <future>
#include <map>
#include <string>

#include "base/check.h"
#include "base/log.h"
#include "daemon/api_connection.h"
#include "tests/fuzz/input.h"
#include "tests/unit/daemon/fake_service.h"

namespace rangecache::daemon {
namespace {

std::string stream_of(std::string_view input) {
  if (fuzz::take_byte(input) == 0) return std::string(input);
  std::string stream = wire::encode(wire::Greeting{});
  while (!input.empty()) {
    wire::FrameHeader header;
    const std::uint8_t type = fuzz::take_byte(input);
    header.type = static_cast<protocol::MessageType>(type);
    header.request_id = fuzz::take_byte(input);
    const std::string_view payload = input.substr(0, fuzz::take_byte(input));
    header.length = static_cast<std::uint32_t>(payload.size());
    if (type != 255) stream += wire::encode(header);
    stream += payload;
    input.remove_prefix(payload.size());
  }
  return stream;
}

/// Everything until the other side hangs up; descriptors are closed.
std::string receive_all(int socket) {
  std::string all;
  for (;;) {
    std::array<char, 64 * 1024> buffer;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(16 * sizeof(int))> control;
    iovec iov{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got <= 0) return all;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      for (std::size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, reinterpret_cast<const char*>(c) + at, sizeof fd);
        ::close(fd);
      }
    }
    all.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

/// How many requests of each id there may be in what a client has sent.
std::map<std::uint64_t, int> requests_in(std::string_view stream) {
  std::map<std::uint64_t, int> requests{{0, 1}};  // of the connection itself
  stream.remove_prefix(std::min(stream.size(), protocol::kGreetingSize));
  while (stream.size() >= protocol::kHeaderSize) {
    const wire::FrameHeader header = wire::decode_header(stream);
    ++requests[header.request_id];
    stream.remove_prefix(
        std::min<std::size_t>(stream.size(), protocol::kHeaderSize + header.length));
  }
  return requests;
}

/// A greeting, then replies, each to a request and with its payload; the last may be cut off.
void check_replies(std::string_view replies, std::map<std::uint64_t, int> requests) {
  CHECK(wire::decode_greeting(replies.substr(0, protocol::kGreetingSize)));
  replies.remove_prefix(protocol::kGreetingSize);
  while (replies.size() >= protocol::kHeaderSize) {
    const wire::FrameHeader header = wire::decode_header(replies);
    CHECK(header.is_reply() && header.length <= protocol::kMaxReplyPayload);
    CHECK(header.fd_count() <= protocol::kMaxLeaseFds);
    CHECK(--requests[header.request_id] >= 0);
    if (replies.size() < protocol::kHeaderSize + header.length) return;
    const std::string_view payload = replies.substr(protocol::kHeaderSize, header.length);
    if (header.is_error()) CHECK(wire::encode(wire::decode_error(payload)) == payload);
    replies.remove_prefix(protocol::kHeaderSize + header.length);
  }
}

/// A server of one client at a time.
class Server {
 public:
  Server() : loop_(std::make_shared<EventLoop>("rc-fuzz")) { set_log_level(LogLevel::kOff); }

  void serve(const std::string& stream) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    UniqueFd ours(pair[0]);
    UniqueFd theirs(pair[1]);
    run([&] {
      connection_ = std::make_shared<ApiConnection>(
          std::move(theirs), loop_, service_,
          ClientLimits{.in_flight = 8, .handles = 4, .leases = 4}, ApiConnection::Deadlines{},
          ApiCounters{requests_, errors_, shed_}, [](int) {});
      connection_->start();
    });
    CHECK(::write(ours.get(), stream.data(), stream.size()) == static_cast<ssize_t>(stream.size()));
    CHECK(shutdown(ours.get(), SHUT_WR) == 0);
    check_replies(receive_all(ours.get()), requests_in(stream));
    run([&] { connection_.reset(); });
    CHECK(service_.open_files == 0 && service_.leased_slices == 0);
    service_.pinned.clear();
  }

 private:
  void run(UniqueFunction<void()> task) {
    std::promise<void> done;
    loop_->post([&] {
      task();
      done.set_value();
    });
    done.get_future().wait();
  }

  FakeService service_;
  Counter requests_, errors_, shed_;
  std::shared_ptr<ApiConnection> connection_;  ///< loop thread only
  const std::shared_ptr<EventLoop> loop_;
};

}  // namespace
}  // namespace rangecache::daemon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static rangecache::daemon::Server server;
  const std::string stream = rangecache::daemon::stream_of(rangecache::fuzz::text_of(data, size));
  if (stream.size() <= 64 * 1024) server.serve(stream);
  return 0;
}
