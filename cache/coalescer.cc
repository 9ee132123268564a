#include "cache/coalescer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr int kMaxReplans =
    16;  // a read that needs more is fed by a broken disk and a lying origin

std::uint64_t page_down(std::uint64_t offset) { return offset / kPage * kPage; }
std::uint64_t page_up(std::uint64_t offset) { return (offset + kPage - 1) / kPage * kPage; }

}  // namespace

Coalescer::~Coalescer() {
  // The tree does not own: drop the reference that each chunk in it stands for.
  while (Chunk* chunk = chunks_.first_from(0)) remove_chunk(*chunk);
  for (const auto& [begin, piece] : pieces_) piece->chunk = {};  // readers may have the piece still
}

// --- reads ------------------------------------------------------------------------------------

std::vector<Effects::ChunkWanted> Coalescer::cached(ByteRange range) const {
  std::vector<Effects::ChunkWanted> parts;
  const auto after = pieces_.upper_bound(range.begin);
  if (after != pieces_.begin() && std::prev(after)->second->filled().contains(range.begin))
    return {};
  for (std::uint64_t at = range.begin; at < range.end;) {
    Chunk* chunk = chunks_.covering(at);
    if (!chunk) return {};
    const ByteRange part{at, std::min(range.end, chunk->range.end)};
    parts.push_back({nullptr, ChunkPtr(chunk), part});
    at = part.end;
  }
  return parts;
}

ReadBytes Coalescer::begin_read(const ReadPtr& read, Effects& effects) {
  ReadBytes bytes;
  CHECK(!read->range.empty() && read->range.end <= options_.size);
  plan_part(read, read->range, effects, &bytes);
  finish_if_ready(read, effects);
  return bytes;
}

void Coalescer::plan_part(const ReadPtr& read, ByteRange range, Effects& effects,
                          ReadBytes* bytes) {
  // A gap becomes flights, which the second round then finds.
  for (int round = 0; round < 2; ++round) {
    bool gaps = false;
    for (const PlanPart& part : plan_read(range, chunks_, pieces_, flights_)) {
      if (part.kind != PlanPart::Kind::kGap) continue;
      if (options_.single_response) {
        fail(read,
             Error(ErrorCode::kStale,
                   "the origin gives the object no validator, and the "
                   "response that its bytes came with is over"),
             effects);
        return;
      }
      gaps = true;
      if (bytes) bytes->missed += part.range.size();
      start_flights(part.range, Priority::kDemand, effects);
    }
    if (!gaps) break;
  }
  std::uint64_t waited = 0;
  for (PlanPart& part : plan_read(range, chunks_, pieces_, flights_)) {
    Read::Part& slot = read->parts[part.range.begin];
    slot.range = part.range;
    switch (part.kind) {
      case PlanPart::Kind::kChunk:
        ++read->unready;
        effects.open.push_back({read, std::move(part.chunk), part.range});
        if (bytes) bytes->chunk += part.range.size();
        break;
      case PlanPart::Kind::kPiece:
        serve(slot, part.piece);
        part.piece->unread_ahead = false;
        if (part.piece->chunk) effects.used.push_back({nullptr, part.piece->chunk, part.range});
        if (bytes) bytes->memory += part.range.size();
        break;
      case PlanPart::Kind::kFlight:
        if (part.flight->priority == Priority::kReadAhead) {
          part.flight->priority = Priority::kDemand;
          if (part.flight->transfer) effects.promote.push_back(part.flight->transfer);
        }
        wait_for(read, part.range, part.flight);
        waited += part.range.size();
        // The read whose first contact this was started it, although it comes to it only now.
        if (bytes && !std::exchange(part.flight->claimed, true)) bytes->missed += part.range.size();
        break;
      case PlanPart::Kind::kGap:
        CHECK(false);
    }
  }
  if (bytes) bytes->coalesced += waited - std::min(waited, bytes->missed);
}

