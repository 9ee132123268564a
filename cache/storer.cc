#include "cache/storer.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <future>
#include <utility>

#include "base/log.h"
#include "cache/disk_probe.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kFaultLogInterval_ns = 5'000'000'000;  // a full disk must not fill the log
constexpr std::uint64_t kEvictOnNoSpace = 16 * kPieceSize;
constexpr std::uint64_t kMaxUndeleted = 4;
constexpr int kTrimSlice = 8;  // chunks, before others on the store thread have their turn
constexpr std::uint64_t kDirectoryCharge = 2 * 4096;  // a version's directory and its meta file

Chunk& chunk_of(EvictionHook& hook) { return static_cast<Chunk&>(hook); }

}  // namespace

Storer::Storer(Parts parts, Options options)
    : parts_(parts),
      evicted_chunks_(
          parts.metrics.counter("rangecache_evicted_chunks_total", "Chunks removed to make room")),
      evicted_bytes_(parts.metrics.counter("rangecache_evicted_bytes_total",
                                           "Bytes of chunks removed to make room")),
      faults_(parts.metrics.counter("rangecache_cache_faults_total",
                                    "Failures of the cache disk that readers did not see")),
      left_out_bytes_(parts.metrics.counter(
          "rangecache_left_out_bytes_total",
          "Bytes served but not kept: the disk fails, or is needed by others")),
      chunks_(parts.metrics.gauge("rangecache_chunks", "Chunks on disk")),
      look_after_ms_(options.look_after_ms),
      marks_(Watermarks::of(parts.ledger.limit())),
      free_space_(parts.files, parts.store.directory(), options.keep_free_bytes, parts.clock,
                  parts.metrics),
      grace_(parts.clock, parts.ledger.limit() / 8),
      set_aside_(parts.clock),
      loop_("rc-store") {}

Storer::~Storer() { stop(); }

void Storer::start(ChunkWriter& writer, std::function<std::vector<VersionPtr>()> all_versions) {
  writer_ = &writer;
  all_versions_ = std::move(all_versions);
  started_ = true;
  // Begins each run with one compact file; what earlier runs have left goes.
  loop_.post([this] {
    (void)checkpoint();
    flush();  // what the checkpoint holds already is not written again
    look_after_disk();
  });
}

// --- storing ----------------------------------------------------------------------------------

void Storer::store(VersionPtr version, std::shared_ptr<Piece> piece) {
  loop_.post([this, job = Job{std::move(version), std::move(piece), 0}]() mutable {
    begin(std::move(job));
  });
}

void Storer::begin(Job job) {
  const ByteRange range = job.piece->filled();
  if (stopping_ || job.version->no_store()) return job.version->piece_dropped(*job.piece);
  job.charge = Ledger::chunk_charge(range.size());
  if (!may_be_kept(job)) return leave_out(job);
  if (!reserve(job.charge)) {
    return drop(job, Error(ErrorCode::kNoSpace, "nothing can be evicted to make room"));
  }
  if (auto made = ensure_directory(*job.version); !made) {
    parts_.ledger.release(job.charge);
    parts_.breaker.fault(DiskBreaker::Fault::kWrite, made.error());
    make_room_after(made.error());
    return drop(job, made.error());
  }
  free_space_.begin(job.charge);
  ++job.version->on_disk.files;
  writing_.insert({job.version->id(), range.begin});

  ChunkWrite write;
  write.version = job.version->id();
  write.range = range;
  write.data = {job.piece->data(), range.size()};
  write.owner = job.piece;
  write.whole_checksum = XXH3_64bits(job.piece->data(), range.size());
  write.done = [this, job](Result<std::uint64_t> disk_bytes) {
    loop_.post([this, job, disk_bytes = std::move(disk_bytes)]() mutable {
      finish(job, std::move(disk_bytes));
    });
  };
  writer_->write(std::move(write));
}

