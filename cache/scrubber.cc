#include "cache/scrubber.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>

#include "base/log.h"
#include "cache/digester.h"
#include "cache/prove.h"
#include "cache/version.h"

namespace rangecache::cache {
namespace {

std::string to_cursor(const VersionId& id, std::uint64_t offset) {
  return fmt::format("{:016x}{:016x}{:016x}", id.high, id.low, offset);
}

bool from_cursor(const std::string& cursor, VersionId& id, std::uint64_t& offset) {
  if (cursor.empty()) return true;
  return cursor.size() == 48 &&
         std::sscanf(cursor.c_str(), "%16lx%16lx%16lx", &id.high, &id.low, &offset) == 3;
}

/// An answer that waits for ranges to be fetched again.
struct Repairs {
  Mutex mu;
  VerifyPart part GUARDED_BY(mu);
  std::size_t open GUARDED_BY(mu) = 1;  ///< reads under way, and one for who starts them
  Callback<VerifyPart> done;

  void finish_one() NO_THREAD_SAFETY_ANALYSIS {
    {
      MutexLock lock(mu);
      if (--open > 0) return;
    }
    done(std::move(part));  // nobody else is left
  }
};

/// Reads `rest` of the i-th bad chunk a piece at a time: a merged one may be larger than the
/// memory. Nobody gives these reads up; the version lives as long as their callbacks.
void fetch_again(const std::shared_ptr<Repairs>& repairs, std::size_t i, const VersionPtr& version,
                 ByteRange rest) {
  const ByteRange now{rest.begin, std::min(rest.end, rest.begin + kPieceSize)};
  (void)version->read(now, [repairs, i, version, now, rest](Result<Slices> slices) {
    if (slices && now.end < rest.end) return fetch_again(repairs, i, version, {now.end, rest.end});
    {
      MutexLock lock(repairs->mu);
      repairs->part.bad[i].repaired = slices.has_value();
    }
    repairs->finish_one();
  });
}

}  // namespace

Scrubber::Scrubber(ChunkStore& store, Storer& storer, Catalog& catalog, Metrics& metrics,
                   Options options)
    : store_(store),
      storer_(storer),
      catalog_(catalog),
      options_(options),
      faults_(metrics.counter("rangecache_cache_faults_total",
                              "Failures of the cache disk that readers did not see")),
      bytes_(metrics.counter("rangecache_scrubbed_bytes_total",
                             "Bytes of chunks read against their checksums without a reader")),
      rounds_(metrics.counter("rangecache_scrub_rounds_total",
                              "Times that the background has read all that is cached")),
      wholes_right_(metrics.counter("rangecache_origin_checksums_right_total",
                                    "Objects that came whole and have their origin's checksum")),
      wholes_wrong_(metrics.counter("rangecache_origin_checksums_wrong_total",
                                    "Objects that were dropped because they do not")) {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "rc-scrub");
}

Scrubber::~Scrubber() { stop(); }

void Scrubber::stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  std::deque<Request> left;
  {
    MutexLock lock(mu_);
    left.swap(requests_);
  }
  for (Request& request : left)
    request.done(Error(ErrorCode::kShuttingDown, "the cache is being closed"));
}

void Scrubber::verify(Wanted wanted, bool repair, std::string cursor, Callback<VerifyPart> done) {
  Request request{std::move(wanted), repair, {}, 0, std::move(done)};
  if (!from_cursor(cursor, request.version, request.offset))
    return request.done(Error(ErrorCode::kInvalidArgument, "'" + cursor + "' is no cursor"));
  {
    MutexLock lock(mu_);
    if (!stopping_) {
      requests_.push_back(std::move(request));
      changed_.notify_all();
      return;
    }
  }
  request.done(Error(ErrorCode::kShuttingDown, "the cache is being closed"));
}

void Scrubber::run() {
  // Linux has a nice value per thread: it runs when nobody else wants to.
  (void)::setpriority(PRIO_PROCESS, 0, 19);
  for (;;) {
    Request request;
    Whole whole;
    {
      MutexLock lock(mu_);
      if (stopping_) return;
      if (requests_.empty() && !wholes_.empty()) {
        whole = std::move(wholes_.front());
        wholes_.pop_front();
      }
      if (!requests_.empty()) {
        request = std::move(requests_.front());
        requests_.pop_front();
      }
    }
    if (request.done) {
      answer(std::move(request));
    } else if (whole.version) {
      compare(whole);
    } else if (options_.bytes_per_second == 0) {
      if (!wait_until(Time::max())) return;
    } else if (std::chrono::steady_clock::now() < next_chunk_at_) {
      if (!wait_until(next_chunk_at_)) return;
    } else if (!scrub_next()) {
      next_chunk_at_ = round_started_ + options_.round_interval;
    }
  }
}

/// Until then, or a request comes. False when it is time to stop.
bool Scrubber::wait_until(Time at) {
  MutexLock lock(mu_);
  while (!stopping_ && requests_.empty() && wholes_.empty()) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= at) return true;
    if (at == Time::max()) {
      changed_.wait(mu_);
    } else {
      changed_.wait_for(mu_, at - now);
    }
  }
  return !stopping_;
}

