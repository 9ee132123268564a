#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "daemon/service.h"

namespace rangecache::daemon {

/// A Service over one object whose byte at offset o is pattern(o). URLs: "x:mem" (answers from
/// memory), "x:file" (from a file), "x:hang" (reads wait for release_hanging()); others: kNotFound.
class FakeService final : public Service {
 public:
  static constexpr std::uint64_t kSize = 20 * 1024 * 1024 + 7;
  static std::byte pattern(std::uint64_t offset) {
    return static_cast<std::byte>((offset * 2654435761u) >> 13);
  }

  FakeService() : bytes_(std::make_shared<std::vector<std::byte>>(kSize)) {
    for (std::uint64_t i = 0; i < kSize; ++i) (*bytes_)[i] = pattern(i);
    char name[] = "/tmp/rangecache-fake-XXXXXX";
    UniqueFd writable(mkstemp(name));
    for (std::size_t done = 0; done < kSize;) {
      const ssize_t n = ::write(writable.get(), bytes_->data() + done, kSize - done);
      if (n <= 0) std::abort();
      done += static_cast<std::size_t>(n);
    }
    chunk_.reset(::open(name, O_RDONLY | O_CLOEXEC));
    ::unlink(name);
  }

  void open(std::string url, Callback<std::shared_ptr<OpenFile>> done) override {
    if (url != "x:mem" && url != "x:file" && url != "x:hang") {
      done(Error{ErrorCode::kNotFound, "no object " + url});
      return;
    }
    ++open_files;
    std::thread([this, url, done = std::move(done)]() mutable {
      done(std::shared_ptr<OpenFile>(std::make_shared<FakeFile>(this, url)));
    }).join();  // another thread's callback, deterministic
  }

  ReadTicket read(const std::shared_ptr<OpenFile>& file, ByteRange range,
                  Callback<Slices> done) override {
    ++reads;
    range = range.intersect({0, kSize});
    Slice slice;
    slice.length = range.size();
    if (file->info().url == "x:file") {
      slice.fd = chunk_.get();
      slice.offset = range.begin;
      ++leased_slices;
      slice.owner = std::shared_ptr<const void>(&chunk_, [this](const void*) { --leased_slices; });
    } else {
      slice.data = bytes_->data() + range.begin;
      ++memory_slices;
      slice.owner = std::shared_ptr<const void>(
          bytes_.get(), [this, bytes = bytes_](const void*) { --memory_slices; });
    }
    if (file->info().url != "x:hang") {
      done(Slices{slice});
      return {};
    }
    MutexLock lock(mu_);
    const int serial = next_++;
    hanging_[serial] = {std::move(done), slice};
    changed_.notify_all();
    return ReadTicket([this, serial] {
      Callback<Slices> cancelled;
      {
        MutexLock inner(mu_);
        const auto found = hanging_.find(serial);
        if (found == hanging_.end()) return;
        cancelled = std::move(found->second.first);
        hanging_.erase(found);
        ++cancelled_;
        changed_.notify_all();
      }
      cancelled(Error{ErrorCode::kCancelled, "cancelled"});
    });
  }

  /// Of "x:file" all, from the block of 64 KiB that has the offset.
  Lendable lendable(const std::shared_ptr<OpenFile>& file, std::uint64_t offset,
                    std::size_t) override {
    ++lendable_asked;
    if (file->info().url != "x:file" || offset >= kSize) return {};
    Lendable lendable{.offset = offset / 65536 * 65536, .slices = {}};
    Slice slice;
    slice.fd = chunk_.get();
    slice.offset = lendable.offset;
    slice.length = kSize - lendable.offset;
    ++leased_slices;
    slice.owner = std::shared_ptr<const void>(&chunk_, [this](const void*) { --leased_slices; });
    lendable.slices.push_back(std::move(slice));
    return lendable;
  }

