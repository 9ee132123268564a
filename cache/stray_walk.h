#pragma once

#include <atomic>
#include <thread>

#include "cache/catalog.h"
#include "cache/chunk_store.h"
#include "cache/loader.h"
#include "cache/storer.h"

namespace rangecache::cache {

/// After an unclean stop files may stand on the disk that the manifest does not name: renamed, but
/// not yet written down, or all of them, if the manifest is lost. This walk, on a thread of its own
/// ("rc-walk"), lists the directories and lets the storer adopt or remove what the index does not
/// know, while requests are served. It reads no content: an adopted chunk is proved before its
/// first use.
class StrayWalk {
 public:
  StrayWalk(ChunkStore& store, Storer& storer, Catalog& catalog, FindOrigin find_origin);
  /// Stops in the middle if need be; the next start walks again then.
  ~StrayWalk();

 private:
  void run();
  bool look_at(const VersionId& id, const std::vector<ByteRange>& chunks);

  ChunkStore& store_;
  Storer& storer_;
  Catalog& catalog_;
  const FindOrigin find_origin_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace rangecache::cache