/// One chunk of the background round; false when the round is over.
bool Scrubber::scrub_next() {
  const auto now = std::chrono::steady_clock::now();
  if (round_.empty()) {
    if (round_started_ != Time{} && now < round_started_ + options_.round_interval) return false;
    round_ = catalog_.versions();
    round_started_ = now;
    offset_ = 0;
    if (round_.empty()) return false;
  }
  while (!round_.empty()) {
    const auto chunks = round_.back()->chunks_from(offset_, 1);
    if (chunks.empty()) {
      round_.pop_back();
      offset_ = 0;
      continue;
    }
    offset_ = chunks[0]->range.begin + 1;
    (void)is_good(chunks[0]);
    next_chunk_at_ = now + std::chrono::microseconds(chunks[0]->range.size() * 1'000'000 /
                                                     options_.bytes_per_second);
    return true;
  }
  rounds_.add();
  return false;
}

bool Scrubber::is_good(const ChunkPtr& chunk) {
  const auto look = [&]() -> Result<void> {
    RC_ASSIGN(const UniqueFd fd, store_.open_chunk(chunk->version->id(), chunk->range));
    return prove(store_, fd.get(), *chunk, chunk->blocks_of(chunk->range));
  };
  const auto proved = look();
  bytes_.add(chunk->range.size());
  if (proved || chunk->evicted) return true;
  const ErrorCode code = proved.error().code;
  if (code != ErrorCode::kCorrupt && code != ErrorCode::kNotFound) {
    faults_.add();  // the disk failed: that says nothing about the bytes
    log_warning("{}: a chunk of {} cannot be verified", proved.error().message(),
                chunk->version->url());
    return true;
  }
  log_warning("{}: bytes {} to {} of {} are dropped", proved.error().message(), chunk->range.begin,
              chunk->range.end, chunk->version->url());
  storer_.discard(chunk);
  return false;
}

void Scrubber::compare_whole(VersionPtr version, Digest digest) {
  MutexLock lock(mu_);
  wholes_.push_back({std::move(version), std::move(digest)});
  changed_.notify_all();
}

void Scrubber::compare(const Whole& whole) {
  const auto value = digest_of(*whole.version, whole.digest.kind);
  if (!value) return;
  if (*value == whole.digest.value) return wholes_right_.add();
  wholes_wrong_.add();
  log_error("{} does not have the {} that its origin told: all of it is dropped",
            whole.version->url(), to_string(whole.digest.kind));
  storer_.evict({whole.version}, [](const Storer::Evicted&) {});
}

std::optional<std::string> Scrubber::digest_of(const Version& version, Digest::Kind kind) {
  Digester digester(kind);
  std::vector<std::byte> buffer(1 << 20);
  for (std::uint64_t at = 0; at < version.size();) {
    const ChunkPtr chunk = version.chunk_at(at);
    if (!chunk) return std::nullopt;
    const auto fd = store_.open_chunk(version.id(), chunk->range);
    if (!fd) {
      // Merged meanwhile, most likely: then another chunk has the byte.
      if (chunk->evicted && version.chunk_at(at).get() != chunk.get()) continue;
      return std::nullopt;
    }
    while (at < chunk->range.end) {
      const std::size_t length = std::min<std::uint64_t>(buffer.size(), chunk->range.end - at);
      const auto got = store_.files().read_at(fd->get(), std::span(buffer).first(length),
                                              at - chunk->range.begin);
      if (!got || *got != length) return std::nullopt;
      digester.update(std::span(buffer).first(length));
      at += length;
      MutexLock lock(mu_);
      if (stopping_) return std::nullopt;
    }
  }
  return digester.finish();
}

void Scrubber::answer(Request request) {
  std::vector<VersionPtr> versions;
  auto repairs = std::make_shared<Repairs>();
  repairs->done = std::move(request.done);
  VerifyPart part;
  for (VersionPtr& version : catalog_.versions()) {
    if (version->cached_bytes() == 0 || !request.wanted(*version)) continue;
    part.total_bytes += version->cached_bytes();
    if (version->id() >= request.version) versions.push_back(std::move(version));
  }
  std::sort(versions.begin(), versions.end(),
            [](const VersionPtr& a, const VersionPtr& b) { return a->id() < b->id(); });
  std::vector<ChunkPtr> bad;
  for (const VersionPtr& version : versions) {
    std::uint64_t offset = version->id() == request.version ? request.offset : 0;
    for (auto next = version->chunks_from(offset, 1); !next.empty() && part.next.empty();
         next = version->chunks_from(offset, 1)) {
      const ChunkPtr& chunk = next[0];
      offset = chunk->range.begin + 1;
      ++part.chunks;
      part.bytes += chunk->range.size();
      if (!is_good(chunk)) bad.push_back(chunk);
      if (part.bytes >= kPartBytes) part.next = to_cursor(version->id(), offset);
    }
    if (!part.next.empty()) break;
  }
  for (const ChunkPtr& chunk : bad)
    part.bad.push_back({chunk->version->url(), chunk->range, /*repaired=*/false});
  {
    MutexLock lock(repairs->mu);
    repairs->part = std::move(part);
  }
  for (std::size_t i = 0; request.repair && i < bad.size(); ++i) {
    const VersionPtr version = bad[i]->version->shared_from_this();
    version->remove_chunk(*bad[i]);  // it is on its way out: the read must not meet it again
    {
      MutexLock lock(repairs->mu);
      ++repairs->open;
    }
    fetch_again(repairs, i, version, bad[i]->range);
  }
  repairs->finish_one();
}

}  // namespace rangecache::cache
