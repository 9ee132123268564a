#include "cache/storer.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "cache/disk_probe.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kFaultLogInterval_ns = 5'000'000'000;  // a full disk must not fill the log
constexpr std::uint64_t kDirectoryCharge = 2 * 4096;  // a version's directory and its meta file
constexpr std::uint64_t kSmallPiece = 128 * 1024;
constexpr std::int64_t kBehindLook_ms = 20;
constexpr std::int64_t kSmallPieceStays_ms = 1'000;

/// Adds to a gauge as long as it lives.
class Counted {
 public:
  Counted(Gauge& gauge, std::uint64_t n) : gauge_(gauge), n_(static_cast<std::int64_t>(n)) {
    gauge_.add(n_);
  }
  ~Counted() { gauge_.add(-n_); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  Gauge& gauge_;
  const std::int64_t n_;
};

}  // namespace

Storer::Storer(Parts parts, Options options)
    : parts_(parts),
      corrupt_chunks_(parts.metrics.counter("rangecache_corrupt_chunks_total",
                                            "Chunks thrown away: damaged, or their file is gone")),
      faults_(parts.metrics.counter("rangecache_cache_faults_total",
                                    "Failures of the cache disk that readers did not see")),
      left_out_bytes_(parts.metrics.counter(
          "rangecache_left_out_bytes_total",
          "Bytes served but not kept: the disk fails, or is needed by others")),
      unwritten_bytes_(parts.metrics.gauge("rangecache_unwritten_bytes",
                                           "Bytes that have come and are not on disk yet")),
      not_admitted_bytes_(parts.metrics.counter(
          "rangecache_not_admitted_bytes_total",
          "Bytes served but not kept: asked for the first time (--admission second-use)")),
      pinned_gauge_(parts.metrics.gauge("rangecache_pinned_bytes",
                                        "Bytes on disk that eviction has spared for a pin")),
      walk_gauge_(parts.metrics.gauge("rangecache_walking",
                                      "1 while files of an unclean stop are looked for")),
      look_after_ms_(options.look_after_ms),
      free_space_(parts.files, parts.store.directory(), options.keep_free_bytes, parts.clock,
                  parts.metrics),
      evictor_({parts.ledger, parts.groups, free_space_, parts.breaker, parts.open_chunks,
                parts.clock, parts.metrics},
               [this](Chunk& chunk) { return remove(chunk, "evicted"); }),
      writes_(options.memory_bytes, parts.clock, parts.metrics),
      memory_bytes_(options.memory_bytes),
      kept_pieces_(parts.clock),
      set_aside_(parts.clock),
      loop_("rc-store") {
  if (options.admit_second_use) admission_.emplace();
}

Storer::~Storer() { stop(); }

void Storer::start(ChunkWriter& writer, std::function<std::vector<VersionPtr>()> all_versions) {
  writer_ = &writer;
  all_versions_ = std::move(all_versions);
  started_ = true;
  loop_.post([this] {
    flush();
    look_after_disk();
  });
}

// --- storing ----------------------------------------------------------------------------------

void Storer::store(VersionPtr version, std::shared_ptr<Piece> piece) {
  auto counted = std::make_shared<Counted>(unwritten_bytes_, piece->filled().size());
  PieceWrite job{std::move(version), std::move(piece), 0, std::move(counted)};
  loop_.post([this, job = std::move(job)]() mutable {
    if (stopping_ || job.version->no_store()) return job.version->piece_dropped(*job.piece);
    if (!is_admitted(job)) return turn_away(job);
    writes_.push(std::move(job));
    work_off();
  });
}

void Storer::work_off() {
  for (const PieceWrite& job : writes_.give_up()) leave_out(job);
  while (auto job = writes_.next()) {
    const PieceWrite taken = *job;
    if (!begin(*std::move(job))) writes_.done(taken);
  }
  // While readers wait for memory: what they have had in the meantime need not be kept.
  if (writes_.behind() && !std::exchange(work_off_posted_, true)) {
    loop_.call_after_ms(kBehindLook_ms, [this] {
      work_off_posted_ = false;
      work_off();
    });
  }
}

