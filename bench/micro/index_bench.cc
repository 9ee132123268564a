// The index at scale: how long a start takes with so many chunks, what they weigh in memory, and
// how fast they are found, alone and by several threads at once.
//
//   index_bench --chunks 1000000 --objects 100000
//   index_bench --chunks 10000000 --objects 1000000      needs 3 GB of memory and 1 GB of disk
//
// The chunks have records and no files: nothing here reads them. All else is the real thing: the
// manifest is written by Manifest and loaded by Cache::open().

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/log.h"
#include "cache/cache.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kChunkSize = 64 * 1024;

class DeadOrigin final : public Origin {
 public:
  const std::string& id() const override { return id_; }
  std::string url_of(std::string_view key) const override { return id_ + "/" + std::string(key); }
  std::string child_key(std::string_view dir, std::string_view name, bool) const override {
    return std::string(dir) + std::string(name);
  }
  void stat(std::string, Validator, Callback<StatResult> done) override {
    done(Error(ErrorCode::kIo, "there is no server"));
  }
  void list(std::string, std::string, Callback<ListPage> done) override {
    done(Error(ErrorCode::kIo, "there is no server"));
  }
  std::shared_ptr<Transfer> fetch(FetchRequest, std::shared_ptr<FetchSink> sink) override {
    sink->on_done(Error(ErrorCode::kIo, "there is no server"));
    return nullptr;
  }

 private:
  const std::string id_ = "https://bucket.example";
};

struct Nothing final : Manifest::Visitor {
  void on_version(VersionRecord&&) override {}
  void on_version_removed(const VersionId&) override {}
  void on_chunk(ChunkRecord&&) override {}
  void on_chunk_removed(const VersionId&, ByteRange) override {}
  void on_reset() override {}
};

/// A cache directory whose manifest names `chunks` of `objects`; the ids of the versions.
std::vector<VersionId> write_manifest(const std::string& directory, std::uint64_t objects,
                                      std::uint64_t chunks) {
  if (!ChunkStore::open(posix_file_system(), directory)) std::abort();
  Manifest manifest(posix_file_system(), directory, {});
  Nothing nothing;
  if (!manifest.open(nothing)) std::abort();
  auto writer = manifest.begin_checkpoint();
  if (!writer) std::abort();
  std::vector<VersionId> ids;
  ids.reserve(objects);
  const std::uint64_t each = chunks / objects;
  for (std::uint64_t i = 0; i < objects; ++i) {
    VersionRecord record;
    record.origin_id = "https://bucket.example";
    record.key = fmt::format("datasets/part-{:05d}/object-{:08d}.parquet", i % 1000, i);
    record.validator = {Validator::Kind::kEtag, fmt::format("\"{:032x}\"", i)};
    record.size = 2 * each * kChunkSize;
    record.current = true;
    record.fresh_until_s = INT64_MAX / 2;
    record.id = VersionId::of(record.origin_id, record.key, record.validator, record.size);
    ids.push_back(record.id);
    (*writer)->version(record);
    // Every other one is there, so that they do not merge.
    for (std::uint64_t c = 0; c < each; ++c)
      (*writer)->chunk({record.id,
                        ByteRange::at(2 * c * kChunkSize, kChunkSize),
                        {static_cast<std::uint32_t>(c)}});
  }
  if (!manifest.finish_checkpoint(*std::move(writer)) || !manifest.close(true)) std::abort();
  return ids;
}

std::uint64_t heap_bytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Catalog* g_catalog = nullptr;
std::vector<VersionId> g_ids;
std::vector<VersionPtr> g_versions;
std::uint64_t g_object_size = 0;

/// From a version's id and an offset to its chunk.
void find_version_and_chunk(benchmark::State& state) {
  std::mt19937_64 random(static_cast<unsigned>(state.thread_index()) + 1);
  for (auto _ : state) {
    const VersionPtr version = g_catalog->find_version(g_ids[random() % g_ids.size()]);
    benchmark::DoNotOptimize(version->chunk_at(random() % g_object_size));
  }
  state.SetItemsProcessed(state.iterations());
}

