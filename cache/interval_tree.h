#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "base/check.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// The links that an IntervalTree keeps in its elements. Zero while the element is in no tree.
struct IntervalHook {
  void* left = nullptr;
  void* right = nullptr;
  std::uint64_t max_end : 56 = 0;  ///< the greatest end in this subtree: below 64 PiB
  std::uint64_t height : 8 = 0;    ///< of this subtree; 0: in no tree
};
static_assert(sizeof(IntervalHook) == 24, "exists by the million");

/// An AVL tree of elements that have a half-open byte range each, ordered by begin, then by
/// address. Ranges may overlap, and may be equal. Every node knows the greatest end below it, so
/// that whole subtrees that end too early are skipped:
///
///     offset  0    10   20   30   40             c 10..20 (40)
///     a       [----)                               /          \.
///     b         [-----------------)          b 4..40 (40)   d 10..30 (36)
///     c            [----)                       /              \.
///     d            [---------)            a 0..10 (10)    e 30..36 (36)
///     e                      [--)
///
/// (in parentheses: max_end). A query descends only where max_end > its begin and begin < its end:
/// O(log n + k) for k answers.
///
/// Intrusive: elements belong to the caller, must stay where they are and keep their range while
/// they are in the tree, and be in one tree only per hook. Nothing is allocated, nothing fails.
/// Empty ranges are refused (CHECK). Not thread-safe; const members may run in parallel.
///
///     using ChunkTree = IntervalTree<Chunk, &Chunk::interval, &Chunk::range>;
template <typename T, IntervalHook T::*Hook, ByteRange T::*Range>
class IntervalTree {
 public:
  IntervalTree() = default;
  IntervalTree(const IntervalTree&) = delete;
  IntervalTree& operator=(const IntervalTree&) = delete;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  void insert(T& element) {
    CHECK(hook(&element).height == 0);
    CHECK(!(element.*Range).empty() && (element.*Range).end < kMaxEnd);
    root_ = insert_below(root_, &element);
    ++size_;
  }

  /// `element` must be in this tree.
  void erase(T& element) {
    CHECK(hook(&element).height != 0);
    root_ = erase_below(root_, &element);
    hook(&element) = IntervalHook{};
    --size_;
  }

  /// The first element, in order, that overlaps `range`; nullptr if none.
  T* first_overlap(ByteRange range) const {
    if (range.empty()) return nullptr;
    T* node = root_;
    while (node && max_end(node) > range.begin) {
      // If the left subtree reaches range.begin, the answer is there or nowhere: what reaches it
      // there begins before everything on the right, so if it begins too late, so do those.
      if (max_end(left(node)) > range.begin) {
        node = left(node);
      } else if (begin(node) >= range.end) {
        return nullptr;
      } else if (end(node) > range.begin) {
        return node;
      } else {
        node = right(node);
      }
    }
    return nullptr;
  }

  /// Calls `visit(T&)` for each element that overlaps `range`, in order. `visit` must not change
  /// the tree.
  template <typename Visit>
  void for_each_overlap(ByteRange range, Visit&& visit) const {
    if (!range.empty()) visit_below(root_, range, visit);
  }

  /// Of the elements that contain `offset`, the one that ends last (the first in order among
  /// those that end equally late); nullptr if none.
  T* covering(std::uint64_t offset) const {
    // Only elements that begin early enough count. Where a node does, its whole left subtree does,
    // so the answer there is whoever has that subtree's max_end: one descent finds it.
    T* widest = nullptr;
    bool in_subtree = false;  // `widest` stands for its whole subtree
    std::uint64_t reach = offset;
    for (T* node = root_; node;) {
      if (begin(node) > offset) {
        node = left(node);
        continue;
      }
      if (max_end(left(node)) > reach) {
        reach = max_end(left(node));
        widest = left(node);
        in_subtree = true;
      }
      if (end(node) > reach) {
        reach = end(node);
        widest = node;
        in_subtree = false;
      }
      node = right(node);
    }
    return in_subtree ? first_with_end(widest, reach) : widest;
  }

  /// The first element, in order, that begins at or after `offset`; nullptr if none.
  T* first_from(std::uint64_t offset) const {
    T* best = nullptr;
    for (T* node = root_; node;) {
      if (begin(node) >= offset) {
        best = node;
        node = left(node);
      } else {
        node = right(node);
      }
    }
    return best;
  }

  /// The element that follows `element` in order; nullptr if it is the last. O(log n).
  T* after(const T& element) const {
    T* best = nullptr;
    for (T* node = root_; node;) {
      if (before(&element, node)) {
        best = node;
        node = left(node);
      } else {
        node = right(node);
      }
    }
    return best;
  }

