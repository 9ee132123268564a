#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// What an element carries to stand in an IntervalTree.
struct IntervalHook {
  void* left = nullptr;
  void* right = nullptr;
  std::uint64_t max_end = 0;  ///< the greatest end in the subtree
  std::int32_t height = 0;
};

/// An intrusive AVL tree of half-open ranges, ordered by begin (then by address), each node
/// knowing the greatest end below it. Ranges may overlap.
///
///               [20,30) max 50
///              .              .
///      [5,12) max 50      [25,40) max 40      overlap of (11,13)?  left: max 50 > 11, look;
///              .                              right: begins at 25 >= 13, skip
///         [10,50) max 50
///
/// insert, erase, covering, first_from: O(log n). for_each_overlap: O(log n + k). Elements are not
/// owned, never allocated, and must not move or change their range while in the tree. Not
/// thread-safe.
template <typename T, IntervalHook T::*Hook, ByteRange T::*Range>
class IntervalTree {
 public:
  bool empty() const { return root_ == nullptr; }
  std::size_t size() const { return size_; }

  void insert(T& element) {
    hook(&element) = IntervalHook{};
    root_ = insert_below(root_, &element);
    ++size_;
  }

  /// `element` must be in the tree.
  void erase(T& element) {
    root_ = erase_below(root_, &element);
    --size_;
  }

  /// The element with the smallest begin that overlaps `range`, or nullptr.
  T* first_overlap(ByteRange range) const {
    T* found = nullptr;
    visit(root_, range, [&](T& element) {
      found = &element;
      return false;
    });
    return found;
  }

  /// Calls fn(T&) for each element that overlaps `range`, in order. fn must not change the tree.
  template <typename Fn>
  void for_each_overlap(ByteRange range, Fn fn) const {
    visit(root_, range, [&](T& element) {
      fn(element);
      return true;
    });
  }

  /// Of the elements that contain `offset`, the one that reaches furthest; nullptr if none does.
  T* covering(std::uint64_t offset) const {
    T* best = nullptr;
    visit(root_, {offset, offset + 1}, [&](T& element) {
      if (!best || range_of(best).end < range_of(&element).end) best = &element;
      return true;
    });
    return best;
  }

  /// The element with the smallest begin that is not below `offset`, or nullptr.
  T* first_from(std::uint64_t offset) const {
    T* best = nullptr;
    for (T* node = root_; node;) {
      if (range_of(node).begin >= offset) {
        best = node;
        node = left(node);
      } else {
        node = right(node);
      }
    }
    return best;
  }

 private:
  static IntervalHook& hook(T* node) { return node->*Hook; }
  static const ByteRange& range_of(const T* node) { return node->*Range; }
  static T* left(T* node) { return static_cast<T*>(hook(node).left); }
  static T* right(T* node) { return static_cast<T*>(hook(node).right); }
  static int height(T* node) { return node ? hook(node).height : 0; }
  static std::uint64_t max_end(T* node) { return node ? hook(node).max_end : 0; }

  static bool before(const T* a, const T* b) {
    if (range_of(a).begin != range_of(b).begin) return range_of(a).begin < range_of(b).begin;
    return a < b;
  }

  static void update(T* node) {
    IntervalHook& h = hook(node);
    h.height = 1 + std::max(height(left(node)), height(right(node)));
    h.max_end = std::max({range_of(node).end, max_end(left(node)), max_end(right(node))});
  }

  static T* rotate_right(T* node) {
    T* top = left(node);
    hook(node).left = hook(top).right;
    hook(top).right = node;
    update(node);
    update(top);
    return top;
  }

  static T* rotate_left(T* node) {
    T* top = right(node);
    hook(node).right = hook(top).left;
    hook(top).left = node;
    update(node);
    update(top);
    return top;
  }

  static T* balance(T* node) {
    update(node);
    const int lean = height(left(node)) - height(right(node));
    if (lean > 1) {
      if (height(left(left(node))) < height(right(left(node))))
        hook(node).left = rotate_left(left(node));
      return rotate_right(node);
    }
    if (lean < -1) {
      if (height(right(right(node))) < height(left(right(node))))
        hook(node).right = rotate_right(right(node));
      return rotate_left(node);
    }
    return node;
  }

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
    return balance(node);
  }

  static T* erase_below(T* node, T* element) {
    if (node == element) {
      T* const l = left(node);
      T* const r = right(node);
      if (!r) return l;
      T* successor = r;
      while (left(successor)) successor = left(successor);
      T* const rest = unlink_first(r);
      hook(successor).right = rest;
      hook(successor).left = l;
      return balance(successor);
    }
    if (before(element, node)) {
      hook(node).left = erase_below(left(node), element);
    } else {
      hook(node).right = erase_below(right(node), element);
    }
    return balance(node);
  }

  static T* unlink_first(T* node) {
    if (!left(node)) return right(node);
    hook(node).left = unlink_first(left(node));
    return balance(node);
  }

  /// In order; `fn` returns false to stop, and so does visit.
  template <typename Fn>
  static bool visit(T* node, ByteRange range, const Fn& fn) {
    if (!node || max_end(node) <= range.begin) return true;
    if (!visit(left(node), range, fn)) return false;
    if (range_of(node).begin >= range.end) return true;
    if (range_of(node).overlaps(range) && !fn(*node)) return false;
    return visit(right(node), range, fn);
  }

  T* root_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace rangecache::cache
