#include "cache/manifest.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/check.h"
#include "base/wire.h"
#include "cache/record_format.h"

namespace rangecache::cache {
namespace {

namespace format = record_format;
using format::Type;

constexpr std::size_t kFirstRead = 64 << 10;  // most journals are short
constexpr std::size_t kReadSize = 4 << 20;
constexpr std::size_t kWriteSize = 1 << 20;
constexpr std::size_t kMaxJournals = 32;  // of short runs; each is one more file to open at a start

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::uint64_t on_disk(std::uint64_t size) { return (size + 4095) / 4096 * 4096; }

/// The generation of a file that is named `prefix` and decimal digits; 0: it is not.
std::uint64_t generation_of(std::string_view name, std::string_view prefix) {
  if (name.substr(0, prefix.size()) != prefix) return 0;
  const std::string_view digits = name.substr(prefix.size());
  std::uint64_t generation = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), generation);
  return error == std::errc{} && end == digits.data() + digits.size() ? generation : 0;
}

/// Takes frame after frame off a file, reading ahead of itself.
class FrameReader {
 public:
  FrameReader(FileSystem& files, const std::string& path, std::uint64_t generation)
      : files_(files), generation_(generation) {
    if (auto fd = files.open(path, O_RDONLY, 0)) fd_ = std::move(*fd);
    readable_ = static_cast<bool>(fd_);
  }

  /// The payload is valid until the next call. nullopt: the end, or damage.
  std::optional<format::Frame> next() {
    for (;;) {
      const std::size_t before = rest_.size();
      if (auto frame = format::take_frame(rest_, generation_)) {
        taken_ += before - rest_.size();
        return frame;
      }
      // With so much at hand it is damage, whatever follows.
      if (rest_.size() >= format::kFrameSize + format::kMaxPayload || !refill())
        return std::nullopt;
    }
  }
  bool readable() const { return readable_; }
  std::uint64_t taken() const { return taken_; }  ///< bytes of whole frames
  bool at_end() const { return rest_.empty(); }   ///< after next() has said so

 private:
  bool refill() {
    if (!fd_) return false;
    buffer_.erase(0, buffer_.size() - rest_.size());
    const std::size_t had = buffer_.size();
    buffer_.resize(had + read_size_);
    const auto room = std::as_writable_bytes(std::span(buffer_)).subspan(had);
    const auto have = files_.read_at(fd_.get(), room, position_);
    const std::size_t added = have ? *have : 0;
    buffer_.resize(had + added);
    rest_ = buffer_;
    position_ += added;
    if (added < read_size_) fd_.reset();
    read_size_ = std::min(2 * read_size_, kReadSize);
    return added > 0;
  }

  FileSystem& files_;
  const std::uint64_t generation_;
  UniqueFd fd_;
  bool readable_ = false;
  std::string buffer_;
  std::string_view rest_;
  std::size_t read_size_ = kFirstRead;
  std::uint64_t position_ = 0;
  std::uint64_t taken_ = 0;
};

}  // namespace

Manifest::Manifest(FileSystem& files, const std::string& cache_directory, Options options)
    : files_(files),
      cache_directory_(cache_directory),
      directory_(cache_directory + "/manifest"),
      options_(options) {
  if (auto id = files.read_file("/proc/sys/kernel/random/boot_id", 256)) boot_id_ = *std::move(id);
}

Manifest::~Manifest() = default;

std::string Manifest::path(Kind kind, std::uint64_t generation) const {
  return fmt::format("{}/{}.{}", directory_, kind == Kind::kJournal ? "journal" : "checkpoint",
                     generation);
}

// --- opening ----------------------------------------------------------------------------------

Result<LoadReport> Manifest::open(Visitor& visitor) {
  RC_TRY(files_.make_directory(directory_, 0700));
  // Without the names no generation is known to be free: one that is there could be overwritten.
  RC_ASSIGN(const auto entries, files_.list(directory_));
  LoadReport report;
  load(entries, visitor, report);
  // Were its name lost in a power cut, the mark of a clean stop before it would be believed, while
  // chunks have come and gone since.
  if (auto begun = begin_journal(generation_ + 1, /*sync=*/true); !begun) {
    // A full disk, say. What was read is of use; the next checkpoint tries again.
    lost_ = true;
    report.problem = begun.error().message();
  }
  return report;
}

