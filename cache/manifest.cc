#include "cache/manifest.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "base/wire.h"
#include "cache/record_format.h"

namespace rangecache::cache {
namespace {

namespace format = record_format;
using format::Type;

constexpr std::uint64_t kMaxFile = std::uint64_t{8} << 30;
constexpr std::size_t kWriteSize = 1 << 20;
constexpr std::uint64_t kMinJournal = 1 << 20;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string boot_id(FileSystem& files) {
  auto id = files.read_file("/proc/sys/kernel/random/boot_id", 256);
  return id ? *id : "";
}

std::uint64_t on_disk(std::uint64_t size) { return (size + 4095) / 4096 * 4096; }

/// The generations of which a file of this kind exists.
std::set<std::uint64_t> generations(const std::vector<FileSystem::Entry>& entries,
                                    std::string_view prefix) {
  std::set<std::uint64_t> found;
  for (const FileSystem::Entry& entry : entries) {
    const std::string_view name = entry.name;
    if (name.substr(0, prefix.size()) != prefix) continue;
    const std::string_view digits = name.substr(prefix.size());
    std::uint64_t generation = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), generation);
    if (error == std::errc{} && end == digits.data() + digits.size()) found.insert(generation);
  }
  return found;
}

}  // namespace

std::string Manifest::path(const char* kind, std::uint64_t generation) const {
  return fmt::format("{}/{}.{}", directory_, kind, generation);
}

// --- opening ----------------------------------------------------------------------------------

Result<std::unique_ptr<Manifest>> Manifest::open(FileSystem& files, std::string cache_directory,
                                                 Visitor& visitor, LoadReport& report) {
  std::unique_ptr<Manifest> manifest(new Manifest(files, cache_directory + "/manifest"));
  RC_TRY(files.make_directory(manifest->directory_, 0700));
  // Without the names no generation is known to be free: one that is there could be overwritten.
  RC_ASSIGN(const auto entries, files.list(manifest->directory_));
  manifest->generation_ = manifest->load(entries, visitor, report);
  if (auto started = manifest->start_journal(manifest->generation_); !started) {
    // A full disk, say. What was read is of use; the next checkpoint tries again.
    manifest->broken_ = true;
    report.problem = started.error().message();
  }
  return manifest;
}

/// Feeds the newest complete checkpoint and the journals from there on to the visitor. Returns the
/// generation whose journal goes on: a number that no file has yet.
std::uint64_t Manifest::load(const std::vector<FileSystem::Entry>& entries, Visitor& visitor,
                             LoadReport& report) {
  const auto checkpoints = generations(entries, "checkpoint.");
  const auto journals = generations(entries, "journal.");
  std::uint64_t highest = 0;
  if (!checkpoints.empty()) highest = *checkpoints.rbegin();
  if (!journals.empty()) highest = std::max(highest, *journals.rbegin());

  // Only a complete checkpoint counts; which it is shows at its end, so it is read before it is
  // believed.
  std::uint64_t base = 0;
  for (auto it = checkpoints.rbegin(); it != checkpoints.rend(); ++it) {
    if (load_file(path("checkpoint", *it), *it, visitor, report, /*checkpoint=*/true)) {
      base = *it;
      break;
    }
    report.problem = fmt::format("{} is incomplete or damaged: the generation before it is used",
                                 path("checkpoint", *it));
  }
  bool contiguous = true;
  std::uint64_t expected = std::max<std::uint64_t>(base, 1);
  for (const std::uint64_t generation : journals) {
    if (generation < base) continue;
    report.clean_stop = false;
    if (!contiguous) {
      report.bytes_dropped += 1;  // what follows a damaged journal may contradict it
      continue;
    }
    if (generation > std::max<std::uint64_t>(expected, 1)) {
      report.problem = fmt::format("{} is missing", path("journal", expected));
    }
    expected = generation + 1;
    contiguous = load_file(path("journal", generation), generation, visitor, report, false);
    if (!contiguous) {
      report.problem = fmt::format("{} ends in a damaged record: {} bytes are dropped",
                                   path("journal", generation), report.bytes_dropped);
    }
  }
  if (report.bytes_dropped > 0 || !report.problem.empty()) {
    report.clean_stop = false;
    // The damage stays where it is: until a checkpoint replaces it, no later journal is believed.
    damaged_ = true;
  }
  return highest + 1;
}

