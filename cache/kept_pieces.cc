#include "cache/kept_pieces.h"

namespace rangecache::cache {

void KeptPieces::add(const VersionPtr& version, const std::shared_ptr<Piece>& piece) {
  const std::uint64_t bytes = piece->memory_bytes();
  queue_.push_back({version, piece, bytes, clock_.monotonic_ns() + kStay_ns});
  bytes_ += bytes;
}

void KeptPieces::shrink_to(std::uint64_t max_bytes) {
  const std::int64_t now = clock_.monotonic_ns();
  while (!queue_.empty()) {
    const Kept& oldest = queue_.front();
    if (bytes_ <= max_bytes && now < oldest.until_ns && !oldest.piece.expired()) return;
    drop(oldest);
    bytes_ -= oldest.bytes;
    queue_.pop_front();
  }
}

void KeptPieces::drop_of(const std::unordered_set<const Version*>& versions) {
  for (const Kept& kept : queue_)
    if (versions.contains(kept.version.lock().get()))
      drop(kept);  // its entry goes when it is the oldest
}

void KeptPieces::drop(const Kept& kept) {
  const auto piece = kept.piece.lock();  // so that its memory goes after the version's lock
  const auto version = kept.version.lock();
  if (piece && version) version->piece_dropped(*piece);
}

}  // namespace rangecache::cache
