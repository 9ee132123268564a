#include "cache/admission.h"

#include <utility>

namespace rangecache::cache {

bool Admission::admit(std::uint64_t key) {
  const std::size_t bit = ((key * 0x9e3779b97f4a7c15ULL) >> 32) % kBits;
  const bool known = newer_[bit] || older_[bit];
  if (!newer_[bit]) {
    newer_[bit] = true;
    if (++entered_ == kKeys) {
      std::swap(newer_, older_);
      newer_.assign(kBits, false);
      entered_ = 0;
    }
  }
  return known;
}

}  // namespace rangecache::cache
