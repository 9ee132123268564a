// Input: how a directory of a manifest came about, a step in each line:
//
//   C <generation>                            begins a checkpoint
//   J <generation> <previous> <size or =>     begins a journal; "=": the size of the file before it
//   V <id> <size> <key>    v <id>             a version; it is removed
//   K <id> <begin> <end>   k ...              a chunk; it is removed
//   E    S                                    the mark of a complete checkpoint; of a clean stop
//   F <type> <payload>                        any other record
//   R <bytes>              T <count>          bytes that are no record; the last ones are cut off
#include <fcntl.h>

#include <map>
#include <span>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/wire.h"
#include "cache/manifest.h"
#include "cache/record_format.h"
#include "tests/fuzz/input.h"
#include "tests/support/power_cut_disk.h"

namespace rangecache::cache {
namespace {

namespace rf = record_format;
using fuzz::number;
using fuzz::take_until;
using rf::Type;

class Script {
 public:
  void step(std::string_view line) {
    const std::string_view verb = take_until(line, ' ');
    if (verb == "C") return begin("checkpoint", number(line), {});
    if (verb == "J") return begin_journal(line);
    if (verb == "V") return add(Type::kVersion, rf::encode(version(line)));
    if (verb == "v") return add(Type::kVersionRemoved, rf::encode(VersionId{0, number(line)}));
    if (verb == "K") return add(Type::kChunk, rf::encode(chunk(line)));
    if (verb == "k") {
      const ChunkRecord record = chunk(line);
      return add(Type::kChunkRemoved, rf::encode(rf::ChunkKey{record.version, record.range}));
    }
    if (verb == "E") return end_checkpoint();
    if (verb == "S") return add(Type::kCleanStop, "");
    if (verb == "F") {
      const auto type = static_cast<Type>(number(take_until(line, ' ')));
      return add(type, line);
    }
    if (verb == "R") bytes_ += line;
    if (verb == "T")
      bytes_.resize(bytes_.size() - std::min<std::size_t>(bytes_.size(), number(line)));
  }
  /// The files by name.
  std::map<std::string, std::string> take() {
    finish();
    return std::move(files_);
  }

 private:
  void begin(const char* kind, std::uint64_t generation, rf::Header header) {
    finish();
    generation_ = header.generation = generation % (std::uint64_t{1} << 63);  // there is a next
    header.boot_id = "boot-1\n";
    name_ = std::string(kind) + "." + std::to_string(generation_);
    add(Type::kHeader, rf::encode(header));
    records_ = 0;
  }
  void begin_journal(std::string_view line) {
    rf::Header header;
    const std::uint64_t generation = number(take_until(line, ' '));
    header.previous_generation = number(take_until(line, ' '));
    header.previous_size = line == "=" ? bytes_.size() : number(line);
    begin("journal", generation, header);
  }
  static VersionRecord version(std::string_view line) {
    VersionRecord record;
    record.id = {0, number(take_until(line, ' '))};
    record.size = number(take_until(line, ' '));
    record.key = line;
    return record;
  }
  static ChunkRecord chunk(std::string_view line) {
    ChunkRecord record;
    record.version = {0, number(take_until(line, ' '))};
    record.range.begin = number(take_until(line, ' '));
    record.range.end = number(line);
    record.checksums.resize(
        std::min<std::uint64_t>(10, (record.range.size() + kBlockSize - 1) / kBlockSize));
    return record;
  }
  void end_checkpoint() {
    wire::Writer count;
    count.u64(records_);
    add(Type::kCheckpointEnd, count.buffer());
  }
  void add(Type type, std::string_view payload) {
    rf::append_frame(bytes_, generation_, type, payload);
    ++records_;
  }
  void finish() {
    if (!name_.empty()) files_[name_] = std::exchange(bytes_, {});
  }

  std::map<std::string, std::string> files_;
  std::string name_, bytes_;
  std::uint64_t generation_ = 0, records_ = 0;
};

struct State final : Manifest::Visitor {
  void on_version(VersionRecord&& record) override {
    CHECK(record.size <= kMaxObjectSize);
    versions[record.id] = std::move(record);
  }
  void on_version_removed(const VersionId& id) override { versions.erase(id); }
  void on_chunk(ChunkRecord&& record) override {
    CHECK(!record.range.empty() && record.range.end <= kMaxObjectSize);
    chunks[{record.version, record.range.begin, record.range.end}] = std::move(record);
  }
  void on_chunk_removed(const VersionId& id, ByteRange range) override {
    chunks.erase({id, range.begin, range.end});
  }
  void on_reset() override {
    versions.clear();
    chunks.clear();
  }
  std::string text() const {
    std::string all;
    for (const auto& [id, record] : versions) all += rf::encode(record);
    for (const auto& [key, record] : chunks) all += rf::encode(record);
    return all;
  }
  std::map<VersionId, VersionRecord> versions;
  std::map<std::tuple<VersionId, std::uint64_t, std::uint64_t>, ChunkRecord> chunks;
};

/// What was found is written as a checkpoint; the manifest is closed in order.
void write_again(Manifest& manifest, const State& state) {
  auto writer = manifest.begin_checkpoint();
  CHECK(writer);
  for (const auto& [id, record] : state.versions) (*writer)->version(record);
  for (const auto& [key, record] : state.chunks) (*writer)->chunk(record);
  CHECK(manifest.finish_checkpoint(std::move(*writer)));
  CHECK(!manifest.wants_checkpoint());
  CHECK(manifest.close(/*clean=*/true));
}

}  // namespace
}  // namespace rangecache::cache

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache;
  using namespace rangecache::cache;
  std::string_view lines = fuzz::text_of(data, size);
  Script script;
  while (!lines.empty()) script.step(fuzz::take_until(lines, '\n'));
  PowerCutDisk disk;
  CHECK(disk.make_directory("/cache", 0700) && disk.make_directory("/cache/manifest", 0700));
  for (const auto& [name, bytes] : script.take()) {
    const auto fd = disk.open("/cache/manifest/" + name, O_WRONLY | O_CREAT, 0600);
    CHECK(fd && disk.write_all(fd->get(), std::as_bytes(std::span(bytes)), 0));
  }

  State found;
  {
    Manifest manifest(disk, "/cache", {});
    const auto report = manifest.open(found);
    CHECK(report && manifest.recording());
    CHECK(!report->clean_stop || (report->problem.empty() && report->bytes_dropped == 0));
    CHECK(report->bytes_dropped <= manifest.disk_bytes());
    write_again(manifest, found);
  }
  State again;
  Manifest manifest(disk, "/cache", {});
  const auto report = manifest.open(again);
  CHECK(report && report->clean_stop && report->same_boot && report->problem.empty());
  CHECK(again.text() == found.text());
  return 0;
}