/// False: it is not to be written, and is dealt with.
bool Storer::begin(PieceWrite job) {
  const ByteRange range = job.piece->filled();
  job.charge = Ledger::chunk_charge(range.size());
  if (!may_be_kept(job) || !evictor_.make_room_in_quota(*job.version, job.charge)) {
    leave_out(job);
    trim_soon();
    return false;
  }
  if (!evictor_.reserve(job.charge)) {
    drop(job, Error(ErrorCode::kNoSpace, "nothing can be evicted to make room"));
    return false;
  }
  parts_.groups.take(*job.version, job.charge);
  if (auto made = ensure_directory(*job.version); !made) {
    parts_.ledger.release(job.charge);
    parts_.groups.give_back(*job.version, job.charge);
    parts_.breaker.fault(DiskBreaker::Fault::kWrite, made.error());
    make_room_after(made.error());
    drop(job, made.error());
    return false;
  }
  free_space_.begin(job.charge);
  ++job.version->on_disk.files;
  writing_.insert({job.version->id(), range.begin, range.end});

  ChunkWrite write;
  write.version = job.version->id();
  write.range = range;
  write.data = {job.piece->data(), range.size()};
  write.owner = job.piece;
  write.checksum = chunk_checksum(job.piece->checksums());
  write.done = [this, job](Result<std::uint64_t> disk_bytes) {
    loop_.post([this, job, disk_bytes = std::move(disk_bytes)]() mutable {
      finish(job, std::move(disk_bytes));
    });
  };
  writer_->write(std::move(write));
  return true;
}

void Storer::finish(PieceWrite job, Result<std::uint64_t> disk_bytes) {
  writes_.done(job);
  enter_written(std::move(job), std::move(disk_bytes));
  work_off();
}

void Storer::enter_written(PieceWrite job, Result<std::uint64_t> disk_bytes) {
  const ByteRange range = job.piece->filled();
  writing_.erase(writing_.find({job.version->id(), range.begin, range.end}));
  free_space_.finished(job.charge, disk_bytes.has_value());
  if (!disk_bytes) {
    --job.version->on_disk.files;
    parts_.ledger.release(job.charge);
    parts_.groups.give_back(*job.version, job.charge);
    parts_.breaker.fault(DiskBreaker::Fault::kWrite, disk_bytes.error());
    make_room_after(disk_bytes.error());
    drop(job, disk_bytes.error());
    return forget_if_empty(job.version);
  }
  ChunkPtr chunk(new Chunk(job.version.get(), range, job.piece->checksums(), /*proved=*/true));
  if (job.version->piece_stored(*job.piece, chunk)) kept_pieces_.add(job.version, job.piece);
  shrink_kept_pieces();
  evictor_.insert(*chunk, job.piece->unread_ahead);
  if (on_stored_) on_stored_(job.version);
  parts_.manifest.append_chunk({job.version->id(), range, job.piece->checksums()});
  if (parts_.sync) parts_.sync->wrote(range.size());
  flush_soon();
  trim_soon();
}

/// A quarter of the memory at most, and less the more of it waits for the disk.
void Storer::shrink_kept_pieces() {
  const std::uint64_t most = memory_bytes_ / 4, less = writes_.backlog_bytes() / 2;
  kept_pieces_.shrink_to(most - std::min(most, less));
}

bool Storer::may_be_kept(const PieceWrite& job) {
  return parts_.breaker.writes_allowed() && parts_.manifest.recording() &&
         evictor_.fits_beside_strays(job.charge + kDirectoryCharge) &&
         evictor_.leaves_floor(job.charge) &&
         // A chunk with these bytes is still on the disk, and may come back.
         !set_aside_.overlaps(*job.version, job.piece->filled());
}

bool Storer::is_admitted(const PieceWrite& job) {
  // A piece is known by its begin: another piece of the same first pass begins elsewhere, and a
  // second pass like the first cuts its pieces alike.
  const std::uint64_t key = job.version->id().low + job.piece->begin();
  return !admission_ || admission_->admit(key);
}

void Storer::turn_away(const PieceWrite& job) {
  not_admitted_bytes_.add(job.piece->filled().size());
  if (job.piece->filled().size() > kSmallPiece) return job.version->piece_dropped(*job.piece);
  // What an open has brought is read next: it should not be fetched twice for that.
  loop_.call_after_ms(kSmallPieceStays_ms, [job] { job.version->piece_dropped(*job.piece); });
}

void Storer::leave_out(const PieceWrite& job) {
  left_out_bytes_.add(job.piece->filled().size());
  job.version->piece_dropped(*job.piece);
}

void Storer::drop(const PieceWrite& job, const Error& error) {
  job.version->piece_dropped(*job.piece);
  faults_.add();
  const std::int64_t now = parts_.clock.monotonic_ns();
  if (now - last_fault_logged_ns_ < kFaultLogInterval_ns && last_fault_logged_ns_ != 0) return;
  last_fault_logged_ns_ = now;
  log_warning("{}: bytes of {} are served but not kept", error.message(), job.version->url());
}

