#include "cache/version.h"

#include <sys/stat.h>

#include <utility>

#include "base/log.h"
#include "cache/open_chunks.h"
#include "cache/storer.h"

namespace rangecache::cache {

/// Hands one fetch's bytes to the flight.
class Version::FlightSink final : public FetchSink {
 public:
  FlightSink(VersionPtr version, FlightPtr flight)
      : version_(std::move(version)),
        flight_(std::move(flight)),
        started_ns_(version_->context_.clock.monotonic_ns()) {
    version_->context_.flights.add(1);
  }
  ~FlightSink() override { version_->context_.flights.add(-1); }

  Verdict on_head(const FetchHead& head) override {
    version_->set_digest(head.attributes.digest);
    Effects effects;
    bool wanted = false;
    {
      MutexLock lock(version_->mu_);
      wanted = version_->coalescer_.flight_head(flight_, head, effects);
    }
    version_->carry_out(std::move(effects));
    return wanted ? Verdict::kContinue : Verdict::kAbort;
  }
  Verdict on_data(std::span<const std::byte> data) override {
    return version_->take(flight_, data);
  }
  void on_done(Result<void> result) override {
    Effects effects;
    {
      MutexLock lock(version_->mu_);
      if (result)
        version_->note_duration(*flight_, version_->context_.clock.monotonic_ns() - started_ns_);
      version_->coalescer_.flight_done(flight_, result, effects);
    }
    version_->carry_out(std::move(effects));
  }

 private:
  const VersionPtr version_;
  const FlightPtr flight_;
  const std::int64_t started_ns_;
};

/// Keeps the file of an object that the kernel reads by itself, and counts it.
class Version::PassthroughFile {
 public:
  PassthroughFile(VersionPtr version, std::shared_ptr<const void> file)
      : version_(std::move(version)), file_(std::move(file)) {
    if (version_->passthrough_opens_++ == 0) version_->context_.passthrough_files.add(1);
  }
  ~PassthroughFile() {
    if (--version_->passthrough_opens_ == 0) version_->context_.passthrough_files.add(-1);
  }
  PassthroughFile(const PassthroughFile&) = delete;
  PassthroughFile& operator=(const PassthroughFile&) = delete;

