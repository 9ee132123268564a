// Reads many small ranges of a remote file at once, over one connection: async_reads URL COUNT
// Prints how many bytes came. The ranges are spread over the file.
#include <rangecache/client.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s URL COUNT\n", argv[0]);
    return 2;
  }
  auto client = rangecache::Client::connect();
  if (!client) {
    std::fprintf(stderr, "%s\n", client.error().message().c_str());
    return 1;
  }
  auto file = client->open(argv[1]);
  if (!file) {
    std::fprintf(stderr, "%s\n", file.error().message().c_str());
    return 1;
  }
  const std::size_t count = std::max(1, std::atoi(argv[2]));
  std::vector<std::vector<std::byte>> buffers(count, std::vector<std::byte>(4096));
  std::vector<std::promise<rangecache::Result<std::size_t>>> done(count);
  for (std::size_t i = 0; i < count; ++i) {
    // The callback runs on the client's thread and must not block.
    file->read_async(
        file->size() / count * i, buffers[i],
        [&done, i](rangecache::Result<std::size_t> got) { done[i].set_value(std::move(got)); });
  }
  std::size_t total = 0, failed = 0;
  for (auto& promise : done) {
    const auto got = promise.get_future().get();
    got ? total += *got : ++failed;
  }
  std::printf("%zu reads, %zu bytes, %zu failed\n", count, total, failed);
  return failed ? 1 : 0;
}