void Coalescer::serve(Read::Part& part, const std::shared_ptr<Piece>& piece) {
  piece->served += part.range.size();
  part.ready = true;
  part.piece = piece;
  part.slice = {-1, 0, piece->at(part.range.begin), part.range.size(), nullptr};
}

void Coalescer::note_waiting(const ReadPtr& read, Read::Part& part) {
  if (part.piece && !std::exchange(part.noted, true)) part.piece->waiting.push_back(read);
}

void Coalescer::forget_used_up(const Piece& piece, Effects& effects) {
  if (piece.chunk && piece.served >= piece.filled().size()) piece_dropped(piece, effects);
}

/// Were the memory held by reads that wait for more of it, all of it could be held so, and nothing
/// would go on.
void Coalescer::free_memory(Piece& piece, Effects& effects) const {
  for (const auto& waiting : std::exchange(piece.waiting, {})) {
    const ReadPtr read = waiting.lock();
    if (!read || read->finished) continue;
    for (auto& [begin, part] : read->parts) {
      if (part.piece.get() != &piece) continue;
      part.piece = nullptr;
      part.noted = false;
      // What such an origin sent once cannot be fetched again, were the chunk evicted meanwhile.
      const bool on_disk = piece.chunk && piece.chunk->indexed && !options_.single_response &&
                           piece.chunk->range.contains(part.range);
      if (on_disk) {
        part.ready = false;
        part.slice = {};
        ++read->unready;
        effects.open.push_back({read, piece.chunk, part.range});
      } else {
        const auto bytes = std::make_shared<std::vector<std::byte>>(
            part.slice.data, part.slice.data + part.slice.length);
        part.slice = {-1, 0, bytes->data(), bytes->size(), bytes};
      }
    }
  }
}

void Coalescer::wait_for(const ReadPtr& read, ByteRange range, const FlightPtr& flight) {
  ++read->unready;
  flight->waiters.push_back({read, range.begin});
}

void Coalescer::finish_if_ready(const ReadPtr& read, Effects& effects) {
  if (read->finished) return;
  if (read->unready > 0) {
    for (auto& [begin, part] : read->parts) note_waiting(read, part);
    return;
  }
  read->finished = true;
  Slices slices;
  slices.reserve(read->parts.size());
  for (auto& [begin, part] : read->parts) {
    if (part.piece) {
      forget_used_up(*part.piece, effects);
      part.slice.owner = std::move(part.piece);
    }
    slices.push_back(std::move(part.slice));
  }
  read->parts.clear();
  effects.finished.push_back({read, std::move(slices)});
}

void Coalescer::fail(const ReadPtr& read, const Error& error, Effects& effects) {
  if (read->finished) return;
  read->finished = true;
  for (auto& [begin, part] : read->parts) {
    effects.released.push_back(std::move(part.slice.owner));
    effects.released.push_back(std::move(part.piece));
  }
  read->parts.clear();
  effects.finished.push_back({read, error});
}

void Coalescer::cancel_read(const ReadPtr& read, Effects& effects) {
  fail(read, Error(ErrorCode::kCancelled, "the reader gave up"), effects);
}

void Coalescer::chunk_ready(const ReadPtr& read, ByteRange part, Slice slice, Effects& effects) {
  if (read->finished) return effects.released.push_back(std::move(slice.owner));
  Read::Part& slot = read->parts.at(part.begin);
  CHECK(!slot.ready && slot.range == part);
  slot.ready = true;
  slot.slice = std::move(slice);
  --read->unready;
  finish_if_ready(read, effects);
}

void Coalescer::chunk_failed(const ReadPtr& read, ByteRange part, Effects& effects) {
  if (read->finished) return;
  read->parts.erase(part.begin);
  --read->unready;
  if (++read->replans > kMaxReplans) {
    fail(read, Error(ErrorCode::kIo, "cached bytes kept vanishing while they were read"), effects);
    return;
  }
  plan_part(read, part, effects, nullptr);
  finish_if_ready(read, effects);
}

// --- flights ----------------------------------------------------------------------------------

