#include <future>
#include <random>
#include <thread>

#include "server_fixture.h"

namespace rangecache::daemon {
namespace {

using std::chrono::milliseconds;

/// Reading what the daemon has in files: FakeService lends all of "x:file", nothing of "x:mem".
class ClientLeasesTest : public ServerFixture {
 protected:
  /// Reads until the library has a lease of its own: from then on no message is needed.
  static void read_until_leased(const File& file, FakeService& service) {
    std::vector<std::byte> buffer(100);
    for (int before = -1; before != service.reads;) {
      before = service.reads;
      ASSERT_TRUE(file.read(70'000, buffer));
    }
  }
  static void expect_read(const File& file, std::uint64_t offset, std::size_t size) {
    std::vector<std::byte> buffer(size);
    const auto got = file.read(offset, buffer);
    ASSERT_TRUE(got) << got.error().message();
    ASSERT_EQ(size, *got);
    expect_pattern(buffer, offset);
  }
};

TEST_F(ClientLeasesTest, WhatStandsInFilesIsReadWithoutAMessage) {
  start();
  const Client client = connect();
  const auto file = client.open("x:file");
  read_until_leased(*file, service_);
  const int reads = service_.reads;
  const int asked = service_.lendable_asked;
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) expect_read(*file, 65536 + random() % 19'000'000, 4096);
  std::vector<std::byte> buffer(5000);
  EXPECT_EQ(1000u, *file->read(FakeService::kSize - 1000, buffer)) << "ends with the file";
  expect_pattern(std::span(buffer).first(1000), FakeService::kSize - 1000);
  EXPECT_EQ(0u, *file->read(FakeService::kSize, buffer));
  EXPECT_EQ(service_.reads, reads);
  EXPECT_EQ(service_.lendable_asked, asked);
  // What lies before the lease is had by message, and then leased as well.
  expect_read(*file, 65'000, 1000);
  EXPECT_EQ(service_.reads, reads + 1);
}

TEST_F(ClientLeasesTest, WhatIsInNoFileIsAskedForLessAndLessOften) {
  start();
  const Client client = connect();
  const auto file = client.open("x:mem");
  for (int i = 0; i < 1000; ++i) expect_read(*file, 4096 * static_cast<std::uint64_t>(i), 4096);
  EXPECT_EQ(service_.reads, 1000);
  EXPECT_LT(service_.lendable_asked, 25);  // after 1, 2, 4, ... 64 more, then after each 64
}

TEST_F(ClientLeasesTest, ALeaseThatIsUsedIsRenewedAndNoReadFails) {
  start();
  const Client client = connect({.lease_term = milliseconds(40)});
  const auto file = client.open("x:file");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (service_.lendable_asked < 5 && std::chrono::steady_clock::now() < end)
    expect_read(*file, 100'000, 4096);
  EXPECT_GE(service_.lendable_asked, 5);
}

TEST_F(ClientLeasesTest, ALeaseThatIsNotUsedIsGivenBack) {
  start();
  const Client client = connect({.lease_term = milliseconds(40)});
  const auto file = client.open("x:file");
  expect_read(*file, 0, 100);
  while (service_.lendable_asked == 0) std::this_thread::yield();
  while (service_.leased_slices > 0) std::this_thread::yield();
  expect_read(*file, 0, 100);  // and had again
}

TEST_F(ClientLeasesTest, AFileThatIsClosedGivesItsLeasesBack) {
  start();
  const Client client = connect();
  {
    const auto file = client.open("x:file");
    read_until_leased(*file, service_);
    EXPECT_GT(service_.leased_slices, 0);
  }
  while (service_.leased_slices > 0) std::this_thread::yield();
}

TEST_F(ClientLeasesTest, DescriptorsAreBoundedOverAllFiles) {
  start();
  const Client client = connect({.max_lease_descriptors = 3});
  std::vector<File> files;
  for (int i = 0; i < 10; ++i) {
    auto file = client.open("x:file");
    ASSERT_TRUE(file);
    read_until_leased(*file, service_);
    files.push_back(std::move(*file));
  }
  while (service_.leased_slices > 3) std::this_thread::yield();
  for (const File& file : files) expect_read(file, 123'456, 4096);
}

TEST_F(ClientLeasesTest, WithoutDescriptorsEveryReadAsks) {
  start();
  const Client client = connect({.max_lease_descriptors = 0});
  const auto file = client.open("x:file");
  for (int i = 0; i < 20; ++i) expect_read(*file, 0, 100);
  EXPECT_EQ(service_.reads, 20);
  EXPECT_EQ(service_.lendable_asked, 0);
}

TEST_F(ClientLeasesTest, LeasesSurviveTheDaemonUntilTheirTermIsOver) {
  start();
  const Client client = connect();
  const auto file = client.open("x:file");
  read_until_leased(*file, service_);
  server_.reset();
  expect_read(*file, 70'000, 4096);
  std::vector<std::byte> buffer(100);
  EXPECT_EQ(file->read(0, buffer).error().code, ErrorCode::kUnreachable);
}

TEST_F(ClientLeasesTest, ManyThreadsReadWhileLeasesComeAndGo) {
  start();
  const Client client = connect({.max_lease_descriptors = 1, .lease_term = milliseconds(5)});
  const auto one = client.open("x:file");
  const auto two = client.open("x:file");
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 500; ++i)
        expect_read(t % 2 ? *one : *two, random() % (FakeService::kSize - 5000), 1 + i * 7);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(ClientLeasesTest, ABatchGivesEachPartItsResult) {
  start();
  const Client client = connect();
  for (const char* url : {"x:mem", "x:file"}) {
    const auto file = client.open(url);
    constexpr std::size_t kParts = 5000;
    std::vector<std::byte> memory(kParts * 512);
    std::vector<File::ReadPart> parts;
    for (std::size_t i = 0; i < kParts; ++i)
      parts.push_back({i * 4001, std::span(memory).subspan(i * 512, 512)});
    parts.push_back({FakeService::kSize - 2, std::span(memory).first(0)});
    parts.push_back({FakeService::kSize + 2, std::span(memory).first(1)});
    for (int round = 0; round < 2; ++round) {
      std::fill(memory.begin(), memory.end(), std::byte{0});
      const auto results = file->read_batch(parts);
      ASSERT_EQ(results.size(), kParts + 2);
      for (std::size_t i = 0; i < kParts; ++i) {
        ASSERT_TRUE(results[i]);
        ASSERT_EQ(*results[i], 512u);
        expect_pattern(parts[i].buffer, parts[i].offset);
      }
      EXPECT_EQ(*results[kParts], 0u);
      EXPECT_EQ(*results[kParts + 1], 0u);
    }
    EXPECT_TRUE(file->read_batch({}).empty());
  }
}

TEST_F(ClientLeasesTest, ABatchThatIsCancelledEnds) {
  start();
  const Client client = connect();
  const auto file = client.open("x:hang");
  std::vector<std::byte> memory(1000);
  const std::vector<File::ReadPart> parts(600, {0, memory});
  std::promise<std::vector<Result<std::size_t>>> done;
  auto pending =
      file->read_batch_async(parts, [&](auto results) { done.set_value(std::move(results)); });
  service_.wait_hanging(256);  // the rest waits for room among the requests in flight
  pending.cancel();
  for (const auto& result : done.get_future().get())
    EXPECT_EQ(result.error().code, ErrorCode::kCancelled);
}

TEST_F(ClientLeasesTest, ACallbackMayReadOnForever) {
  start();
  const Client client = connect();
  const auto file = client.open("x:file");
  read_until_leased(*file, service_);
  std::vector<std::byte> buffer(10);
  std::promise<void> done;
  int left = 100'000;
  std::function<void(Result<std::size_t>)> next = [&](Result<std::size_t> got) {
    if (!got || --left == 0) return done.set_value();
    file->read_async(70'000 + static_cast<std::uint64_t>(left), buffer, next);
  };
  file->read_async(70'000, buffer, next);
  done.get_future().wait();
  EXPECT_EQ(left, 0);
}

TEST_F(ClientLeasesTest, AMappingIsTheObjectsBytes) {
  start();
  const Client client = connect();
  for (const char* url : {"x:mem", "x:file"}) {
    const auto file = client.open(url);
    for (const ByteRange range :
         {ByteRange{0, FakeService::kSize}, ByteRange{0, FakeService::kSize + 10},
          ByteRange{4096, 12288}, ByteRange{5000, 123'457}, ByteRange{65'535, 65'537},
          ByteRange{FakeService::kSize - 1, FakeService::kSize}, ByteRange{70'000, 70'000}}) {
      auto mapping = file->map(range);
      ASSERT_TRUE(mapping) << mapping.error().message();
      const Mapping moved = std::move(*mapping);
      EXPECT_EQ(moved.range(), range.intersect({0, FakeService::kSize}));
      ASSERT_EQ(moved.bytes().size(), moved.range().size());
      expect_pattern(moved.bytes(), range.begin);
      EXPECT_EQ(moved.copied_bytes(), url == std::string("x:mem") ? moved.bytes().size() : 0);
    }
  }
  while (service_.leased_slices > 0) std::this_thread::yield();
}

TEST_F(ClientLeasesTest, AMappingOutlivesItsFileAndKeepsTheLease) {
  start();
  const Client client = connect();
  auto mapping = client.open("x:file")->map({0, 1'000'000});
  ASSERT_TRUE(mapping);
  ASSERT_TRUE(client.ping());
  EXPECT_GT(service_.leased_slices, 0);
  expect_pattern(mapping->bytes(), 0);
  mapping = client.open("x:file")->map({0, 1});
  ASSERT_TRUE(client.ping());
}

}  // namespace
}  // namespace rangecache::daemon
