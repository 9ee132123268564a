// Prints a range of a remote file: read_range_cpp URL OFFSET LENGTH
#include <rangecache/client.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s URL OFFSET LENGTH\n", argv[0]);
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
  std::vector<std::byte> buffer(std::strtoull(argv[3], nullptr, 10));
  auto got = file->read(std::strtoull(argv[2], nullptr, 10), buffer);
  if (!got) {
    std::fprintf(stderr, "%s\n", got.error().message().c_str());
    return 1;
  }
  std::fwrite(buffer.data(), 1, *got, stdout);
  return 0;
}