bool Coalescer::is_gap(ByteRange range) const {
  const auto plan = plan_read(range, chunks_, pieces_, flights_);
  return plan.size() == 1 && plan[0].kind == PlanPart::Kind::kGap;
}

ByteRange Coalescer::widen(ByteRange gap, Priority priority) const {
  const std::uint64_t begin = page_down(gap.begin);
  if (begin < gap.begin && is_gap({begin, gap.begin})) gap.begin = begin;

  std::uint64_t end = page_up(gap.end);
  if (priority == Priority::kDemand) end = std::max(end, gap.begin + options_.minimum_fetch);
  if (sequential_only_) end = options_.size;  // the origin sends all of it anyway
  end = std::min(end, options_.size);
  if (end > gap.end) {
    const auto plan = plan_read({gap.end, end}, chunks_, pieces_, flights_);
    if (plan[0].kind == PlanPart::Kind::kGap) gap.end = plan[0].range.end;
  }
  return gap;
}

void Coalescer::start_flights(ByteRange gap, Priority priority, Effects& effects) {
  gap = widen(gap, priority);
  const std::uint64_t part_size = sequential_only_ ? UINT64_MAX : options_.part_size;
  while (!gap.empty()) {
    const ByteRange part{gap.begin, gap.size() > part_size ? gap.begin + part_size : gap.end};
    effects.start.push_back(add_flight(part, priority));
    gap.begin = part.end;
  }
}

FlightPtr Coalescer::add_flight(ByteRange range, Priority priority) {
  auto flight = std::make_shared<Flight>(range, priority);
  // An older flight that began at the same byte has delivered it, and the byte was lost since.
  const auto same = flights_.find(range.begin);
  if (same != flights_.end()) {
    FlightPtr older = same->second;
    CHECK(older->arrived > range.begin);
    flights_.erase(same);
    // One that waits only for its end has nothing to be found for; and where it ended, another
    // flight may have begun. One with bytes to come lives on under the first of them.
    if (!older->pending().empty()) {
      older->range.begin = older->arrived;
      CHECK(flights_.emplace(older->range.begin, std::move(older)).second);
    }
  }
  flights_[range.begin] = flight;
  return flight;
}

void Coalescer::prefetch(ByteRange range, Effects& effects) {
  range.end = std::min(range.end, options_.size);
  if (range.empty() || sequential_only_ || options_.single_response) return;
  for (const PlanPart& part : plan_read(range, chunks_, pieces_, flights_)) {
    if (part.kind == PlanPart::Kind::kGap) start_flights(part.range, Priority::kReadAhead, effects);
  }
}

FlightPtr Coalescer::adopt(ByteRange range, Priority priority) {
  range.end = std::min(range.end, options_.size);
  if (range.empty() || !is_gap(range)) return nullptr;
  FlightPtr flight = add_flight(range, priority);
  flight->claimed = priority == Priority::kReadAhead;
  return flight;
}

bool Coalescer::flight_head(const FlightPtr& flight, const FetchHead& head, Effects& effects) {
  if (flight->abandoned) return false;
  if (head.whole_body) become_whole_body(flight, effects);
  return true;
}

void Coalescer::become_whole_body(const FlightPtr& flight, Effects& effects) {
  sequential_only_ = true;
  flight->whole_body = true;
  const bool another = std::any_of(flights_.begin(), flights_.end(), [&](const auto& entry) {
    return entry.second != flight && entry.second->whole_body;
  });
  if (another) {  // it brings the rest; this one delivers its own range only
    flight->to_pass_over = flight->range.begin;
    return;
  }

  // Every other flight would be sent the whole body too: this one serves for all.
  FlightMap others;
  others.swap(flights_);
  std::vector<Flight::Waiter> orphans = std::move(flight->waiters);
  flight->waiters.clear();
  for (auto& [begin, other] : others) {
    if (other == flight) continue;
    other->abandoned = true;
    release_filling(*other, /*whole=*/false, effects);
    if (other->transfer) effects.cancel.push_back(std::move(other->transfer));
    std::move(other->waiters.begin(), other->waiters.end(), std::back_inserter(orphans));
    other->waiters.clear();
  }
  flight->range = {0, options_.size};
  flight->arrived = 0;
  flights_[0] = flight;
  for (const Flight::Waiter& waiter : orphans) {
    if (waiter.read->finished) continue;
    const auto part = waiter.read->parts.find(waiter.part_begin);
    const ByteRange range = part->second.range;
    waiter.read->parts.erase(part);
    --waiter.read->unready;
    plan_part(waiter.read, range, effects, nullptr);
    finish_if_ready(waiter.read, effects);
  }
}