bool Manifest::load_file(const std::string& file, std::uint64_t generation, Visitor& visitor,
                         LoadReport& report, bool checkpoint) {
  const auto content = files_.read_file(file, kMaxFile);
  if (!content) return false;
  if (!checkpoint) earlier_journals_ += on_disk(content->size());
  std::string_view rest = *content;
  auto frame = format::take_frame(rest, generation);
  if (!frame || frame->type != Type::kHeader ||
      format::decode_header(frame->payload) != generation) {
    if (!checkpoint) report.bytes_dropped += content->size();
    // An empty journal is what a crash right after its creation leaves: nothing is lost.
    return !checkpoint && content->empty();
  }
  if (checkpoint) {
    // Walk the frames once for the end record before anything is handed out.
    std::string_view probe = rest;
    std::uint64_t records = 0;
    bool complete = false;
    while (auto next = format::take_frame(probe, generation)) {
      if (next->type == Type::kCheckpointEnd) {
        wire::Reader in(next->payload);
        complete = in.u64() == records && in.complete() && probe.empty();
        break;
      }
      ++records;
    }
    if (!complete) return false;
    checkpoint_size_ = content->size();
  }
  while ((frame = format::take_frame(rest, generation))) {
    report.clean_stop = false;
    ++report.records;
    switch (frame->type) {
      case Type::kVersion:
        if (auto record = format::decode_version(frame->payload))
          visitor.on_version(std::move(*record));
        break;
      case Type::kVersionRemoved:
        if (auto id = format::decode_version_id(frame->payload)) visitor.on_version_removed(*id);
        break;
      case Type::kChunk:
        if (auto record = format::decode_chunk(frame->payload))
          visitor.on_chunk(std::move(*record));
        break;
      case Type::kChunkRemoved:
        if (auto key = format::decode_chunk_key(frame->payload))
          visitor.on_chunk_removed(key->version, key->range);
        break;
      case Type::kCleanStop:
        report.clean_stop = true;
        report.same_boot = frame->payload == boot_id(files_);
        break;
      case Type::kHeader:
      case Type::kCheckpointEnd:
        break;
    }
  }
  report.bytes_dropped += rest.size();
  return rest.empty();
}