  void wait_hanging(std::size_t count) {
    MutexLock lock(mu_);
    while (hanging_.size() < count) changed_.wait(mu_);
  }
  void wait_cancelled(int count) {
    MutexLock lock(mu_);
    while (cancelled_ < count) changed_.wait(mu_);
  }
  /// Answers what hangs, the last first.
  void release_hanging() {
    std::map<int, std::pair<Callback<Slices>, Slice>> all;
    {
      MutexLock lock(mu_);
      all.swap(hanging_);
    }
    for (auto i = all.rbegin(); i != all.rend(); ++i) i->second.first(Slices{i->second.second});
  }

  void stat(std::string url, Callback<ObjectInfo> done) override {
    if (url.rfind("x:", 0) != 0) return done(Error{ErrorCode::kNotFound, "no object " + url});
    done(ObjectInfo{url, kSize, false, "\"v1\"", 1'700'000'000, 42});
  }
  void list(std::string, Callback<std::vector<ListEntry>> done) override {
    ListEntry file;
    file.name = "a file";
    file.size = 7;
    ListEntry directory;
    directory.name = "sub";
    directory.is_directory = true;
    std::vector<ListEntry> entries;
    entries.push_back(file);
    entries.push_back(directory);
    done(std::move(entries));
  }
  std::string stats_json() override { return R"({"version":"1","metrics":{"m":1}})"; }
  std::string prometheus_text() override { return "# TYPE m counter\nm 1\n"; }
  void cached_objects(std::string prefix, Callback<std::vector<CachedObject>> done) override {
    done(std::vector<CachedObject>{
        {ObjectInfo{prefix + "a", 10, false, "\"e\"", -1, 5}, 2, 3, true}});
  }
  void map(std::string url, Callback<ObjectMap> done) override {
    done(ObjectMap{ObjectInfo{url, 100}, {{0, 10}, {20, 30}}, {{30, 40}}});
  }
  void evict(std::string, Callback<EvictResult> done) override { done(EvictResult{1, 2, 3}); }
  RefreshResult refresh(const std::string& prefix) override { return {prefix.size(), 1}; }
  Result<void> pin(std::string prefix, std::string owner, std::int64_t expires_s) override {
    pinned.push_back({std::move(prefix), std::move(owner), expires_s, 77});
    return {};
  }
  Result<std::uint64_t> unpin(const std::string&, const std::string&) override {
    return pinned.size();
  }
  std::vector<PinInfo> pins() override { return pinned; }
  std::vector<PinInfo> pinned;
  void verify(std::string prefix, bool repair, std::string cursor,
              Callback<VerifyPart> done) override {
    if (cursor.empty()) return done(VerifyPart{10, 1000, 1500, {}, "there"});
    done(VerifyPart{5, 500, 1500, {{prefix + "a", {3, 9}, repair}}, ""});
  }
  void mount(std::string url, std::string mountpoint, Callback<MountInfo> done) override {
    done(MountInfo{url, mountpoint});
  }
  void unmount(std::string mountpoint, Callback<MountInfo> done) override {
    done(MountInfo{"x:", mountpoint});
  }
  void shutdown() override { shut_down = true; }

  std::atomic<int> open_files{0};
  std::atomic<int> memory_slices{0};
  std::atomic<int> leased_slices{0};
  std::atomic<int> reads{0};
  std::atomic<int> lendable_asked{0};
  std::atomic<bool> shut_down{false};

 private:
  struct FakeFile final : OpenFile {
    FakeFile(FakeService* owner, const std::string& url)
        : owner_(owner), info_{url, kSize, false, "\"v1\"", -1, 0} {}
    ~FakeFile() override { --owner_->open_files; }
    const ObjectInfo& info() const override { return info_; }
    FakeService* owner_;
    ObjectInfo info_;
  };

  std::shared_ptr<std::vector<std::byte>> bytes_;
  UniqueFd chunk_;
  Mutex mu_;
  CondVar changed_;
  std::map<int, std::pair<Callback<Slices>, Slice>> hanging_ GUARDED_BY(mu_);
  int next_ GUARDED_BY(mu_) = 0;
  int cancelled_ GUARDED_BY(mu_) = 0;
};

}  // namespace rangecache::daemon