std::uint64_t Coalescer::covered_until(std::uint64_t offset) const {
  if (const Chunk* chunk = chunks_.covering(offset)) return chunk->range.end;
  auto next = pieces_.upper_bound(offset);
  if (next != pieces_.begin() && std::prev(next)->second->filled().contains(offset))
    return std::prev(next)->second->filled().end;
  return offset;
}

bool Coalescer::ensure_piece(Flight& flight, BufferPool& pool) {
  if (flight.filling) return true;
  const std::uint64_t begin = flight.arrived;
  std::uint64_t end = std::min(flight.range.end, begin + kPieceSize);
  if (const Chunk* chunk = chunks_.first_from(begin)) end = std::min(end, chunk->range.begin);
  const auto next = pieces_.lower_bound(begin);
  if (next != pieces_.end()) end = std::min(end, next->first);
  auto buffer = pool.try_allocate(end - begin);
  if (!buffer) return false;
  flight.filling = std::make_shared<Piece>(ByteRange{begin, end}, std::move(buffer));
  flight.filling->unread_ahead = flight.priority == Priority::kReadAhead;
  pieces_[begin] = flight.filling;
  return true;
}

Coalescer::Append Coalescer::flight_data(const FlightPtr& flight, std::span<const std::byte> data,
                                         BufferPool& pool, Effects& effects) {
  if (flight->abandoned) return Append::kNotWanted;
  // After a pause the same bytes are offered again: pass over those that found room before.
  std::size_t taken = std::min(std::exchange(flight->taken_before_pause, 0), data.size());
  const auto before = std::min<std::uint64_t>(flight->to_pass_over, data.size() - taken);
  flight->to_pass_over -= before;
  taken += before;
  while (taken < data.size() && flight->arrived < flight->range.end) {
    if (!flight->filling) {
      // A body that the origin sends from its start passes over what is here already.
      const std::uint64_t covered = covered_until(flight->arrived);
      if (covered > flight->arrived) {
        const auto skipped =
            std::min<std::uint64_t>(covered - flight->arrived, data.size() - taken);
        flight->arrived += skipped;
        taken += skipped;
        continue;
      }
    }
    if (!ensure_piece(*flight, pool)) break;
    const std::size_t appended = flight->filling->append(data.data() + taken, data.size() - taken);
    flight->arrived += appended;
    taken += appended;
    if (flight->filling->full()) {
      advance_waiters(flight, effects);
      release_filling(*flight, /*whole=*/true, effects);
    }
  }
  advance_waiters(flight, effects);
  // The rest of a whole body that was wanted up to here only need not come.
  if (taken < data.size() && flight->arrived >= flight->range.end) return Append::kNotWanted;
  if (taken == data.size()) return Append::kTaken;
  flight->taken_before_pause = taken;
  flight->paused = true;
  return Append::kNoMemory;
}

