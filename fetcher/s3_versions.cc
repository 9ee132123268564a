#include "fetcher/s3_versions.h"

namespace rangecache::fetcher {

std::string S3Versions::entry_key(std::string_view key, const Validator& validator) {
  return std::string(key) + '\n' + validator.value;
}

void S3Versions::remember(std::string_view key, const Validator& validator, const std::string& id) {
  // "null": written while the bucket had no versions; the next write replaces it.
  if (id.empty() || id == "null" || validator.kind != Validator::Kind::kEtag) return;
  const auto [entry, added] = ids_.insert_or_assign(entry_key(key, validator), id);
  if (!added) return;
  oldest_.push_back(entry->first);
  if (oldest_.size() <= max_entries_) return;
  ids_.erase(oldest_.front());
  oldest_.pop_front();
}

std::optional<std::string> S3Versions::find(std::string_view key,
                                            const Validator& validator) const {
  const auto found = ids_.find(entry_key(key, validator));
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace rangecache::fetcher