/// What each read through an open handle asks: the version is at hand.
void find_chunk(benchmark::State& state) {
  std::mt19937_64 random(static_cast<unsigned>(state.thread_index()) + 1);
  for (auto _ : state) {
    const VersionPtr& version = g_versions[random() % g_versions.size()];
    benchmark::DoNotOptimize(version->chunk_at(random() % g_object_size));
  }
  state.SetItemsProcessed(state.iterations());
}

/// The same, all threads in one object.
void find_chunk_of_one_object(benchmark::State& state) {
  std::mt19937_64 random(static_cast<unsigned>(state.thread_index()) + 1);
  for (auto _ : state) benchmark::DoNotOptimize(g_versions[0]->chunk_at(random() % g_object_size));
  state.SetItemsProcessed(state.iterations());
}

int run(std::uint64_t objects, std::uint64_t chunks) {
  set_log_level(LogLevel::kWarning);
  std::string directory = (fs::temp_directory_path() / "rangecache-index-XXXXXX").string();
  if (!::mkdtemp(directory.data())) std::abort();
  auto start = std::chrono::steady_clock::now();
  g_ids = write_manifest(directory, objects, chunks);
  const std::uint64_t per_object = chunks / objects;
  g_object_size = 2 * per_object * kChunkSize;
  fmt::print("{} chunks of {} objects; manifest written in {:.2f} s, {:.1f} MiB\n",
             per_object * objects, objects, seconds_since(start),
             static_cast<double>(fs::file_size(directory + "/manifest/checkpoint.2")) / (1 << 20));

  const std::uint64_t heap_before = heap_bytes();
  start = std::chrono::steady_clock::now();
  Metrics metrics;
  CacheOptions options;
  options.directory = directory;
  options.size_bytes = std::uint64_t{1} << 50;
  options.scrubbing.bytes_per_second = 0;  // there are no files to verify
  const auto origin = std::make_shared<DeadOrigin>();
  auto cache = Cache::open(
      options,
      [&](const std::string&) -> Result<std::shared_ptr<Origin>> {
        return std::shared_ptr<Origin>(origin);
      },
      posix_file_system(), system_clock(), metrics);
  if (!cache) {
    fmt::print(stderr, "{}\n", cache.error().message());
    return 1;
  }
  const double opened = seconds_since(start);
  const double heap = static_cast<double>(heap_bytes() - heap_before);
  fmt::print(
      "opened in {:.2f} s ({:.0f} ns a chunk); heap {:.0f} MiB: {:.0f} bytes a chunk, of "
      "which {} its index entry\n",
      opened, opened * 1e9 / static_cast<double>(chunks), heap / (1 << 20),
      heap / static_cast<double>(chunks), malloc_usable_size(new Chunk(nullptr, {0, 1})));
  std::fflush(stdout);
  g_catalog = &(*cache)->catalog();
  g_versions = g_catalog->versions();
  for (auto* bench : {find_version_and_chunk, find_chunk, find_chunk_of_one_object}) {
    benchmark::RegisterBenchmark(bench == find_version_and_chunk ? "find_version_and_chunk"
                                 : bench == find_chunk           ? "find_chunk"
                                                                 : "find_chunk_of_one_object",
                                 bench)
        ->ThreadRange(1, 4)
        ->UseRealTime();
  }
  benchmark::RunSpecifiedBenchmarks();
  g_versions.clear();
  (*cache)->stop();
  cache->reset();
  fs::remove_all(directory);
  return 0;
}

}  // namespace
}  // namespace rangecache::cache

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  CLI::App app{"The index at scale: start, memory, look-ups."};
  std::uint64_t objects = 100'000, chunks = 1'000'000;
  app.add_option("--objects", objects)->capture_default_str();
  app.add_option("--chunks", chunks)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return rangecache::cache::run(objects, chunks);
}