namespace {

/// Hands one record to the visitor. What does not decode, and types of later days, are passed over.
void visit(const format::Frame& frame, Manifest::Visitor& visitor) {
  switch (frame.type) {
    case Type::kVersion:
      if (auto record = format::decode_version(frame.payload))
        visitor.on_version(std::move(*record));
      break;
    case Type::kVersionRemoved:
      if (auto id = format::decode_version_id(frame.payload)) visitor.on_version_removed(*id);
      break;
    case Type::kChunk:
      if (auto record = format::decode_chunk(frame.payload)) visitor.on_chunk(std::move(*record));
      break;
    case Type::kChunkRemoved:
      if (auto key = format::decode_chunk_key(frame.payload))
        visitor.on_chunk_removed(key->version, key->range);
      break;
    case Type::kCleanStop:
    case Type::kHeader:
    case Type::kCheckpointEnd:
    default:
      break;
  }
}

}  // namespace

/// Feeds the newest complete checkpoint and the journals from there on to the visitor.
void Manifest::load(const std::vector<FileSystem::Entry>& entries, Visitor& visitor,
                    LoadReport& report) {
  for (const FileSystem::Entry& entry : entries) {
    const auto size = [&]() -> std::uint64_t {
      const auto status = files_.status(directory_ + "/" + entry.name);
      return status ? std::max<std::uint64_t>(1, status->size) : 1;
    };
    if (const auto generation = generation_of(entry.name, "checkpoint."))
      generations_[generation].checkpoint = size();
    if (const auto generation = generation_of(entry.name, "journal."))
      generations_[generation].journal = size();
  }
  for (auto it = generations_.rbegin(); it != generations_.rend() && base_ == 0; ++it) {
    if (it->second.checkpoint == 0) continue;
    if (replay_checkpoint(it->first, visitor, report)) {
      base_ = it->first;
    } else {
      report.problem = path(Kind::kCheckpoint, it->first) +
                       " is damaged or of another format: the generation before it is used";
    }
  }

  bool believe = true;
  for (const auto& [generation, sizes] : generations_) {
    generation_ = generation;
    if (sizes.journal == 0 || generation < base_) continue;
    report.clean_stop = false;
    if (!believe) {
      report.bytes_dropped += sizes.journal;  // what follows lost records may contradict them
      continue;
    }
    const std::string file = path(Kind::kJournal, generation);
    FrameReader reader(files_, file, generation);
    auto frame = reader.next();
    const auto header = frame && frame->type == Type::kHeader
                            ? format::decode_header(frame->payload)
                            : std::nullopt;
    if (!header || header->generation != generation) {
      // An empty one is what a crash right after its creation leaves: nothing is lost.
      if (reader.readable() && !frame && reader.at_end()) continue;
      report.problem = file + " is damaged or of another format: its records are lost";
      report.bytes_dropped += sizes.journal;
      believe = false;
      continue;
    }
    // The first is the base's own; each later one must begin where the one before ended.
    const bool first = chain_generation_ == 0;
    const bool follows = first ? base_ == 0 || generation == base_
                               : header->previous_generation == chain_generation_ &&
                                     header->previous_size == chain_size_;
    if (first && base_ == 0 && header->previous_generation != 0)
      report.problem = file + " is the oldest that is left: what was before it is lost";
    if (!follows) {
      report.problem = fmt::format("records before {} are lost: it is not used", file);
      report.bytes_dropped += sizes.journal;
      believe = false;
      continue;
    }
    while ((frame = reader.next())) {
      report.clean_stop = frame->type == Type::kCleanStop;
      ++report.records;
      visit(*frame, visitor);
    }
    chain_generation_ = generation;
    chain_size_ = reader.taken();
    report.same_boot = header->boot_id == boot_id_ && !boot_id_.empty();
    if (!reader.at_end()) {
      report.problem = fmt::format("{} ends in a damaged record: {} bytes are dropped", file,
                                   sizes.journal - reader.taken());
      report.bytes_dropped += sizes.journal - reader.taken();
      believe = false;
    }
  }
  if (base_ > 0 && chain_generation_ == 0) {
    report.problem = path(Kind::kJournal, base_) + " is missing";
    believe = false;
  }
  if (!believe || !report.problem.empty()) {
    report.clean_stop = false;
    lost_ = true;
  }
}

