#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "fuse/backend.h"

namespace rangecache::fuse {

/// Bytes that tell their own place, so that a shifted or mixed read shows.
inline std::string pattern(std::size_t size, unsigned seed = 0) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>((i * 2654435761U + seed * 97 + (i >> 8)) >> 3);
  return bytes;
}

/// One version of a file, or a directory, in memory.
class FakeNode final : public Node {
 public:
  NodeAttributes attributes() const override { return attributes_; }

  NodeAttributes attributes_;
  std::string content;
  std::shared_ptr<UniqueFd> file;  ///< the same bytes in a memfd
  std::map<std::string, std::shared_ptr<FakeNode>> children;
  std::atomic<bool> complete{false};  ///< the kernel may read `file` by itself
};

/// A listing whose later pages may wait for release().
class FakePages final : public DirectoryPages {
 public:
  void page(std::size_t index, Callback<std::shared_ptr<const DirectoryPage>> done) override {
    if (index > 0 && hold) {
      MutexLock lock(mu_);
      held_ = [this, index, done = std::move(done)]() mutable { give(index, std::move(done)); };
      return;
    }
    give(index, std::move(done));
  }
  bool is_asked() const {
    MutexLock lock(mu_);
    return static_cast<bool>(held_);
  }
  void release() {
    UniqueFunction<void()> held;
    {
      MutexLock lock(mu_);
      held = std::exchange(held_, nullptr);
    }
    held();
  }

  // Set before it is handed out.
  std::vector<std::shared_ptr<const DirectoryPage>> pages;
  bool hold = false;
  std::size_t broken = SIZE_MAX;  ///< this one fails

 private:
  void give(std::size_t index, Callback<std::shared_ptr<const DirectoryPage>> done) {
    if (index == broken) return done(Error{ErrorCode::kUnreachable, "broken on purpose"});
    done(index < pages.size() ? pages[index] : nullptr);
  }

  mutable Mutex mu_;
  UniqueFunction<void()> held_ GUARDED_BY(mu_);
};

/// A small tree in memory whose answers can be held back.
class FakeBackend final : public Backend {
 public:
  enum class Supply { kMemory, kFile, kMixed };  ///< what the slices of a read are made of

  struct HeldRead {
    std::uint64_t serial;
    ByteRange range;
    std::shared_ptr<FakeNode> node;
    Callback<Slices> done;
  };

  FakeBackend() { root_->attributes_ = {.is_directory = true, .stable_ino = 1, .valid_for_ms = 0}; }

  /// A new version of `name`, also if there was one before.
  std::shared_ptr<FakeNode> put(const std::string& name, std::string content,
                                std::int64_t valid_for_ms = 0,
                                std::shared_ptr<FakeNode> directory = nullptr) {
    auto node = std::make_shared<FakeNode>();
    node->attributes_ = {.size = content.size(),
                         .modified_s = 1'600'000'000,
                         .stable_ino = 1000 + std::hash<std::string>()(name) % 1000,
                         .valid_for_ms = valid_for_ms};
    const int fd = ::memfd_create("version", MFD_CLOEXEC);
    EXPECT_EQ(::pwrite(fd, content.data(), content.size(), 0),
              static_cast<ssize_t>(content.size()));
    node->file = std::make_shared<UniqueFd>(fd);
    node->content = std::move(content);
    MutexLock lock(mu_);
    (directory ? directory : root_)->children[name] = node;
    return node;
  }
  std::shared_ptr<FakeNode> put_directory(const std::string& name) {
    auto node = std::make_shared<FakeNode>();
    node->attributes_ = {.is_directory = true, .stable_ino = 500, .valid_for_ms = 0};
    MutexLock lock(mu_);
    root_->children[name] = node;
    return node;
  }

  NodePtr root() override { return root_; }

  void lookup(const NodePtr& directory, std::string name, Callback<NodePtr> done) override {
    std::shared_ptr<FakeNode> found;
    {
      MutexLock lock(mu_);
      if (hold_lookups) {
        held_lookups_.push_back(std::move(done));
        changed_.notify_all();
        return;
      }
      auto& children = static_cast<FakeNode&>(*directory).children;
      if (const auto at = children.find(name); at != children.end()) found = at->second;
    }
    if (found) return done(NodePtr(found));
    done(Error{ErrorCode::kNotFound, name});
  }

  void open_directory(const NodePtr& directory,
                      Callback<std::shared_ptr<DirectoryPages>> done) override {
    auto pages = std::make_shared<FakePages>();
    {
      MutexLock lock(mu_);
      pages->hold = hold_pages;
      pages->broken = broken_page;
      auto page = std::make_shared<DirectoryPage>();
      for (const auto& [name, child] : static_cast<FakeNode&>(*directory).children) {
        if (page->size() == names_a_page) {
          pages->pages.push_back(std::move(page));
          page = std::make_shared<DirectoryPage>();
        }
        const NodeAttributes attributes = child->attributes();
        page->push_back({name, attributes.is_directory, attributes.stable_ino,
                         list_with_nodes ? NodePtr(child) : nullptr});
      }
      pages->pages.push_back(std::move(page));
      opened_directory_ = pages;
    }
    done(std::shared_ptr<DirectoryPages>(std::move(pages)));
  }