void Coalescer::advance_waiters(const FlightPtr& flight, Effects& effects) {
  auto& waiters = flight->waiters;
  for (std::size_t i = 0; i < waiters.size();) {
    Flight::Waiter& waiter = waiters[i];
    bool waits = !waiter.read->finished;
    while (waits && waiter.part_begin < flight->arrived) {
      Read::Part& part = waiter.read->parts.at(waiter.part_begin);
      const auto after = pieces_.upper_bound(waiter.part_begin);
      CHECK(after != pieces_.begin());
      const std::shared_ptr<Piece>& piece = std::prev(after)->second;
      const ByteRange filled = piece->filled();
      CHECK(filled.contains(waiter.part_begin));
      if (part.range.end <= filled.end) {
        serve(part, piece);
        --waiter.read->unready;
        waits = false;
        finish_if_ready(waiter.read, effects);
      } else if (filled.end == piece->end()) {
        // The piece leaves for the disk now: pin its share, and wait on for the rest.
        const ByteRange rest{filled.end, part.range.end};
        part.range.end = filled.end;
        serve(part, piece);
        note_waiting(waiter.read, part);
        waiter.read->parts[rest.begin].range = rest;
        waiter.part_begin = rest.begin;
      } else {
        break;
      }
    }
    if (waits) {
      ++i;
    } else {
      waiters[i] = std::move(waiters.back());
      waiters.pop_back();
    }
  }
}

void Coalescer::release_filling(Flight& flight, bool whole, Effects& effects) {
  std::shared_ptr<Piece> piece = std::move(flight.filling);
  flight.filling = nullptr;
  if (!piece) return;
  if (!whole) {
    // A broken body: keep whole pages only, so that chunks stay page-aligned.
    const std::uint64_t kept = page_down(piece->filled().end);
    if (kept <= piece->begin()) {
      piece_dropped(*piece, effects);
      effects.released.push_back(std::move(piece));
      return;
    }
    piece->truncate(kept);
  }
  piece->seal();
  if (flight.priority != Priority::kReadAhead) piece->unread_ahead = false;
  effects.store.push_back(std::move(piece));
}

void Coalescer::flight_done(const FlightPtr& flight, const Result<void>& result, Effects& effects) {
  if (flight->abandoned) return;
  flight->abandoned = true;
  flight->transfer = nullptr;
  const bool complete = flight->arrived >= flight->range.end;
  advance_waiters(flight, effects);
  release_filling(*flight, complete, effects);
  for (auto it = flights_.begin(); it != flights_.end(); ++it) {
    if (it->second != flight) continue;
    flights_.erase(it);
    break;
  }
  if (!result && result.error().code == ErrorCode::kStale) effects.changed = true;

  std::vector<Flight::Waiter> waiters = std::move(flight->waiters);
  flight->waiters.clear();
  for (const Flight::Waiter& waiter : waiters) {
    if (waiter.read->finished) continue;
    if (!result) {
      fail(waiter.read, result.error(), effects);
    } else {
      // A complete fetch that did not bring these bytes after all: plan them again.
      const ByteRange range = waiter.read->parts.at(waiter.part_begin).range;
      chunk_failed(waiter.read, range, effects);
    }
  }
}

// --- chunks -----------------------------------------------------------------------------------

bool Coalescer::piece_stored(const Piece& piece, ChunkPtr chunk, Effects& effects) {
  insert_chunk(chunk);
  const auto found = pieces_.find(piece.begin());
  if (found == pieces_.end() || found->second.get() != &piece) return false;
  found->second->chunk = std::move(chunk);
  if (piece.served < piece.filled().size()) return true;
  piece_dropped(piece, effects);
  return false;
}

void Coalescer::piece_dropped(const Piece& piece, Effects& effects) {
  const auto found = pieces_.find(piece.begin());
  if (found == pieces_.end() || found->second.get() != &piece) return;
  const std::shared_ptr<Piece> forgotten = std::move(found->second);
  pieces_.erase(found);
  free_memory(*forgotten, effects);
  forgotten->chunk = {};
}

void Coalescer::insert_chunk(ChunkPtr chunk) {
  chunk->add_ref();  // the tree's
  chunk->indexed = true;
  chunks_.insert(*chunk);
}

bool Coalescer::remove_chunk(Chunk& chunk) {
  if (!chunk.indexed) return false;
  chunk.indexed = false;
  chunks_.erase(chunk);
  chunk.drop_ref();
  return true;
}

}  // namespace rangecache::cache