Result<void> Manifest::start_journal(std::uint64_t generation) {
  RC_ASSIGN(UniqueFd fd,
            files_.open(path("journal", generation), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  std::string header;
  format::append_frame(header, generation, Type::kHeader, format::encode_header(generation));
  RC_TRY(files_.write_all(fd.get(), bytes_of(header), 0));
  journal_ = std::move(fd);
  journal_size_ = header.size();
  generation_ = generation;
  broken_ = false;
  return {};
}

// --- writing ----------------------------------------------------------------------------------

void Manifest::append_version(const VersionRecord& record) {
  // A validator or key of absurd length: the version is not remembered, but nothing after it lost.
  const std::string payload = format::encode(record);
  if (payload.size() > format::kMaxPayload) return;
  format::append_frame(buffer_, generation_, Type::kVersion, payload);
}

void Manifest::append_version_removed(const VersionId& id) {
  format::append_frame(buffer_, generation_, Type::kVersionRemoved, format::encode(id));
}

void Manifest::append_chunk(const ChunkRecord& record) {
  format::append_frame(buffer_, generation_, Type::kChunk, format::encode(record));
}

void Manifest::append_chunk_removed(const VersionId& id, ByteRange range) {
  format::append_frame(buffer_, generation_, Type::kChunkRemoved,
                       format::encode(format::ChunkKey{id, range}));
}

Result<void> Manifest::flush() {
  if (buffer_.empty()) return {};
  const std::string records = std::exchange(buffer_, {});
  if (broken_) return Error(ErrorCode::kIo, "the journal is broken until the next checkpoint");
  if (auto written = files_.write_all(journal_.get(), bytes_of(records), journal_size_); !written) {
    broken_ = true;
    return written;
  }
  journal_size_ += records.size();
  return {};
}

void Manifest::notice_loss() {
  if (broken_) return;
  const auto status = files_.status(path("journal", generation_));
  broken_ = !status && status.error().code == ErrorCode::kNotFound;
}

bool Manifest::wants_checkpoint() const {
  return broken_ || damaged_ ||
         earlier_journals_ + journal_size_ > std::max(kMinJournal, 2 * checkpoint_size_);
}

Result<void> Manifest::checkpoint(const std::function<void(CheckpointSink&)>& dump) {
  const std::uint64_t next = generation_ + 1;
  const std::string temp = fmt::format("{}/checkpoint.new", directory_);
  RC_TRY(files_.make_directory(directory_, 0700));  // should somebody have removed it
  std::uint64_t size = 0;
  const auto fill = [&]() -> Result<void> {
    RC_ASSIGN(const UniqueFd fd, files_.open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    CheckpointSink sink(files_, fd.get(), next);
    format::append_frame(sink.buffer_, next, Type::kHeader, format::encode_header(next));
    dump(sink);
    wire::Writer count;
    count.u64(sink.records_);
    format::append_frame(sink.buffer_, next, Type::kCheckpointEnd, count.buffer());
    sink.write_out();
    size = sink.written_;
    return sink.result_;
  };
  auto written = fill();
  if (written) written = files_.rename(temp, path("checkpoint", next));
  if (!written) {
    (void)files_.unlink(temp);
    return written;
  }
  // Records that were buffered stand in the dump, too: the state was taken after them.
  buffer_.clear();
  checkpoint_size_ = size;
  if (auto started = start_journal(next); !started) {
    broken_ = true;
    generation_ = next;
    return started;
  }
  damaged_ = false;
  earlier_journals_ = 0;
  remove_generations_before(next);
  return {};
}

void Manifest::remove_generations_before(std::uint64_t generation) {
  const auto entries = files_.list(directory_);
  if (!entries) return;
  for (const char* kind : {"checkpoint", "journal"}) {
    for (const std::uint64_t old : generations(*entries, std::string(kind) + ".")) {
      if (old < generation) (void)files_.unlink(path(kind, old));
    }
  }
}

Result<void> Manifest::close(bool clean) {
  if (clean && !broken_)
    format::append_frame(buffer_, generation_, Type::kCleanStop, boot_id(files_));
  auto flushed = flush();
  journal_.reset();
  broken_ = true;
  return flushed;
}

std::uint64_t Manifest::disk_bytes() const {
  return on_disk(checkpoint_size_) + earlier_journals_ + on_disk(journal_size_ + buffer_.size());
}

// --- checkpoints ------------------------------------------------------------------------------

void CheckpointSink::version(const VersionRecord& record) {
  const std::string payload = format::encode(record);
  if (payload.size() > format::kMaxPayload) return;
  format::append_frame(buffer_, generation_, Type::kVersion, payload);
  ++records_;
  if (buffer_.size() >= kWriteSize) write_out();
}

void CheckpointSink::chunk(const ChunkRecord& record) {
  format::append_frame(buffer_, generation_, Type::kChunk, format::encode(record));
  ++records_;
  if (buffer_.size() >= kWriteSize) write_out();
}

void CheckpointSink::write_out() {
  if (result_) result_ = files_.write_all(fd_, bytes_of(buffer_), written_);
  written_ += buffer_.size();
  buffer_.clear();
}

}  // namespace rangecache::cache