 private:
  const VersionPtr version_;
  const std::shared_ptr<const void> file_;
};

Version::Version(const VersionContext& context, std::shared_ptr<Origin> origin,
                 VersionRecord record, bool no_store)
    : context_(context),
      origin_(std::move(origin)),
      identity_(std::move(record)),
      no_store_(no_store),
      heard_(heard_in(identity_)),
      coalescer_({.size = identity_.size,
                  .single_response = identity_.validator.kind == Validator::Kind::kPrivate}) {}

Version::Heard Version::heard_in(const VersionRecord& record) {
  return {.validated_s = record.validated_s,
          .fresh_until_s = record.fresh_until_s,
          .stale_while_revalidate_s = record.stale_while_revalidate_s,
          .stale_if_error_s = record.stale_if_error_s,
          .must_revalidate = record.must_revalidate,
          .current = record.current};
}

VersionRecord Version::record() const {
  VersionRecord record = identity_;
  MutexLock lock(mu_);
  record.validated_s = heard_.validated_s;
  record.fresh_until_s = heard_.fresh_until_s;
  record.stale_while_revalidate_s = heard_.stale_while_revalidate_s;
  record.stale_if_error_s = heard_.stale_if_error_s;
  record.must_revalidate = heard_.must_revalidate;
  record.current = heard_.current;
  return record;
}

Version::Heard Version::heard() const {
  MutexLock lock(mu_);
  return heard_;
}

void Version::set_digest(Digest digest) {
  if (digest.kind == Digest::Kind::kNone) return;
  MutexLock lock(mu_);
  if (cached_bytes() == 0) digest_taken_ = false;  // what was compared is gone
  digest_ = std::move(digest);
}

Digest Version::take_digest() {
  MutexLock lock(mu_);
  if (digest_.kind == Digest::Kind::kNone || std::exchange(digest_taken_, true)) return {};
  return digest_;
}

void Version::set_heard(Heard heard) {
  MutexLock lock(mu_);
  heard_ = heard;
}

// --- reads ------------------------------------------------------------------------------------

ReadTicket Version::read(ByteRange range, Callback<Slices> done) {
  auto read = std::make_shared<Read>(range, context_.clock.monotonic_ns(), std::move(done));
  begin(read);
  return ReadTicket([weak = weak_from_this(), read] {
    if (auto version = weak.lock()) version->cancel(read);
  });
}

void Version::begin(const ReadPtr& read) {
  context_.read_requests.add();
  Slices slices;
  if (read_cached(*read, slices)) {
    finish(*read, std::move(slices));
    return;
  }
  Effects effects;
  ReadBytes bytes;
  {
    MutexLock lock(mu_);
    if (!read->finished) bytes = coalescer_.begin_read(read, effects);
  }
  context_.hit_bytes.add(bytes.chunk);
  context_.memory_hit_bytes.add(bytes.memory);
  context_.coalesced_bytes.add(bytes.coalesced);
  context_.miss_bytes.add(bytes.missed);
  carry_out(std::move(effects));
}

/// The common case: everything stands in chunk files. One short lock, no allocation that the
/// slices do not need, no other thread.
bool Version::read_cached(const Read& read, Slices& slices) {
  std::vector<Effects::ChunkWanted> parts;
  {
    MutexLock lock(mu_);
    if (read.finished) return false;
    parts = coalescer_.cached(read.range);
  }
  if (parts.empty()) return false;
  slices.reserve(parts.size());
  for (const Effects::ChunkWanted& wanted : parts) {
    auto slice = context_.open_chunks.slice(wanted.chunk, wanted.part);
    if (!slice) {
      // The slow path meets the fault again and deals with it.
      slices.clear();
      return false;
    }
    slices.push_back(*std::move(slice));
  }
  context_.hit_bytes.add(read.range.size());
  return true;
}

void Version::cancel(const ReadPtr& read) {
  Effects effects;
  {
    MutexLock lock(mu_);
    coalescer_.cancel_read(read, effects);
  }
  carry_out(std::move(effects));
}

void Version::prefetch(ByteRange range) {
  Effects effects;
  {
    MutexLock lock(mu_);
    coalescer_.prefetch(range, effects);
  }
  carry_out(std::move(effects));
}

void Version::warm(ByteRange range) {
  std::vector<ChunkPtr> chunks;
  {
    MutexLock lock(mu_);
    coalescer_.chunks().for_each_overlap(range, [&](Chunk& chunk) { chunks.emplace_back(&chunk); });
  }
  for (const ChunkPtr& chunk : chunks)
    context_.open_chunks.warm(chunk, chunk->range.intersect(range));
}

std::optional<Slice> Version::whole_file() {
  const ByteRange all{0, identity_.size};
  if (all.empty()) return std::nullopt;
  const ChunkPtr chunk = chunk_at(0);
  // Reading a file to prove it is not for an open to wait for: reads do that, block by block.
  if (!chunk || chunk->range != all || !chunk->blocks.proved(chunk->blocks_of(all)))
    return std::nullopt;
  auto slice = context_.open_chunks.slice(chunk, all);
  if (!slice) return std::nullopt;  // a read meets the fault again and deals with it
  struct stat status {};
  if (fstat(slice->fd, &status) != 0 || static_cast<std::uint64_t>(status.st_size) != all.end)
    return std::nullopt;
  slice->owner = std::make_shared<PassthroughFile>(shared_from_this(), std::move(slice->owner));
  return *std::move(slice);
}

std::vector<Version::FilePart> Version::file_parts(std::uint64_t offset, std::size_t limit) {
  std::vector<FilePart> parts;
  for (std::uint64_t at = offset; parts.size() < limit;) {
    const ChunkPtr chunk = chunk_at(at);
    if (!chunk) break;
    const BlockSpan proved = chunk->blocks.proved_around(chunk->blocks_of({at, at + 1}).begin);
    if (proved.begin == proved.end) break;
    ByteRange range{chunk->range.begin + proved.begin * kBlockSize,
                    std::min(chunk->range.end, chunk->range.begin + proved.end * kBlockSize)};
    if (!parts.empty()) range.begin = at;
    auto slice = context_.open_chunks.slice(chunk, range);
    if (!slice) break;  // a read meets the fault again and deals with it
    parts.push_back({range, *std::move(slice)});
    at = range.end;
    if (at < chunk->range.end) break;
  }
  return parts;
}

void Version::finish(Read& read, Result<Slices> result) {
  if (result) {
    context_.read_bytes.add(read.range.size());
  } else if (result.error().code == ErrorCode::kStale) {
    context_.stale_reads.add();
  }
  context_.read_seconds.record_ns(context_.clock.monotonic_ns() - read.started_ns);
  auto callback = std::move(read.callback);
  callback(std::move(result));
}

// --- effects ----------------------------------------------------------------------------------

void Version::carry_out(Effects effects) {
  while (!effects.empty()) {
    Effects next;
    for (const auto& transfer : effects.cancel) transfer->cancel();
    for (const auto& transfer : effects.promote) transfer->promote();
    for (const FlightPtr& flight : effects.start) start_fetch(flight);
    for (auto& piece : effects.store) context_.storer.store(shared_from_this(), std::move(piece));
    for (const auto& wanted : effects.open) open_chunk(wanted, next);
    for (const auto& used : effects.used) context_.open_chunks.note_use(*used.chunk, used.part);
    // Before any reader hears that its version is gone: its next open must get the new one.
    if (effects.changed) context_.changed(shared_from_this());
    for (auto& finished : effects.finished) finish(*finished.read, std::move(finished.result));
    effects = std::move(next);
  }
}

void Version::open_chunk(const Effects::ChunkWanted& wanted, Effects& next) {
  auto slice = context_.open_chunks.slice(wanted.chunk, wanted.part);
  if (slice) {
    MutexLock lock(mu_);
    coalescer_.chunk_ready(wanted.read, wanted.part, *std::move(slice), next);
    return;
  }
  if (!wanted.chunk->evicted) {
    context_.cache_faults.add();
    const ErrorCode code = slice.error().code;
    if (code == ErrorCode::kCorrupt || code == ErrorCode::kNotFound) {
      log_warning("{}: the chunk is dropped, its bytes are fetched again", slice.error().message());
      context_.storer.discard(wanted.chunk);
    } else {
      // That it cannot be read now does not make it bad.
      context_.storer.set_aside(wanted.chunk, slice.error());
    }
  }
  remove_chunk(*wanted.chunk);
  MutexLock lock(mu_);
  coalescer_.chunk_failed(wanted.read, wanted.part, next);
}

void Version::start_fetch(const FlightPtr& flight) {
  FetchRequest request{identity_.key, flight->range, identity_.validator, flight->priority};
  auto transfer =
      origin_->fetch(std::move(request), std::make_shared<FlightSink>(shared_from_this(), flight));
  attach(flight, std::move(transfer));
}

void Version::attach(const FlightPtr& flight, std::shared_ptr<Transfer> transfer) {
  bool cancel = false, resume = false;
  {
    MutexLock lock(mu_);
    cancel = flight->abandoned;
    resume = std::exchange(flight->resume_wanted, false);
    if (!cancel) flight->transfer = transfer;
  }
  if (cancel) transfer->cancel();
  if (resume) transfer->resume();
}

/// Short fetches are quicker than parts; those that waited for memory say nothing of the server.
void Version::note_duration(const Flight& flight, std::int64_t ns) {
  if (flight.range.size() < kPieceSize || flight.whole_body || flight.paused) return;
  const std::int64_t before = part_ns();
  part_ns_.store(before == 0 ? ns : (3 * before + ns) / 4, std::memory_order_relaxed);
}

Version::Adopted Version::adopt(ByteRange range, Priority priority) {
  MutexLock lock(mu_);
  FlightPtr flight = coalescer_.adopt(range, priority);
  if (!flight) return {};
  return {std::make_shared<FlightSink>(shared_from_this(), flight), flight};
}

FetchSink::Verdict Version::take(const FlightPtr& flight, std::span<const std::byte> data) {
  Effects effects;
  Coalescer::Append append{};
  {
    MutexLock lock(mu_);
    append = coalescer_.flight_data(flight, data, *context_.pool, effects);
  }
  carry_out(std::move(effects));
  switch (append) {
    case Coalescer::Append::kTaken:
      return FetchSink::Verdict::kContinue;
    case Coalescer::Append::kNotWanted:
      return FetchSink::Verdict::kAbort;
    case Coalescer::Append::kNoMemory:
      break;
  }
  context_.pool->when_available(kPieceSize, [self = shared_from_this(), flight] {
    std::shared_ptr<Transfer> transfer;
    {
      MutexLock lock(self->mu_);
      transfer = flight->transfer;
      if (!transfer) flight->resume_wanted = true;
    }
    if (transfer) transfer->resume();
  });
  return FetchSink::Verdict::kPause;
}

// --- chunks -----------------------------------------------------------------------------------

bool Version::piece_stored(const Piece& piece, ChunkPtr chunk) {
  Effects effects;
  bool kept = false;
  {
    MutexLock lock(mu_);
    cached_bytes_ += chunk->range.size();
    kept = coalescer_.piece_stored(piece, std::move(chunk), effects);
  }
  carry_out(std::move(effects));
  return kept;
}

void Version::piece_dropped(const Piece& piece) {
  Effects effects;
  {
    MutexLock lock(mu_);
    coalescer_.piece_dropped(piece, effects);
  }
  carry_out(std::move(effects));
}

void Version::insert_chunk(ChunkPtr chunk) {
  MutexLock lock(mu_);
  cached_bytes_ += chunk->range.size();
  coalescer_.insert_chunk(std::move(chunk));
}

bool Version::insert_in_gap(ChunkPtr chunk) {
  MutexLock lock(mu_);
  if (chunk->indexed) return true;
  if (!coalescer_.is_gap(chunk->range)) return false;
  cached_bytes_ += chunk->range.size();
  coalescer_.insert_chunk(std::move(chunk));
  return true;
}

bool Version::remove_chunk(Chunk& chunk) {
  MutexLock lock(mu_);
  const std::uint64_t size = chunk.range.size();  // the chunk may die with its last reference
  if (!coalescer_.remove_chunk(chunk)) return false;
  cached_bytes_ -= size;
  return true;
}

bool Version::replace_chunks(const std::vector<ChunkPtr>& sources, ChunkPtr merged) {
  MutexLock lock(mu_);
  for (const ChunkPtr& source : sources) {
    if (!source->indexed) return false;
  }
  for (const ChunkPtr& source : sources) coalescer_.remove_chunk(*source);
  coalescer_.insert_chunk(std::move(merged));
  return true;
}

std::vector<ChunkPtr> Version::chunks() const {
  MutexLock lock(mu_);
  std::vector<ChunkPtr> chunks;
  coalescer_.chunks().for_each_overlap({0, identity_.size},
                                       [&](Chunk& chunk) { chunks.emplace_back(&chunk); });
  return chunks;
}

std::vector<ChunkPtr> Version::chunks_from(std::uint64_t offset, std::size_t limit) const {
  MutexLock lock(mu_);
  std::vector<ChunkPtr> chunks;
  for (Chunk* chunk = coalescer_.chunks().first_from(offset); chunk && chunks.size() < limit;
       chunk = coalescer_.chunks().after(*chunk)) {
    chunks.emplace_back(chunk);
  }
  return chunks;
}

ChunkPtr Version::chunk_at(std::uint64_t offset) const {
  MutexLock lock(mu_);
  return ChunkPtr(coalescer_.chunks().covering(offset));
}

ChunkPtr Version::chunk_of(ByteRange range) const {
  MutexLock lock(mu_);
  for (Chunk* chunk = coalescer_.chunks().first_overlap(range); chunk;
       chunk = coalescer_.chunks().after(*chunk)) {
    if (chunk->range == range) return ChunkPtr(chunk);
    if (chunk->range.begin > range.begin) break;
  }
  return {};
}

std::vector<ByteRange> Version::flight_ranges() const {
  MutexLock lock(mu_);
  std::vector<ByteRange> ranges;
  for (const auto& [begin, flight] : coalescer_.flights()) {
    if (!flight->pending().empty()) ranges.push_back(flight->pending());
  }
  return ranges;
}

}  // namespace rangecache::cache
