#include "cache/directory_walk.h"

#include <algorithm>

#include "base/check.h"

namespace rangecache::cache {

DirectoryWalk::DirectoryWalk(const std::vector<std::uint64_t>& sizes, std::uint64_t max_window)
    : read_ahead_({.max_window = max_window}) {
  ends_.reserve(sizes.size());
  guesses_.reserve(sizes.size());
  std::uint64_t end = 0;
  for (const std::uint64_t size : sizes) {
    end += std::clamp(size, kRequestWeight, kSmallFile);
    ends_.push_back(end);
    guesses_.push_back(size > kSmallFile ? Guess::kNeverFetch : Guess::kNone);
  }
}

ByteRange DirectoryWalk::place_of(std::size_t index) const {
  return {index == 0 ? 0 : ends_[index - 1], ends_[index]};
}

std::vector<std::size_t> DirectoryWalk::opened(std::size_t index, bool useful) {
  CHECK(index < ends_.size());
  Guess& guess = guesses_[index];
  if (guess == Guess::kFetched && !useful) useless_ = true;
  if (useless_) return {};
  if (guess == Guess::kFetched) credit_ = std::min(credit_ + kEarned, kMaxCredit);
  if (guess == Guess::kHeldBack) credit_ = std::min(credit_ + 1, kMaxCredit);
  if (guess != Guess::kNeverFetch) guess = Guess::kNone;

  std::vector<std::size_t> wanted;
  for (const ByteRange ahead : read_ahead_.next(place_of(index))) {
    const auto first = std::upper_bound(ends_.begin(), ends_.end(), ahead.begin) - ends_.begin();
    for (auto i = static_cast<std::size_t>(first);
         i < ends_.size() && place_of(i).begin < ahead.end; ++i) {
      if (guesses_[i] == Guess::kNeverFetch || guesses_[i] == Guess::kFetched || i == index)
        continue;
      if (credit_ == 0) {
        guesses_[i] = Guess::kHeldBack;
        continue;
      }
      --credit_;
      guesses_[i] = Guess::kFetched;
      wanted.push_back(i);
    }
  }
  return wanted;
}

}  // namespace rangecache::cache