void Storer::finish(Job job, Result<std::uint64_t> disk_bytes) {
  const ByteRange range = job.piece->filled();
  writing_.erase({job.version->id(), range.begin});
  free_space_.finished(job.charge, disk_bytes.has_value());
  if (!disk_bytes) {
    --job.version->on_disk.files;
    parts_.ledger.release(job.charge);
    parts_.breaker.fault(DiskBreaker::Fault::kWrite, disk_bytes.error());
    make_room_after(disk_bytes.error());
    drop(job, disk_bytes.error());
    return forget_if_empty(job.version);
  }
  ChunkPtr chunk(new Chunk(job.version.get(), range, job.piece->checksums()));
  chunk->charge = job.charge;
  chunk->proved_blocks = ~std::uint64_t{0};
  chunk->bytes = job.charge;
  chunk->ghost_key = chunk->version->id().low ^ (range.begin * 0x9e3779b97f4a7c15ULL);
  job.version->piece_stored(*job.piece, chunk);
  enter(chunk, job.piece->unread_ahead);
  chunks_.add(1);
  parts_.manifest.append_chunk({job.version->id(), range, chunk->checksums});
  flush_soon();
  trim_soon();
}

bool Storer::may_be_kept(const Job& job) {
  return parts_.breaker.writes_allowed() && leaves_floor(job.charge) &&
         // A chunk with these bytes is still on the disk, and may come back.
         !set_aside_.overlaps(*job.version, job.piece->filled());
}

void Storer::leave_out(const Job& job) {
  left_out_bytes_.add(job.piece->filled().size());
  job.version->piece_dropped(*job.piece);
}

void Storer::drop(const Job& job, const Error& error) {
  job.version->piece_dropped(*job.piece);
  faults_.add();
  const std::int64_t now = parts_.clock.monotonic_ns();
  if (now - last_fault_logged_ns_ < kFaultLogInterval_ns && last_fault_logged_ns_ != 0) return;
  last_fault_logged_ns_ = now;
  log_warning("{}: bytes of {} are served but not kept", error.message(), job.version->url());
}

Result<void> Storer::ensure_directory(Version& version) {
  if (version.on_disk.directory) return {};
  if (!reserve(kDirectoryCharge))
    return Error(ErrorCode::kNoSpace, "nothing can be evicted to make room");
  const VersionRecord record = version.record();
  if (auto made = parts_.store.create_version(record); !made) {
    parts_.ledger.release(kDirectoryCharge);
    return made;
  }
  version.on_disk.directory = true;
  parts_.manifest.append_version(record);
  return {};
}

// --- evicting ---------------------------------------------------------------------------------

bool Storer::reserve(std::uint64_t bytes) {
  // Where files cannot be deleted, forgetting more of them makes no room.
  const std::uint64_t enough = undeleted_ + kMaxUndeleted;
  while (!parts_.ledger.try_reserve(bytes)) {
    if (undeleted_ >= enough || !evict_one()) return false;
  }
  return true;
}

void Storer::make_room_after(const Error& error) {
  if (error.code != ErrorCode::kNoSpace) return;
  // Others filled the disk: give some of ours back, so that the next writes fit.
  for (std::uint64_t freed = 0; freed < kEvictOnNoSpace && evict_one(); freed += kPieceSize) {
  }
}

/// Makes room in the file system for what is new, by what is old of ours, but not for others:
/// that is the business of look_after_disk().
bool Storer::leaves_floor(std::uint64_t bytes) {
  std::uint64_t missing = free_space_.missing_for(bytes);
  if (free_space_.below()) {
    trim_soon();
    return false;
  }
  for (int i = 0; missing > 0 && i < kTrimSlice; ++i) {
    if (!evict_one()) return false;
    missing = free_space_.missing_for(bytes);
  }
  return missing == 0;
}

void Storer::enter(const ChunkPtr& chunk, bool read_ahead) {
  if (read_ahead) {
    chunk->unread_ahead = true;
    grace_.add(chunk);
  } else {
    parts_.policy.insert(*chunk);
  }
  end_grace();
}

void Storer::end_grace() {
  while (const ChunkPtr chunk = grace_.leave()) parts_.policy.insert(*chunk);
}

void Storer::trim_soon() {
  if (!started_ || trim_posted_ || !wants_trim()) return;
  trim_posted_ = true;
  loop_.post([this] {
    trim_posted_ = false;
    trim();
  });
}

bool Storer::wants_trim() {
  if (stopping_) return false;
  const std::uint64_t used = parts_.ledger.used();
  trimming_ = used > (trimming_ ? marks_.low : marks_.high);
  // Files of a disk that fails cannot be counted on to go; of a full one, they can.
  const DiskBreaker& breaker = parts_.breaker;
  if (!breaker.writes_allowed() && breaker.cause() != ErrorCode::kNoSpace) return false;
  return trimming_ || free_space_.missing() > 0;
}

