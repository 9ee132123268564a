#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/origin.h"
#include "cache/catalog.h"
#include "cache/manifest.h"
#include "cache/storer.h"

namespace rangecache::cache {

/// Finds the origin that versions of an earlier run came from, by Origin::id(). Thread-safe.

/// Makes versions and chunks of what the manifest says, record by record, straight into the index:
/// nothing is held twice, so ten million chunks load in the memory that they need anyway.
///
/// What nobody can ask for any more (its origin is not configured, its validator was not lasting)
/// and what makes no sense is passed over: the walk over the disk then removes the files.
class Loader final : public Manifest::Visitor {
 public:
  Loader(Catalog& catalog, Storer& storer, FindOrigin find_origin);

  void on_version(VersionRecord&& record) override;
  void on_version_removed(const VersionId& id) override;
  void on_chunk(ChunkRecord&& record) override;
  void on_chunk_removed(const VersionId& id, ByteRange range) override;
  void on_reset() override;

  std::uint64_t chunks() const { return chunks_; }
  /// Disk space of chunks that were passed over, in bytes.
  std::uint64_t orphaned_bytes() const { return orphaned_bytes_; }

 private:
  VersionPtr find(const VersionId& id);
  std::shared_ptr<Origin> origin(const std::string& id);

  Catalog& catalog_;
  Storer& storer_;
  const FindOrigin find_origin_;
  std::unordered_map<std::string, std::shared_ptr<Origin>> origins_;  ///< null: not to be had
  VersionPtr last_;  ///< records of one version come in a row
  std::uint64_t chunks_ = 0;
  std::uint64_t orphaned_bytes_ = 0;
};

}  // namespace rangecache::cache
