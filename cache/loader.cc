#include "cache/loader.h"

#include <utility>
#include <vector>

#include "cache/ledger.h"
#include "cache/verifier.h"

namespace rangecache::cache {

Loader::Loader(Catalog& catalog, Storer& storer, FindOrigin find_origin)
    : catalog_(catalog), storer_(storer), find_origin_(std::move(find_origin)) {}

std::shared_ptr<Origin> Loader::origin(const std::string& id) {
  const auto [found, is_new] = origins_.try_emplace(id);
  if (is_new) {
    if (auto origin = find_origin_(id)) found->second = *std::move(origin);
  }
  return found->second;
}

VersionPtr Loader::find(const VersionId& id) {
  if (!last_ || last_->id() != id) last_ = catalog_.find_version(id);
  return last_;
}

void Loader::on_version(VersionRecord&& record) {
  if (record.validator.kind == Validator::Kind::kPrivate) return;
  const auto from = origin(record.origin_id);
  if (!from) return;
  last_ = catalog_.load(from, std::move(record));
  storer_.adopt_directory(last_);
}

void Loader::on_version_removed(const VersionId& id) {
  const VersionPtr version = find(id);
  if (!version) return;
  last_ = nullptr;
  storer_.unload_version(version);
  catalog_.unload(version);
}

void Loader::on_chunk(ChunkRecord&& record) {
  const VersionPtr version = find(record.version);
  const std::size_t sums = record.checksums.size();
  if (!version || record.range.end > version->size() ||
      (sums != 0 && sums != block_count(record.range))) {
    orphaned_bytes_ += Ledger::chunk_charge(record.range.size());
    return;
  }
  // A chunk of the dump may stand in the journal again. Another one in its place is merged of what
  // was there: the records that remove those follow.
  if (version->has_chunk(record.range)) return;
  storer_.adopt_chunk(version, record);
  ++chunks_;
}

void Loader::on_chunk_removed(const VersionId& id, ByteRange range) {
  const VersionPtr version = find(id);
  if (!version) return;
  if (const ChunkPtr chunk = version->chunk_of(range)) {
    storer_.unload_chunk(*chunk);
    --chunks_;
  }
}

void Loader::on_reset() {
  last_ = nullptr;
  for (const VersionPtr& version : catalog_.versions()) {
    storer_.unload_version(version);
    catalog_.unload(version);
  }
  chunks_ = 0;
}

}  // namespace rangecache::cache