/// One slice: evicts ahead of need, so that writes need not wait for it.
void Storer::trim() {
  const std::uint64_t undeleted = undeleted_;
  for (int i = 0; i < kTrimSlice; ++i) {
    if (!wants_trim() || !evict_one() || undeleted_ > undeleted) return;
  }
  trim_soon();
}

bool Storer::evict_one() {
  end_grace();
  EvictionHook* victim = parts_.policy.victim();
  if (!victim) {
    const ChunkPtr graced = grace_.leave(/*force=*/true);
    if (!graced) return false;
    parts_.policy.insert(*graced);
    victim = parts_.policy.victim();
    if (!victim) return false;
  }
  Chunk& chunk = chunk_of(*victim);
  evicted_chunks_.add();
  evicted_bytes_.add(chunk.range.size());
  remove(chunk, "evicted");
  return true;
}

void Storer::remove(Chunk& chunk, const char* why) {
  const ChunkPtr keep(&chunk);
  const VersionPtr version = chunk.version->shared_from_this();
  if (!grace_.remove(chunk)) parts_.policy.remove(chunk);
  chunks_.add(-1);
  version->remove_chunk(chunk);
  // First no new readers, then no name, then the space: in this order no reader can hold a
  // descriptor that nobody counts.
  const std::uint64_t charge = std::exchange(chunk.charge, 0);
  parts_.open_chunks.retire(chunk, Charge(parts_.ledger, charge));
  set_aside_.forget(chunk);
  if (auto removed = parts_.store.remove_chunk(version->id(), chunk.range);
      !removed && removed.error().code != ErrorCode::kNotFound) {
    // What stands on the disk stays counted; the next start looks for it (no clean mark).
    parts_.ledger.charge_existing(charge);
    ++undeleted_;
    faults_.add();
    parts_.breaker.fault(DiskBreaker::Fault::kWrite, removed.error());
    log_warning("a chunk that is {} cannot be deleted: {}", why, removed.error().message());
  } else {
    free_space_.deleted(charge);
  }
  parts_.manifest.append_chunk_removed(version->id(), chunk.range);
  --version->on_disk.files;
  forget_if_empty(version);
  flush_soon();
}

void Storer::forget_if_empty(const VersionPtr& version) {
  if (version->on_disk.files > 0 || !version->on_disk.directory) return;
  if (auto removed = parts_.store.remove_version(version->id()); !removed) {
    ++undeleted_;
    log_warning("{}", removed.error().message());
    return;  // it stands there still, charged and known
  }
  parts_.ledger.release(kDirectoryCharge);
  version->on_disk.directory = false;
  parts_.manifest.append_version_removed(version->id());
}

void Storer::discard(ChunkPtr chunk) {
  loop_.post([this, chunk = std::move(chunk)] {
    if (!chunk->evicted && chunk->charge > 0) remove(*chunk, "bad");
  });
}

void Storer::set_aside(ChunkPtr chunk, const Error& error) {
  if (!set_aside_.add(chunk)) return;
  loop_.post([this, chunk = std::move(chunk), error] {
    parts_.breaker.fault(DiskBreaker::Fault::kRead, error);
    if (!parts_.breaker.reads_allowed()) return;  // said once
    log_warning("{}: bytes of {} come from the origin for a while", error.message(),
                chunk->version->url());
  });
}

void Storer::evict(std::vector<ChunkPtr> chunks,
                   UniqueFunction<void(std::uint64_t, std::uint64_t)> done) {
  loop_.post([this, chunks = std::move(chunks), done = std::move(done)]() mutable {
    std::uint64_t count = 0, bytes = 0;
    for (const ChunkPtr& chunk : chunks) {
      if (chunk->charge == 0) continue;  // went by itself meanwhile
      ++count;
      bytes += chunk->range.size();
      remove(*chunk, "evicted");
    }
    done(count, bytes);
  });
}

void Storer::note(VersionPtr version) {
  loop_.post([this, version = std::move(version)] {
    if (!version->on_disk.directory) return;
    parts_.manifest.append_version(version->record());
    flush_soon();
  });
}

// --- loading ----------------------------------------------------------------------------------

void Storer::adopt_directory(const VersionPtr& version) {
  if (std::exchange(version->on_disk.directory, true)) return;
  parts_.ledger.charge_existing(kDirectoryCharge);
}