Result<void> Storer::ensure_directory(Version& version) {
  if (version.on_disk.directory) return {};
  if (!evictor_.reserve(kDirectoryCharge))
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

// --- making room --------------------------------------------------------------------------------

void Storer::make_room_after(const Error& error) {
  if (error.code == ErrorCode::kNoSpace) evictor_.make_room_on_full_disk();
}

void Storer::trim_soon() {
  if (!started_ || stopping_ || trim_posted_ || !evictor_.wants_trim()) return;
  trim_posted_ = true;
  loop_.post([this] {
    trim_posted_ = false;
    if (!stopping_ && evictor_.trim()) trim_soon();
  });
}

/// False: its file, or its empty directory, could not be deleted.
bool Storer::remove(Chunk& chunk, const char* why) {
  const std::uint64_t undeleted = undeleted_;
  const ChunkPtr keep(&chunk);
  const VersionPtr version = chunk.version->shared_from_this();
  version->remove_chunk(chunk);
  parts_.manifest.append_chunk_removed(version->id(), chunk.range);
  delete_file(chunk, why);
  forget_if_empty(version);
  flush_soon();
  return undeleted_ == undeleted;
}

/// Of a chunk that is in no tree any more.
void Storer::delete_file(Chunk& chunk, const char* why) {
  const std::uint64_t charge = evictor_.erase(chunk);
  parts_.groups.give_back(*chunk.version, charge);
  --chunk.version->on_disk.files;
  // First no new readers, then no name, then the space: in this order no reader can hold a
  // descriptor that nobody counts.
  parts_.open_chunks.retire(chunk, Charge(parts_.ledger, charge));
  set_aside_.forget(chunk);
  if (auto removed = parts_.store.remove_chunk(chunk.version->id(), chunk.range);
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
    if (!chunk->counted) return;  // two readers may have met it
    corrupt_chunks_.add();
    chunk->version->remove_chunk(*chunk);    // first: who waits must not be sent there
    kept_pieces_.drop_of({chunk->version});  // or nobody would fetch it for the disk
    remove(*chunk, "bad");
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

void Storer::evict(std::vector<VersionPtr> versions, UniqueFunction<void(Evicted)> done) {
  loop_.post([this, versions = std::move(versions), done = std::move(done)]() mutable {
    Evicted evicted;
    std::unordered_set<const Version*> all;
    for (const VersionPtr& version : versions) all.insert(version.get());
    kept_pieces_.drop_of(all);
    for (const VersionPtr& version : versions) {
      // Asked for here and not by the caller: a merge may just have put others in their place.
      const std::vector<ChunkPtr> chunks = version->chunks();
      evicted.objects += chunks.empty() ? 0 : 1;
      for (const ChunkPtr& chunk : chunks) {
        if (!chunk->counted) continue;
        ++evicted.chunks;
        evicted.bytes += chunk->range.size();
        remove(*chunk, "evicted");
      }
    }
    done(evicted);
  });
}

void Storer::note(VersionPtr version) {
  loop_.post([this, version = std::move(version)] {
    if (!version->on_disk.directory) return;
    parts_.manifest.append_version(version->record());
    flush_soon();
  });
}

// --- merging ----------------------------------------------------------------------------------

bool Storer::begin_merge(const VersionPtr& version, ByteRange range) {
  std::promise<bool> begun;
  loop_.post([&] {
    const bool can = !stopping_ && parts_.breaker.writes_allowed() && parts_.manifest.recording() &&
                     !evictor_.has_strays() && !free_space_.below() &&
                     parts_.ledger.try_reserve(Ledger::chunk_charge(range.size()));
    if (can) {
      parts_.groups.take(*version, Ledger::chunk_charge(range.size()));
      ++version->on_disk.files;  // so that its directory stays
      writing_.insert({version->id(), range.begin, range.end});
    }
    begun.set_value(can);
  });
  return begun.get_future().get();
}

bool Storer::end_merge(const VersionPtr& version, ByteRange range, ChunkPtr merged,
                       std::vector<ChunkPtr> sources) {
  std::promise<bool> ended;
  loop_.post([&] {
    writing_.erase(writing_.find({version->id(), range.begin, range.end}));
    const bool replaced = merged && replace(version, merged, sources);
    if (!replaced) {
      // Unless a chunk of this very range has come meanwhile: then the name is that one's.
      if (merged && !version->has_chunk(range) &&
          !writing_.contains({version->id(), range.begin, range.end})) {
        (void)parts_.store.remove_chunk(version->id(), range);
      }
      --version->on_disk.files;
      parts_.ledger.release(Ledger::chunk_charge(range.size()));
      parts_.groups.give_back(*version, Ledger::chunk_charge(range.size()));
      forget_if_empty(version);
    }
    ended.set_value(replaced);
  });
  return ended.get_future().get();
}

bool Storer::replace(const VersionPtr& version, const ChunkPtr& merged,
                     const std::vector<ChunkPtr>& sources) {
  // First written down, then taken out of the index, then deleted: after a kill in between the
  // journal speaks of what is there.
  for (const ChunkPtr& source : sources) {
    if (!source->counted) return false;  // evicted, or found bad
  }
  parts_.manifest.append_chunk({version->id(), merged->range, merged->blocks.checksums()});
  for (const ChunkPtr& source : sources)
    parts_.manifest.append_chunk_removed(version->id(), source->range);
  const bool written_down = parts_.breaker.writes_allowed() && parts_.manifest.flush();
  flush_soon();
  if (!written_down || !version->replace_chunks(sources, merged)) {
    parts_.manifest.append_chunk_removed(version->id(), merged->range);
    for (const ChunkPtr& source : sources) {
      if (source->counted) parts_.manifest.append_chunk(record_of(*source));
    }
    return false;
  }
  std::uint8_t uses = 0;
  for (const ChunkPtr& source : sources) {
    uses = std::max(uses, source->frequency.load(std::memory_order_relaxed));
    delete_file(*source, "merged");
  }
  evictor_.insert(*merged);
  for (; uses > 0; --uses) parts_.groups.touched(*merged);
  if (parts_.sync) parts_.sync->wrote(merged->range.size());
  return true;
}

// --- loading ----------------------------------------------------------------------------------

void Storer::adopt_directory(const VersionPtr& version) {
  if (std::exchange(version->on_disk.directory, true)) return;
  parts_.ledger.charge_existing(kDirectoryCharge);
}

void Storer::adopt_chunk(const VersionPtr& version, const ChunkRecord& record) {
  ChunkPtr chunk(record.checksums.empty()
                     ? new Chunk(version.get(), record.range)
                     : new Chunk(version.get(), record.range, record.checksums, false));
  version->insert_chunk(chunk);
  enter(chunk);
}

/// What is on the disk and in the tree already: counts it, and lets it be evicted.
void Storer::enter(const ChunkPtr& chunk) {
  parts_.ledger.charge_existing(Ledger::chunk_charge(chunk->range.size()));
  parts_.groups.take(*chunk->version, Ledger::chunk_charge(chunk->range.size()));
  ++chunk->version->on_disk.files;
  evictor_.insert(*chunk);
}

void Storer::unload_chunk(Chunk& chunk) {
  const std::uint64_t charge = evictor_.erase(chunk);
  parts_.ledger.release(charge);
  parts_.groups.give_back(*chunk.version, charge);
  --chunk.version->on_disk.files;
  chunk.version->remove_chunk(chunk);  // may be its last reference
}

void Storer::unload_version(const VersionPtr& version) {
  for (const ChunkPtr& chunk : version->chunks()) unload_chunk(*chunk);
  if (std::exchange(version->on_disk.directory, false)) parts_.ledger.release(kDirectoryCharge);
}

// --- strays -----------------------------------------------------------------------------------

void Storer::expect_strays(std::uint64_t bytes) {
  evictor_.expect_strays(bytes);
  walking_ = true;
  walk_gauge_.set(1);
}

bool Storer::reconcile(Strays strays) {
  std::promise<bool> settled;
  loop_.post([&] {
    if (!stopping_) settle(strays);
    settled.set_value(!stopping_);
  });
  return settled.get_future().get();
}

void Storer::settle(const Strays& strays) {
  VersionPtr version = find_(strays.id);
  const auto unknown = [&](ByteRange range) {
    return !writing_.contains({strays.id, range.begin, range.end}) &&
           !(version && (version->has_chunk(range) || set_aside_.overlaps(*version, range)));
  };
  for (const ByteRange range : strays.chunks) {
    if (!unknown(range)) continue;
    if (!version && strays.make_version) {
      version = strays.make_version();
    }
    ChunkPtr chunk(new Chunk(version.get(), range));
    if (!version || range.end > version->size() || !version->insert_in_gap(chunk)) {
      removed_ += static_cast<bool>(parts_.store.remove_chunk(strays.id, range));
      continue;
    }
    if (!version->on_disk.directory) parts_.manifest.append_version(version->record());
    adopt_directory(version);
    parts_.manifest.append_chunk({strays.id, range, {}});
    enter(chunk);
    ++adopted_;
  }
  for (const ByteRange range : strays.worthless) {
    if (unknown(range)) removed_ += static_cast<bool>(parts_.store.remove_chunk(strays.id, range));
  }
  if (!version || !version->on_disk.directory) (void)parts_.store.remove_version(strays.id);
  evictor_.shrink_to_limits();
  flush_soon();
}

void Storer::walk_done(bool complete) {
  loop_.post([this, complete] {
    evictor_.expect_strays(0);
    walking_ = !complete;
    walk_gauge_.set(0);
    if (adopted_ + removed_ > 0)
      log_info("after an unclean stop: {} chunks adopted, {} removed", adopted_, removed_);
  });
}

// --- looking after the disk -------------------------------------------------------------------

void Storer::look_after_disk() {
  if (stopping_) return;
  free_space_.look();
  work_off();
  shrink_kept_pieces();
  evictor_.end_grace();
  pinned_gauge_.set(static_cast<std::int64_t>(parts_.groups.pinned_bytes()));
  probe();
  if (parts_.breaker.writes_allowed()) {
    parts_.manifest.notice_loss();
    if (parts_.manifest.wants_checkpoint()) flush();
  }
  if (parts_.breaker.reads_allowed()) restore_set_aside(/*all=*/false);
  trim_soon();
  loop_.call_after_ms(look_after_ms_, [this] { look_after_disk(); });
}

void Storer::probe() {
  if (!parts_.breaker.begin_probe()) return;
  auto result = probe_disk(parts_.files, parts_.store);
  if (result && parts_.manifest.wants_checkpoint()) result = begin_checkpoint();
  parts_.breaker.probed(result);
  // Not at the first failure: a disk that is full for a moment should not cost what is cached.
  if (!result) return make_room_after(result.error());
  restore_set_aside(/*all=*/true);
  flush();
}

/// They may have missed a checkpoint that is being written: they were in no tree.
void Storer::restore_set_aside(bool all) {
  for (const ChunkPtr& chunk : set_aside_.restore(all))
    parts_.manifest.append_chunk(record_of(*chunk));
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
  if (parts_.manifest.wants_checkpoint()) (void)begin_checkpoint();
}

void Storer::account_manifest() {
  const std::uint64_t wanted = parts_.manifest.disk_bytes() + 16 * 4096;
  if (wanted > manifest_charge_) {
    const std::uint64_t more = wanted - manifest_charge_;
    if (!evictor_.reserve(more)) parts_.ledger.charge_existing(more);
  } else {
    parts_.ledger.release(manifest_charge_ - wanted);
  }
  manifest_charge_ = wanted;
}

/// Without it what is new would not be known to the next start: a failure opens the breaker.
Result<void> Storer::begin_checkpoint() {
  if (stopping_ || !started_) return {};
  // One that was begun before records were lost does not have them.
  if (dump_ && parts_.manifest.recording()) return {};
  dump_.reset();
  auto writer = parts_.manifest.begin_checkpoint();
  if (!writer) {
    faults_.add();
    parts_.breaker.trip(writer.error());
    return writer.error();
  }
  dump_.emplace(*std::move(writer), all_versions_());
  loop_.post([this] { continue_checkpoint(); });
  return {};
}

void Storer::continue_checkpoint() {
  if (!dump_) return;
  if (dump_->go_on()) return loop_.post([this] { continue_checkpoint(); });
  auto finished = parts_.manifest.finish_checkpoint(dump_->finish(set_aside_.chunks()));
  dump_.reset();
  if (!finished) {
    faults_.add();
    parts_.breaker.trip(finished.error());
  }
  account_manifest();
}

void Storer::stop() {
  if (writer_) {
    std::promise<void> begun;  // pieces that wait their turn on the loop reach the writer first
    loop_.post([this, &begun] {
      writes_.drain();
      work_off();
      begun.set_value();
    });
    begun.get_future().wait();
    writer_->drain();  // its callbacks post to the loop, which runs them before it ends
    writer_ = nullptr;
    loop_.post([this] {
      stopping_ = true;
      dump_.reset();  // the journals have it all
      flush();
      if (auto closed = parts_.manifest.close(undeleted_ == 0 && !walking_); !closed) {
        log_warning("the manifest cannot be closed: {}", closed.error().message());
      }
    });
  }
  loop_.stop();
}

}  // namespace rangecache::cache
