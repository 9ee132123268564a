// What a read of cached bytes costs through the client library, beside a pread of a file of one's
// own. Needs a running daemon:
//
//     client_read_bench --url http://127.0.0.1:8000/large.bin
//
// Every round measures all ways one after the other; printed are the medians.

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "rangecache/client.h"

namespace {

using rangecache::ByteRange;
using rangecache::Client;
using rangecache::File;

template <typename T>
T take(rangecache::Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "client_read_bench: {}\n", result.error().message());
  std::exit(1);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

/// A file of our own with as many bytes, in the page cache.
int local_copy(const File& file, std::uint64_t size) {
  FILE* copy = std::tmpfile();
  std::vector<std::byte> buffer(4 << 20);
  for (std::uint64_t at = 0; at < size;) {
    const std::size_t got = take(file.read(at, buffer));
    if (got == 0 || std::fwrite(buffer.data(), 1, got, copy) != got) std::exit(1);
    at += got;
  }
  std::fflush(copy);
  return fileno(copy);
}

struct Way {
  std::string name;
  std::function<void(const std::vector<std::uint64_t>& offsets)> read;
  std::vector<double> ns = {};
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Cost of a cached read through the client library");
  std::string url;
  std::size_t block = 4096, reads = 20'000;
  int rounds = 11;
  app.add_option("--url", url, "an object of at least 1 MiB")->required();
  app.add_option("--block", block, "bytes of a read")->capture_default_str();
  app.add_option("--reads", reads, "in each round")->capture_default_str();
  app.add_option("--rounds", rounds)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const Client client = take(Client::connect());
  const Client asking = take(Client::connect({.socket_path = {}, .max_lease_descriptors = 0}));
  const File leased = take(client.open(url));
  const File asked = take(asking.open(url));
  const std::uint64_t size = std::min<std::uint64_t>(leased.size(), 256 << 20);
  if (size < 16 * block) {
    fmt::print(stderr, "client_read_bench: {} is too small\n", url);
    return 1;
  }
  const int local = local_copy(leased, size);
  const rangecache::Mapping mapping = take(leased.map({0, size}));
  if (mapping.copied_bytes() > 4096)
    fmt::print("{} of {} bytes are not in files yet\n", mapping.copied_bytes(), size);

  std::vector<std::byte> buffer(block);
  std::vector<std::byte> many(reads * block);
  std::vector<Way> ways;
  ways.push_back({"pread of a local file", [&](const auto& offsets) {
                    for (const std::uint64_t at : offsets)
                      if (::pread(local, buffer.data(), block, static_cast<off_t>(at)) < 0)
                        std::abort();
                  }});
  ways.push_back({"File::read, leased", [&](const auto& offsets) {
                    for (const std::uint64_t at : offsets) take(leased.read(at, buffer));
                  }});
  ways.push_back({"copy from File::map", [&](const auto& offsets) {
                    for (const std::uint64_t at : offsets)
                      std::copy_n(mapping.bytes().begin() + static_cast<std::ptrdiff_t>(at), block,
                                  buffer.begin());
                  }});
  const auto batch_of = [&](const File& file) {
    return [&](const std::vector<std::uint64_t>& offsets) {
      std::vector<File::ReadPart> parts;
      for (std::size_t i = 0; i < offsets.size(); ++i)
        parts.push_back({offsets[i], std::span(many).subspan(i * block, block)});
      for (auto& result : file.read_batch(parts)) take(std::move(result));
    };
  };
  ways.push_back({"File::read_batch, leased", batch_of(leased)});
  ways.push_back({"File::read_batch, by message", batch_of(asked)});
  ways.push_back({"File::read, by message", [&](const auto& offsets) {
                    for (const std::uint64_t at : offsets) take(asked.read(at, buffer));
                  }});

  std::mt19937_64 random(1);
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::uint64_t> offsets(reads);
    for (auto& at : offsets) at = random() % (size / block - 1) * block;
    for (Way& way : ways) {
      const auto begin = std::chrono::steady_clock::now();
      way.read(offsets);
      const std::chrono::duration<double, std::nano> took =
          std::chrono::steady_clock::now() - begin;
      way.ns.push_back(took.count() / static_cast<double>(reads));
    }
  }
  const double native = median(ways.front().ns);
  fmt::print("{:32} {:>12} {:>12}\n", fmt::format("{} bytes, page cache hot", block), "ns a read",
             "to native");
  for (const Way& way : ways) {
    fmt::print("{:32} {:12.0f} {:11.2f}x\n", way.name, median(way.ns), median(way.ns) / native);
  }
  return 0;
}