void Storer::adopt_loaded(const VersionPtr& version, ChunkRecord record) {
  ChunkPtr chunk(new Chunk(version.get(), record.range, std::move(record.checksums)));
  chunk->charge = Ledger::chunk_charge(record.range.size());
  chunk->bytes = chunk->charge;
  chunk->ghost_key = version->id().low ^ (record.range.begin * 0x9e3779b97f4a7c15ULL);
  parts_.ledger.charge_existing(chunk->charge);
  ++version->on_disk.files;
  version->insert_chunk(chunk);
  parts_.policy.insert(*chunk);
  chunks_.add(1);
}

void Storer::shrink_to_limit() {
  while (parts_.ledger.used() > parts_.ledger.limit() && evict_one()) {
  }
}

// --- looking after the disk -------------------------------------------------------------------

void Storer::look_after_disk() {
  if (stopping_) return;
  free_space_.look();
  end_grace();
  probe();
  if (parts_.breaker.writes_allowed()) {
    parts_.manifest.notice_loss();
    if (parts_.manifest.wants_checkpoint()) flush();
  }
  if (parts_.breaker.reads_allowed()) set_aside_.restore(/*all=*/false);
  trim_soon();
  loop_.call_after_ms(look_after_ms_, [this] { look_after_disk(); });
}

void Storer::probe() {
  if (!parts_.breaker.begin_probe()) return;
  auto result = probe_disk(parts_.files, parts_.store);
  if (result && parts_.manifest.wants_checkpoint()) result = checkpoint();
  parts_.breaker.probed(result);
  // Not at the first failure: a disk that is full for a moment should not cost what is cached.
  if (!result) return make_room_after(result.error());
  set_aside_.restore(/*all=*/true);
  flush();
}

// --- manifest ---------------------------------------------------------------------------------

void Storer::flush_soon() {
  // Before start() all is done on the thread that loads: the store thread must not wake to it.
  if (!started_) return;
  // One write for all that the loop does in this round.
  if (std::exchange(flush_posted_, true)) return;
  loop_.post([this] {
    flush_posted_ = false;
    flush();
  });
}

void Storer::flush() {
  // While the breaker is open its probe decides when the manifest is tried again.
  if (!parts_.breaker.writes_allowed() && !stopping_) return;
  if (auto flushed = parts_.manifest.flush(); !flushed) {
    faults_.add();
    parts_.breaker.fault(DiskBreaker::Fault::kWrite, flushed.error());
    log_warning("the manifest cannot be written: {}", flushed.error().message());
  }
  account_manifest();
  if (parts_.manifest.wants_checkpoint()) (void)checkpoint();
}

void Storer::account_manifest() {
  // While a checkpoint is made its file stands beside the old one: room for twice is kept.
  const std::uint64_t wanted = 2 * parts_.manifest.disk_bytes() + 16 * 4096;
  if (wanted > manifest_charge_) {
    const std::uint64_t more = wanted - manifest_charge_;
    if (!reserve(more)) parts_.ledger.charge_existing(more);
  } else {
    parts_.ledger.release(manifest_charge_ - wanted);
  }
  manifest_charge_ = wanted;
}

/// Without it what is new would not be known to the next start: a failure opens the breaker.
Result<void> Storer::checkpoint() {
  const auto versions = all_versions_();
  auto written = parts_.manifest.checkpoint([&](CheckpointSink& sink) {
    for (const VersionPtr& version : versions) {
      if (!version->on_disk.directory) continue;
      sink.version(version->record());
      for (const ChunkPtr& chunk : version->chunks())
        sink.chunk({version->id(), chunk->range, chunk->checksums});
    }
    for (const ChunkPtr& chunk : set_aside_.chunks())
      sink.chunk({chunk->version->id(), chunk->range, chunk->checksums});
  });
  if (!written) {
    faults_.add();
    parts_.breaker.trip(written.error());
  }
  account_manifest();
  return written;
}

void Storer::stop() {
  if (writer_) {
    std::promise<void> begun;  // pieces that wait their turn on the loop reach the writer first
    loop_.post([&begun] { begun.set_value(); });
    begun.get_future().wait();
    writer_->drain();  // its callbacks post to the loop, which runs them before it ends
    writer_ = nullptr;
    loop_.post([this] {
      stopping_ = true;
      flush();
      if (auto closed = parts_.manifest.close(undeleted_ == 0); !closed) {
        log_warning("the manifest cannot be closed: {}", closed.error().message());
      }
    });
  }
  loop_.stop();
}

}  // namespace rangecache::cache
