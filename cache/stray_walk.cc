#include "cache/stray_walk.h"

#include <pthread.h>

#include <utility>
#include <vector>

#include "base/log.h"

namespace rangecache::cache {

StrayWalk::StrayWalk(ChunkStore& store, Storer& storer, Catalog& catalog, FindOrigin find_origin)
    : store_(store), storer_(storer), catalog_(catalog), find_origin_(std::move(find_origin)) {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "rc-walk");
}

StrayWalk::~StrayWalk() {
  stopping_ = true;
  thread_.join();
}

void StrayWalk::run() {
  const auto scanned = store_.scan([this](const VersionId& id, std::vector<ByteRange> chunks) {
    return !stopping_ && look_at(id, chunks);
  });
  if (!scanned) log_warning("{}", scanned.error().message());
  if (!stopping_) storer_.walk_done(static_cast<bool>(scanned));
}

bool StrayWalk::look_at(const VersionId& id, const std::vector<ByteRange>& chunks) {
  const VersionPtr version = catalog_.find_version(id);
  Storer::Strays strays{.id = id, .chunks = {}, .worthless = {}, .make_version = nullptr};
  for (const ByteRange range : chunks) {
    if (version && version->has_chunk(range)) continue;
    (store_.is_chunk(id, range) ? strays.chunks : strays.worthless).push_back(range);
  }
  if (version && strays.chunks.empty() && strays.worthless.empty()) return true;
  if (!version && !strays.chunks.empty()) {
    auto meta = store_.read_meta(id);
    if (meta && meta->validator.kind != Validator::Kind::kPrivate) {
      if (auto origin = find_origin_(meta->origin_id)) {
        strays.make_version = [this, origin = *origin, record = *meta] {
          return catalog_.found(origin, record);
        };
      }
    }
  }
  return storer_.reconcile(std::move(strays));
}

}  // namespace rangecache::cache
