#include "cache/merge_plan.h"

#include <algorithm>
#include <cstddef>

namespace rangecache::cache {
namespace {

/// Touching chunks that are small enough for one: all of them, if that is worth it, else what is
/// left and right of the largest, which waits until there is as much beside it.
void plan_group(std::span<const ByteRange> group, std::vector<ByteRange>& merges) {
  if (group.size() < 2) return;
  const auto largest = std::max_element(
      group.begin(), group.end(), [](ByteRange a, ByteRange b) { return a.size() < b.size(); });
  const ByteRange all{group.front().begin, group.back().end};
  if (all.size() >= 2 * largest->size()) {
    merges.push_back(all);
    return;
  }
  const auto at = static_cast<std::size_t>(largest - group.begin());
  plan_group(group.first(at), merges);
  plan_group(group.subspan(at + 1), merges);
}

/// Cuts a run of touching chunks, from the left, into groups of part_size at most.
void plan_run(std::span<const ByteRange> run, std::uint64_t part_size,
              std::vector<ByteRange>& merges) {
  for (std::size_t first = 0; first < run.size();) {
    std::size_t last = first + 1;
    while (last < run.size() && run[last].end - run[first].begin <= part_size) ++last;
    plan_group(run.subspan(first, last - first), merges);
    first = last;
  }
}

}  // namespace

std::vector<ByteRange> plan_merges(std::uint64_t object_size, std::span<const ByteRange> chunks,
                                   const MergeLimits& limits) {
  std::vector<ByteRange> merges;
  for (std::size_t begin = 0; begin < chunks.size();) {
    std::size_t end = begin + 1;
    while (end < chunks.size() && chunks[end].begin == chunks[end - 1].end) ++end;
    const auto run = chunks.subspan(begin, end - begin);
    const ByteRange covered{run.front().begin, run.back().end};
    begin = end;
    if (run.size() < 2) continue;
    if (covered.begin == 0 && covered.end == object_size && object_size <= limits.whole_size) {
      merges.push_back(covered);
    } else {
      plan_run(run, limits.part_size, merges);
    }
  }
  return merges;
}

}  // namespace rangecache::cache