  /// Whether order, heights, balance and max_end hold everywhere: O(n), for tests.
  bool is_sound() const {
    std::size_t count = 0;
    const T* last = nullptr;
    return sound_below(root_, last, count) && count == size_;
  }

 private:
  static constexpr std::uint64_t kMaxEnd = std::uint64_t{1} << 56;

  static IntervalHook& hook(T* node) { return node->*Hook; }
  static const IntervalHook& hook(const T* node) { return node->*Hook; }
  static T* left(const T* node) { return static_cast<T*>(hook(node).left); }
  static T* right(const T* node) { return static_cast<T*>(hook(node).right); }
  static std::uint64_t begin(const T* node) { return (node->*Range).begin; }
  static std::uint64_t end(const T* node) { return (node->*Range).end; }
  static std::uint64_t max_end(const T* node) { return node ? hook(node).max_end : 0; }
  static int height(const T* node) { return node ? static_cast<int>(hook(node).height) : 0; }

  static bool before(const T* a, const T* b) {
    return begin(a) != begin(b) ? begin(a) < begin(b) : std::less<const T*>()(a, b);
  }

  static void update(T* node) {
    IntervalHook& h = hook(node);
    h.height = static_cast<unsigned>(1 + std::max(height(left(node)), height(right(node))));
    h.max_end = std::max({end(node), max_end(left(node)), max_end(right(node))});
  }

  ///        node              l
  ///       /    \           /   \.
  ///      l      C    ►    A    node
  ///     / \                    /  \.
  ///    A   B                  B    C
  static T* rotate_right(T* node) {
    T* l = left(node);
    hook(node).left = right(l);
    hook(l).right = node;
    update(node);
    update(l);
    return l;
  }
  static T* rotate_left(T* node) {
    T* r = right(node);
    hook(node).right = left(r);
    hook(r).left = node;
    update(node);
    update(r);
    return r;
  }

  /// Restores balance and sums of a node whose subtrees are in order; returns the new top.
  static T* rebalance(T* node) {
    const int lean = height(left(node)) - height(right(node));
    if (lean > 1) {
      T* l = left(node);
      if (height(left(l)) < height(right(l))) hook(node).left = rotate_left(l);
      return rotate_right(node);
    }
    if (lean < -1) {
      T* r = right(node);
      if (height(right(r)) < height(left(r))) hook(node).right = rotate_right(r);
      return rotate_left(node);
    }
    update(node);
    return node;
  }

  // The recursions below are as deep as the tree is high: under 1.45 log2(n), so some 30 calls
  // for a million elements.

  static T* insert_below(T* node, T* element) {
    if (!node) {
      update(element);
      return element;
    }
    if (before(element, node)) {
      hook(node).left = insert_below(left(node), element);
    } else {
      hook(node).right = insert_below(right(node), element);
    }
    return rebalance(node);
  }

  static T* erase_below(T* node, T* element) {
    CHECK(node != nullptr);
    if (node != element) {
      if (before(element, node)) {
        hook(node).left = erase_below(left(node), element);
      } else {
        hook(node).right = erase_below(right(node), element);
      }
      return rebalance(node);
    }
    if (!left(node)) return right(node);
    if (!right(node)) return left(node);
    T* next = nullptr;
    T* rest = detach_first(right(node), next);
    hook(next).left = left(node);
    hook(next).right = rest;
    return rebalance(next);
  }

  static T* detach_first(T* node, T*& first) {
    if (!left(node)) {
      first = node;
      return right(node);
    }
    hook(node).left = detach_first(left(node), first);
    return rebalance(node);
  }

  template <typename Visit>
  static void visit_below(T* node, ByteRange range, Visit& visit) {
    for (; node && max_end(node) > range.begin; node = right(node)) {
      visit_below(left(node), range, visit);
      if (begin(node) >= range.end) return;
      if (end(node) > range.begin) visit(*node);
    }
  }

  static T* first_with_end(T* node, std::uint64_t wanted) {
    for (;;) {
      if (max_end(left(node)) == wanted) {
        node = left(node);
      } else if (end(node) == wanted) {
        return node;
      } else {
        node = right(node);
      }
    }
  }

  static bool sound_below(const T* node, const T*& last, std::size_t& count) {
    if (!node) return true;
    if (!sound_below(left(node), last, count)) return false;
    if (last && !before(last, node)) return false;
    last = node;
    ++count;
    if (!sound_below(right(node), last, count)) return false;
    const int lean = height(left(node)) - height(right(node));
    return lean >= -1 && lean <= 1 &&
           height(node) == 1 + std::max(height(left(node)), height(right(node))) &&
           max_end(node) == std::max({end(node), max_end(left(node)), max_end(right(node))});
  }

  T* root_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace rangecache::cache