bool Manifest::replay_checkpoint(std::uint64_t generation, Visitor& visitor, LoadReport& report) {
  FrameReader reader(files_, path(Kind::kCheckpoint, generation), generation);
  auto frame = reader.next();
  if (!frame || frame->type != Type::kHeader) return false;
  const auto header = format::decode_header(frame->payload);
  if (!header || header->generation != generation) return false;
  std::uint64_t records = 0;
  bool complete = false;
  while ((frame = reader.next())) {
    if (complete) break;  // something follows the end
    if (frame->type == Type::kCheckpointEnd) {
      wire::Reader in(frame->payload);
      complete = in.u64() == records && in.complete();
      if (!complete) break;
      continue;
    }
    ++records;
    visit(*frame, visitor);
  }
  complete = complete && !frame && reader.at_end();
  if (complete) {
    report.records += records;
  } else if (records > 0) {
    visitor.on_reset();  // a checkpoint is never used in part
  }
  return complete;
}

Result<void> Manifest::begin_journal(std::uint64_t generation, bool sync) {
  RC_ASSIGN(UniqueFd fd,
            files_.open(path(Kind::kJournal, generation), O_WRONLY | O_CREAT | O_TRUNC, 0600));
  const format::Header header{
      .generation = generation,
      .previous_generation = chain_generation_,
      .previous_size = lost_ || broken_ ? format::kLostRecords : chain_size_,
      .boot_id = boot_id_};
  std::string text;
  format::append_frame(text, generation, Type::kHeader, format::encode(header));
  auto written = files_.write_all(fd.get(), bytes_of(text), 0);
  if (written && sync) written = files_.sync(fd.get());
  if (written && sync) {
    RC_ASSIGN(const UniqueFd names, files_.open(directory_, O_RDONLY | O_DIRECTORY, 0));
    written = files_.sync(names.get());
  }
  if (!written) {
    (void)files_.unlink(path(Kind::kJournal, generation));
    return written;
  }
  // Buffered records were framed for the journal before.
  CHECK(buffer_.empty());
  lost_ = lost_ || broken_;
  broken_ = false;
  journal_ = std::move(fd);
  journal_size_ = text.size();
  generation_ = chain_generation_ = generation;
  generations_[generation].journal = chain_size_ = journal_size_;
  return {};
}

// --- writing ----------------------------------------------------------------------------------

void Manifest::append_version(const VersionRecord& record) {
  // A validator or key of absurd length: the version is not remembered, but nothing after it lost.
  const std::string payload = format::encode(record);
  if (payload.size() > format::kMaxVersionPayload) return;
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
  if (!recording()) {
    lost_ = true;
    return Error(ErrorCode::kIo, "the journal is broken until the next checkpoint");
  }
  auto written = files_.write_all(journal_.get(), bytes_of(records), journal_size_);
  if (written && options_.sync) written = files_.sync(journal_.get());
  if (!written) {
    broken_ = true;
    return written;
  }
  journal_size_ += records.size();
  generations_[generation_].journal = chain_size_ = journal_size_;
  return {};
}

void Manifest::notice_loss() {
  if (!recording()) return;
  const auto status = files_.status(path(Kind::kJournal, generation_));
  broken_ = !status && status.error().code == ErrorCode::kNotFound;
}

std::uint64_t Manifest::journal_bytes_since_base() const {
  std::uint64_t bytes = 0;
  for (auto it = generations_.lower_bound(base_); it != generations_.end(); ++it)
    bytes += it->second.journal;
  return bytes;
}

bool Manifest::wants_checkpoint() const {
  if (!recording() || lost_) return true;
  const auto base = generations_.find(base_);
  const std::uint64_t checkpoint = base == generations_.end() ? 0 : base->second.checkpoint;
  return journal_bytes_since_base() > std::max(options_.min_journal_bytes, 2 * checkpoint) ||
         static_cast<std::size_t>(
             std::distance(generations_.lower_bound(base_), generations_.end())) > kMaxJournals;
}

