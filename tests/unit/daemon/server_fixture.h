#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include "daemon/socket_server.h"
#include "fake_service.h"
#include "rangecache/client.h"

namespace rangecache::daemon {

/// A daemon's socket over a FakeService.
class ServerFixture : public ::testing::Test {
 protected:
  ServerFixture() {
    char name[] = "/tmp/rangecache-sock-XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ + "/run/socket";
  }
  ~ServerFixture() override {
    server_.reset();
    rmdir((directory_ + "/run").c_str());
    rmdir(directory_.c_str());
  }
  void start(SocketServer::Options options = {}) {
    auto server = SocketServer::listen(path_, service_, metrics_, options);
    ASSERT_TRUE(server) << server.error().message();
    server_ = std::move(*server);
  }
  Client connect(Client::Options options = {}) {
    options.socket_path = path_;
    auto client = Client::connect(options);
    EXPECT_TRUE(client) << client.error().message();
    return std::move(*client);
  }
  static void expect_pattern(std::span<const std::byte> bytes, std::uint64_t offset) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      ASSERT_EQ(FakeService::pattern(offset + i), bytes[i]) << "at " << offset + i;
    }
  }
  std::string directory_;
  std::string path_;
  FakeService service_;
  Metrics metrics_;
  std::unique_ptr<SocketServer> server_;
};

}  // namespace rangecache::daemon