  void open(const NodePtr&, Callback<std::shared_ptr<Handle>> done) override {
    done(std::make_shared<Handle>());
  }

  ReadTicket read(const NodePtr& file, Handle&, ByteRange range, Callback<Slices> done) override {
    auto node = std::static_pointer_cast<FakeNode>(file);
    {
      MutexLock lock(mu_);
      if (hold_reads) {
        const std::uint64_t serial = next_serial_++;
        held_.push_back({serial, range, node, std::move(done)});
        changed_.notify_all();
        return ReadTicket([this, serial] { cancel(serial); });
      }
    }
    done(slices(node, range));
    return {};
  }

  std::optional<Slice> whole_file(const NodePtr& file) override {
    ++whole_files_asked;
    const auto& node = static_cast<const FakeNode&>(*file);
    if (!node.complete) return std::nullopt;
    return Slice{node.file->get(), 0, nullptr, node.content.size(), node.file};
  }

  std::vector<std::pair<std::string, std::string>> extended_attributes(const NodePtr&) override {
    return {{"user.rangecache.etag", "\"abc\""}, {"user.rangecache.age", "17"}};
  }

  FileSystemSpace space() override { return {1 << 20, 1 << 19, 42}; }

  /// Waits for `count` held reads; false after a long time.
  bool wait_for_held(std::size_t count) {
    MutexLock lock(mu_);
    while (held_.size() < count) {
      if (!changed_.wait_for(mu_, std::chrono::seconds(20))) return false;
    }
    return true;
  }
  bool wait_for_held_lookup() {
    MutexLock lock(mu_);
    while (held_lookups_.empty()) {
      if (!changed_.wait_for(mu_, std::chrono::seconds(20))) return false;
    }
    return true;
  }
  HeldRead take_held(std::size_t index = 0) {
    MutexLock lock(mu_);
    HeldRead read = std::move(held_.at(index));
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    return read;
  }
  Callback<NodePtr> take_held_lookup() {
    MutexLock lock(mu_);
    Callback<NodePtr> done = std::move(held_lookups_.front());
    held_lookups_.pop_front();
    return done;
  }
  std::shared_ptr<FakePages> opened_directory() const {
    MutexLock lock(mu_);
    return opened_directory_;
  }
  void finish(HeldRead read) { read.done(slices(read.node, read.range)); }
  std::size_t held() const {
    MutexLock lock(mu_);
    return held_.size();
  }
  std::size_t cancelled() const {
    MutexLock lock(mu_);
    return cancelled_;
  }

  std::atomic<Supply> supply{Supply::kMemory};
  std::atomic<bool> hold_reads{false};
  std::atomic<bool> hold_lookups{false};
  std::atomic<bool> ignore_cancel{false};
  std::atomic<bool> list_with_nodes{true};
  std::atomic<bool> hold_pages{false};
  std::atomic<std::size_t> names_a_page{SIZE_MAX};
  std::atomic<std::size_t> broken_page{SIZE_MAX};
  std::atomic<int> whole_files_asked{0};
  std::atomic<bool> cut_short{false};  ///< reads return one byte less than they must

 private:
  void cancel(std::uint64_t serial) {
    Callback<Slices> done;
    {
      MutexLock lock(mu_);
      ++cancelled_;
      if (ignore_cancel) return;
      const auto at = std::find_if(held_.begin(), held_.end(),
                                   [&](const HeldRead& read) { return read.serial == serial; });
      if (at == held_.end()) return;
      done = std::move(at->done);
      held_.erase(at);
    }
    done(Error{ErrorCode::kCancelled, "given up"});
  }

  Slices slices(const std::shared_ptr<FakeNode>& node, ByteRange range) {
    range = range.intersect({0, node->content.size()});
    if (cut_short) --range.end;
    const auto from_memory = [&](ByteRange piece) {
      return Slice{.data = reinterpret_cast<const std::byte*>(node->content.data()) + piece.begin,
                   .length = piece.size(),
                   .owner = node};
    };
    const auto from_file = [&](ByteRange piece) {
      return Slice{.fd = node->file->get(),
                   .offset = piece.begin,
                   .length = piece.size(),
                   .owner = node->file};
    };
    if (supply == Supply::kMemory) return {from_memory(range)};
    if (supply == Supply::kFile) return {from_file(range)};
    Slices pieces;
    for (std::uint64_t begin = range.begin; begin < range.end; begin += 5000) {
      const ByteRange piece{begin, std::min(begin + 5000, range.end)};
      pieces.push_back(begin / 5000 % 2 ? from_memory(piece) : from_file(piece));
    }
    return pieces;
  }

  mutable Mutex mu_;
  CondVar changed_;
  const std::shared_ptr<FakeNode> root_ = std::make_shared<FakeNode>();
  std::deque<HeldRead> held_ GUARDED_BY(mu_);
  std::deque<Callback<NodePtr>> held_lookups_ GUARDED_BY(mu_);
  std::shared_ptr<FakePages> opened_directory_ GUARDED_BY(mu_);
  std::uint64_t next_serial_ GUARDED_BY(mu_) = 1;
  std::size_t cancelled_ GUARDED_BY(mu_) = 0;
};

}  // namespace rangecache::fuse