Result<std::unique_ptr<CheckpointWriter>> Manifest::begin_checkpoint() {
  (void)flush();  // if it fails the new journal says so
  const std::uint64_t next = generation_ + 1;
  RC_TRY(files_.make_directory(directory_, 0700));  // should somebody have removed it
  RC_TRY(begin_journal(next, options_.sync));
  std::string temp = directory_ + "/checkpoint.new";
  RC_ASSIGN(UniqueFd fd, files_.open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0600));
  std::unique_ptr<CheckpointWriter> writer(
      new CheckpointWriter(files_, std::move(temp), std::move(fd), next));
  format::append_frame(writer->buffer_, next, Type::kHeader,
                       format::encode(format::Header{next, 0, 0, boot_id_}));
  return writer;
}

Result<void> Manifest::finish_checkpoint(std::unique_ptr<CheckpointWriter> writer) {
  wire::Writer count;
  count.u64(writer->records_);
  format::append_frame(writer->buffer_, writer->generation_, Type::kCheckpointEnd, count.buffer());
  writer->write_out();
  RC_TRY(writer->result_);
  if (options_.sync) RC_TRY(files_.sync(writer->fd_.get()));
  RC_TRY(files_.rename(writer->temp_, path(Kind::kCheckpoint, writer->generation_)));
  writer->temp_.clear();
  generations_[writer->generation_].checkpoint = writer->written_;
  const std::uint64_t keep = lost_ ? writer->generation_ : base_;
  base_ = writer->generation_;
  lost_ = false;  // whatever was missing before: this checkpoint has the whole state
  remove_generations_before(keep);
  return {};
}

void Manifest::remove_generations_before(std::uint64_t generation) {
  while (!generations_.empty() && generations_.begin()->first < generation) {
    const auto& [old, sizes] = *generations_.begin();
    if (sizes.checkpoint > 0) (void)files_.unlink(path(Kind::kCheckpoint, old));
    if (sizes.journal > 0) (void)files_.unlink(path(Kind::kJournal, old));
    generations_.erase(generations_.begin());
  }
}

Result<void> Manifest::close(bool clean) {
  auto closed = flush();
  if (closed && clean && recording() && !lost_) {
    // First everything that the mark speaks of, then the mark: so it holds after a power cut, too.
    closed = files_.sync_all(journal_.get());
    if (closed) {
      format::append_frame(buffer_, generation_, Type::kCleanStop, "");
      closed = flush();
    }
    if (closed) closed = files_.sync(journal_.get());
  }
  journal_.reset();
  return closed;
}

std::uint64_t Manifest::disk_bytes() const {
  std::uint64_t bytes = on_disk(buffer_.size());
  for (const auto& [generation, sizes] : generations_)
    bytes += on_disk(sizes.checkpoint) + on_disk(sizes.journal);
  // The next checkpoint has at most what the newest one has, and what happened since.
  const auto base = generations_.find(base_);
  if (base != generations_.end()) bytes += on_disk(base->second.checkpoint);
  return bytes + on_disk(journal_bytes_since_base());
}

// --- checkpoints ------------------------------------------------------------------------------

CheckpointWriter::~CheckpointWriter() {
  if (!temp_.empty()) (void)files_.unlink(temp_);
}

void CheckpointWriter::version(const VersionRecord& record) {
  const std::string payload = format::encode(record);
  if (payload.size() > format::kMaxVersionPayload) return;
  format::append_frame(buffer_, generation_, Type::kVersion, payload);
  ++records_;
  if (buffer_.size() >= kWriteSize) write_out();
}

void CheckpointWriter::chunk(const ChunkRecord& record) {
  format::append_frame(buffer_, generation_, Type::kChunk, format::encode(record));
  ++records_;
  if (buffer_.size() >= kWriteSize) write_out();
}

void CheckpointWriter::write_out() {
  if (result_) result_ = files_.write_all(fd_.get(), bytes_of(buffer_), written_);
  written_ += buffer_.size();
  buffer_.clear();
}

}  // namespace rangecache::cache
