#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <future>
#include <random>

#include "server_fixture.h"

namespace rangecache::daemon {
namespace {

class SocketServerTest : public ServerFixture {
 protected:
  UniqueFd raw_connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(0, ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
    return fd;
  }
  static std::string receive(int fd, std::size_t size) {
    std::string bytes(size, '\0');
    EXPECT_EQ(static_cast<ssize_t>(size), recv(fd, bytes.data(), size, MSG_WAITALL));
    return bytes;
  }
  /// Its payload.
  static std::string receive_frame(int fd) {
    return receive(fd, wire::decode_header(receive(fd, protocol::kHeaderSize)).length);
  }
  static std::string read_to_end(int fd) {
    std::string all;
    char buffer[4096];
    for (;;) {
      const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) return all;
      all.append(buffer, static_cast<std::size_t>(got));
    }
  }
  static void send_all(int fd, const std::string& data) {
    ASSERT_EQ(static_cast<ssize_t>(data.size()), send(fd, data.data(), data.size(), MSG_NOSIGNAL));
  }
  static std::string frame(std::uint16_t type, std::uint64_t id, const std::string& payload) {
    wire::FrameHeader header;
    header.length = static_cast<std::uint32_t>(payload.size());
    header.type = static_cast<protocol::MessageType>(type);
    header.request_id = id;
    return wire::encode(header) + payload;
  }
};

TEST_F(SocketServerTest, ReadsGiveTheBytesOfTheRangeFromMemoryAndFromFiles) {
  start();
  const Client client = connect();
  for (const char* url : {"x:mem", "x:file"}) {
    const auto file = client.open(url);
    ASSERT_TRUE(file) << file.error().message();
    EXPECT_EQ(FakeService::kSize, file->size());
    EXPECT_EQ("\"v1\"", file->validator());
    for (const std::uint64_t offset :
         {std::uint64_t{0}, std::uint64_t{4095}, FakeService::kSize - 3}) {
      std::vector<std::byte> buffer(10'000);
      const auto got = file->read(offset, buffer);
      ASSERT_TRUE(got) << got.error().message();
      ASSERT_EQ(std::min<std::uint64_t>(10'000, FakeService::kSize - offset), *got);
      expect_pattern(std::span(buffer).first(*got), offset);
    }
  }
}

TEST_F(SocketServerTest, AReadOfTheWholeObjectIsSplitAndComesWhole) {
  start();
  const Client client = connect();
  const auto file = client.open("x:file");
  std::vector<std::byte> buffer(FakeService::kSize + 100);
  const auto got = file->read(0, buffer);
  ASSERT_TRUE(got) << got.error().message();
  ASSERT_EQ(FakeService::kSize, *got);
  expect_pattern(std::span(buffer).first(*got), 0);
}

TEST_F(SocketServerTest, RepliesComeInAnyOrderAndAStuckReadBlocksNoOther) {
  start();
  const Client client = connect();
  const auto stuck = client.open("x:hang");
  const auto file = client.open("x:mem");
  std::vector<std::vector<std::byte>> buffers(20, std::vector<std::byte>(1000));
  std::vector<std::promise<std::size_t>> results(20);
  for (std::size_t i = 0; i < 20; ++i) {
    stuck->read_async(i * 777, buffers[i], [&results, i](Result<std::size_t> got) {
      results[i].set_value(got ? *got : 0);
    });
  }
  std::vector<std::byte> other(100);
  ASSERT_TRUE(file->read(5, other));
  expect_pattern(other, 5);
  service_.wait_hanging(20);
  service_.release_hanging();
  for (std::size_t i = 0; i < 20; ++i) {
    ASSERT_EQ(1000u, results[i].get_future().get());
    expect_pattern(buffers[i], i * 777);
  }
}

TEST_F(SocketServerTest, ACancelledReadEndsAndTheServiceIsTold) {
  start();
  const Client client = connect();
  const auto file = client.open("x:hang");
  std::vector<std::byte> buffer(10);
  std::promise<ErrorCode> result;
  auto pending = file->read_async(0, buffer, [&](Result<std::size_t> got) {
    result.set_value(got ? ErrorCode::kInternal : got.error().code);
  });
  service_.wait_hanging(1);
  pending.cancel();
  EXPECT_EQ(ErrorCode::kCancelled, result.get_future().get());
  service_.wait_cancelled(1);
  EXPECT_TRUE(client.ping());
}

TEST_F(SocketServerTest, AClientThatLeavesHasItsReadsCancelledAndItsFilesClosed) {
  start();
  std::vector<std::byte> buffer(10);
  std::atomic<bool> failed{false};
  {
    const Client client = connect();
    const auto file = client.open("x:hang");
    file->read_async(0, buffer, [&](Result<std::size_t> got) { failed = !got; });
    service_.wait_hanging(1);
  }
  EXPECT_TRUE(failed);
  service_.wait_cancelled(1);
  while (service_.open_files > 0) std::this_thread::yield();
}

TEST_F(SocketServerTest, ALeaseGivesTheBytesAndIsHeldUntilItIsDropped) {
  start();
  const Client client = connect();
  const auto file = client.open("x:file");
  {
    const auto lease = file->lease({1000, 500'000});
    ASSERT_TRUE(lease) << lease.error().message();
    ASSERT_EQ((ByteRange{1000, 500'000}), lease->range());
    ASSERT_EQ(1u, lease->slices().size());
    ASSERT_GE(lease->slices()[0].fd, 0);
    EXPECT_GT(service_.leased_slices, 0);
    std::vector<std::byte> buffer(5000);
    const auto got = lease->pread(499'000, buffer);
    ASSERT_TRUE(got);
    ASSERT_EQ(1000u, *got);
    expect_pattern(std::span(buffer).first(1000), 499'000);
  }
  while (service_.leased_slices > 0) std::this_thread::yield();
}

TEST_F(SocketServerTest, ALeaseOfBytesInMemoryComesInline) {
  start();
  const Client client = connect();
  const auto file = client.open("x:mem");
  const auto lease = file->lease({10, 20});
  ASSERT_TRUE(lease);
  ASSERT_EQ(1u, lease->slices().size());
  EXPECT_LT(lease->slices()[0].fd, 0);
  std::vector<std::byte> buffer(10);
  ASSERT_EQ(10u, *lease->pread(10, buffer));
  expect_pattern(buffer, 10);
}

TEST_F(SocketServerTest, LeasesAreGivenBackWhenTheClientDies) {
  start();
  auto client = std::make_optional(connect());
  const auto file = client->open("x:file");
  const auto lease = file->lease({0, 100});
  ASSERT_TRUE(lease);
  client.reset();
  while (service_.leased_slices > 0) std::this_thread::yield();
  std::vector<std::byte> buffer(100);
  ASSERT_TRUE(lease->pread(0, buffer));  // the descriptor is the client's own
  expect_pattern(buffer, 0);
}

TEST_F(SocketServerTest, AdministrationCarriesEveryField) {
  start();
  const Client client = connect();
  EXPECT_EQ(static_cast<std::uint32_t>(getpid()), client.ping()->pid);
  EXPECT_EQ(42u, client.stat("x:a")->cached_bytes);
  EXPECT_EQ(ErrorCode::kNotFound, client.stat("nothing").error().code);
  EXPECT_EQ("no object nothing", client.stat("nothing").error().context);
  const auto entries = client.list("x:");
  ASSERT_EQ(2u, entries->size());
  EXPECT_EQ("a file", (*entries)[0].name);
  EXPECT_EQ(7u, (*entries)[0].size);
  EXPECT_TRUE((*entries)[1].is_directory);
  EXPECT_FALSE((*entries)[1].size);
  EXPECT_EQ("p/a", (*client.cached("p/"))[0].info.url);
  EXPECT_EQ((ByteRange{20, 30}), client.map("u")->chunks[1]);
  EXPECT_EQ((ByteRange{30, 40}), client.map("u")->flights[0]);
  EXPECT_EQ(3u, client.evict("")->bytes);
  EXPECT_TRUE(client.pin("x:a", "me", 12345));
  const auto pins = client.pins();
  ASSERT_EQ(1u, pins->size());
  EXPECT_EQ("x:a", (*pins)[0].prefix);
  EXPECT_EQ("me", (*pins)[0].owner);
  EXPECT_EQ(12345, (*pins)[0].expires_s);
  EXPECT_EQ(77u, (*pins)[0].cached_bytes);
  EXPECT_EQ(1u, *client.unpin("x:a", ""));
  EXPECT_EQ("there", client.verify("x:", true, "")->next);
  const auto verified = client.verify("x:", true, "there");
  EXPECT_EQ(500u, verified->bytes);
  EXPECT_EQ(1500u, verified->total_bytes);
  ASSERT_EQ(1u, verified->bad.size());
  EXPECT_EQ("x:a", verified->bad[0].url);
  EXPECT_EQ((ByteRange{3, 9}), verified->bad[0].range);
  EXPECT_TRUE(verified->bad[0].repaired);
  EXPECT_EQ("", verified->next);
  EXPECT_EQ("/m", client.mount("x:", "/m")->mountpoint);
  EXPECT_EQ("/m", client.unmount("/m")->mountpoint);
  EXPECT_EQ(service_.stats_json(), *client.stats_json());
  EXPECT_EQ(service_.prometheus_text(), *client.prometheus_text());
  EXPECT_TRUE(client.shutdown());
  EXPECT_TRUE(service_.shut_down);
}

TEST_F(SocketServerTest, AnUnknownMessageIsAnErrorReplyAndTheConnectionLives) {
  start();
  const UniqueFd fd = raw_connect();
  send_all(fd.get(), wire::encode(wire::Greeting{}) + frame(999, 5, "?") + frame(1, 6, ""));
  shutdown(fd.get(), SHUT_WR);
  const std::string answer = read_to_end(fd.get()).substr(protocol::kGreetingSize);
  const auto first = wire::decode_header(answer);
  EXPECT_TRUE(first.is_error());
  EXPECT_EQ(5u, first.request_id);
  const auto second = wire::decode_header(std::string_view(answer).substr(16 + first.length));
  EXPECT_FALSE(second.is_error());
  EXPECT_EQ(6u, second.request_id);
}

TEST_F(SocketServerTest, AnOverlongFrameIsAnErrorAndTheEnd) {
  start();
  const UniqueFd fd = raw_connect();
  wire::FrameHeader header;
  header.length = UINT32_MAX;
  header.type = protocol::MessageType::kOpen;
  send_all(fd.get(), wire::encode(wire::Greeting{}) + wire::encode(header));
  const std::string answer = read_to_end(fd.get()).substr(protocol::kGreetingSize);
  EXPECT_TRUE(wire::decode_header(answer).is_error());
  EXPECT_EQ(ErrorCode::kProtocol,
            wire::decode_error(std::string_view(answer).substr(protocol::kHeaderSize)).code);
  EXPECT_TRUE(connect().ping());
}

TEST_F(SocketServerTest, ANewerClientIsToldWhyItIsRefused) {
  start();
  const UniqueFd fd = raw_connect();
  wire::Greeting greeting;
  greeting.version_min = greeting.version_max = 77;
  send_all(fd.get(), wire::encode(greeting));
  const std::string answer = read_to_end(fd.get()).substr(protocol::kGreetingSize);
  EXPECT_EQ(ErrorCode::kUnsupported,
            wire::decode_error(std::string_view(answer).substr(protocol::kHeaderSize)).code);
}

TEST_F(SocketServerTest, HostileBytesHurtNobodyElse) {
  start();
  const Client honest = connect();
  std::mt19937 random(20240607);
  for (int round = 0; round < 2000; ++round) {
    const UniqueFd fd = raw_connect();
    std::string data = round % 8 ? wire::encode(wire::Greeting{}) : std::string();
    for (int f = 0; f < 4; ++f) {
      std::string payload(random() % 40, '\0');
      for (char& c : payload) c = static_cast<char>(random() % 3 ? 0 : random());
      // No shutdown (17): it would be obeyed.
      data += frame(static_cast<std::uint16_t>(random() % 17), random() % 3, payload);
      if (random() % 4 == 0) data.resize(data.size() - random() % 8);
    }
    [[maybe_unused]] const auto sent = send(fd.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (round % 50 == 0) {
      ASSERT_TRUE(honest.ping()) << "round " << round;
    }
  }
  EXPECT_TRUE(honest.ping());
}

TEST_F(SocketServerTest, DescriptorsThatAClientSendsAreClosed) {
  start();
  int pipe_fds[2];
  ASSERT_EQ(0, pipe2(pipe_fds, O_CLOEXEC));
  UniqueFd reader(pipe_fds[0]);
  UniqueFd writer(pipe_fds[1]);
  const UniqueFd fd = raw_connect();
  std::string data = wire::encode(wire::Greeting{}) + frame(1, 1, "");
  iovec iov{data.data(), data.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int raw = writer.get();
  std::memcpy(CMSG_DATA(header), &raw, sizeof raw);
  ASSERT_GT(sendmsg(fd.get(), &message, MSG_NOSIGNAL), 0);
  writer.reset();
  char byte = 0;
  EXPECT_EQ(0, ::read(reader.get(), &byte, 1));  // end of file: no copy of the writer is left
}

TEST_F(SocketServerTest, AClientThatTakesNothingIsShed) {
  SocketServer::Options options;
  options.deadlines.stall_ms = 50;
  start(options);
  const UniqueFd fd = raw_connect();
  wire::Writer url;
  url.string("x:mem");
  send_all(fd.get(), wire::encode(wire::Greeting{}) + frame(2, 1, url.take()));
  std::string opened(protocol::kGreetingSize + protocol::kHeaderSize, '\0');
  ASSERT_EQ(static_cast<ssize_t>(opened.size()),
            recv(fd.get(), opened.data(), opened.size(), MSG_WAITALL));
  wire::Writer request;
  request.u64(1);
  request.u64(0);
  request.u32(4 * 1024 * 1024);
  std::string requests;
  const std::string payload = request.take();
  for (std::uint64_t i = 2; i < 12; ++i) requests += frame(4, i, payload);
  send_all(fd.get(), requests);
  Counter& shed = metrics_.counter("rangecache_socket_shed_total", "");
  while (shed.value() == 0) std::this_thread::yield();
  while (service_.open_files > 0) std::this_thread::yield();
}

TEST_F(SocketServerTest, AClientThatIsSlowHoldsNoMemoryOfTheCache) {
  SocketServer::Options options;
  options.deadlines.hello_ms = 40;  // so often it looks
  start(options);
  const UniqueFd fd = raw_connect();
  wire::Writer url;
  url.string("x:mem");
  send_all(fd.get(), wire::encode(wire::Greeting{}) + frame(2, 1, url.take()));
  EXPECT_EQ(receive(fd.get(), protocol::kGreetingSize).size(), protocol::kGreetingSize);
  receive_frame(fd.get());
  std::string requests;
  constexpr std::uint32_t kLength = 1024 * 1024;
  for (std::uint64_t i = 0; i < 8; ++i) {
    wire::Writer request;
    request.u64(1);
    request.u64(i * kLength);
    request.u32(kLength);
    requests += frame(4, 2 + i, request.take());
  }
  send_all(fd.get(), requests);
  while (service_.reads < 8) std::this_thread::yield();
  while (service_.memory_slices > 0) std::this_thread::yield();

  for (std::uint64_t i = 0; i < 8; ++i) {
    const std::string payload = receive_frame(fd.get());
    ASSERT_EQ(payload.size(), kLength);
    expect_pattern(std::as_bytes(std::span(payload)), i * kLength);
  }
}

TEST_F(SocketServerTest, AClientThatDoesNotGreetIsShed) {
  SocketServer::Options options;
  options.deadlines.hello_ms = 20;
  start(options);
  const UniqueFd fd = raw_connect();
  EXPECT_EQ(protocol::kGreetingSize, read_to_end(fd.get()).size());
}

TEST_F(SocketServerTest, TheSocketIsPrivateAndGoneAfterStop) {
  start();
  struct stat info {};
  ASSERT_EQ(0, stat(path_.c_str(), &info));
  EXPECT_EQ(0600u, info.st_mode & 07777);
  ASSERT_EQ(0, stat((directory_ + "/run").c_str(), &info));
  EXPECT_EQ(0700u, info.st_mode & 07777);
  server_->stop();
  EXPECT_NE(0, stat(path_.c_str(), &info));
  const auto client = Client::connect({.socket_path = path_});
  ASSERT_FALSE(client);
  EXPECT_EQ(ErrorCode::kUnreachable, client.error().code);
  EXPECT_NE(std::string::npos, client.error().context.find("start rangecached"));
}

TEST_F(SocketServerTest, ASecondServerLeavesTheFirstAlone) {
  start();
  const auto second = SocketServer::listen(path_, service_, metrics_);
  ASSERT_FALSE(second);
  EXPECT_EQ(ErrorCode::kBusy, second.error().code);
  EXPECT_TRUE(connect().ping());
}

TEST_F(SocketServerTest, AStaleSocketIsReplacedAndAnythingElseIsNot) {
  mkdir((directory_ + "/run").c_str(), 0700);
  {
    UniqueFd dead(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(0, bind(dead.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
  }
  start();
  EXPECT_TRUE(connect().ping());
  server_.reset();
  ASSERT_EQ(0, symlink("/etc/passwd", path_.c_str()));
  EXPECT_FALSE(SocketServer::listen(path_, service_, metrics_));
  unlink(path_.c_str());
}

TEST_F(SocketServerTest, ADirectoryThatOthersMayWriteToIsRefused) {
  mkdir((directory_ + "/run").c_str(), 0700);
  chmod((directory_ + "/run").c_str(), 0777);
  const auto server = SocketServer::listen(path_, service_, metrics_);
  ASSERT_FALSE(server);
  EXPECT_EQ(ErrorCode::kPermissionDenied, server.error().code);
}

}  // namespace
}  // namespace rangecache::daemon
