#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/origin.h"

namespace rangecache::cache {

/// An origin in this process: objects whose bytes are a function of key, version and offset, so
/// that a wrong byte tells itself. Can be held, broken and changed by the test.
class FakeOrigin final : public Origin {
 public:
  FakeOrigin() : loop_("fake-origin") {}
  ~FakeOrigin() override { stop(); }

  struct Object {
    std::uint64_t size = 0;
    int version = 1;
    bool validator = true;
    std::int64_t lifetime_s = 60;
    std::int64_t stale_while_revalidate_s = 0;
    std::int64_t stale_if_error_s = 0;
    Digest digest{};
  };

  static std::byte content(int version, std::uint64_t offset) {
    return static_cast<std::byte>(((offset + 1) * 0x9e3779b97f4a7c15ULL +
                                   static_cast<std::uint64_t>(version) * 0xc2b2ae3d27d4eb4fULL) >>
                                  56);
  }

  void put(const std::string& key, Object object) {
    std::lock_guard lock(mu_);
    objects_[key] = object;
  }
  /// Bytes beyond `allowed` of each fetch wait for release().
  void hold_after(std::uint64_t allowed) { allowed_ = allowed; }
  /// Of each fetch even the head waits.
  void hold_heads() { hold_heads_ = true; }
  void release() {
    allowed_ = UINT64_MAX;
    hold_heads_ = false;
    loop_.post([this] { resume_all(); });
  }
  void fail_next(ErrorCode code) {
    std::lock_guard lock(mu_);
    failure_ = code;
  }
  void ignore_ranges(bool ignore) { ignore_ranges_ = ignore; }
  /// As buckets do.
  void list_validators() { lists_validators_ = true; }
  void list_in_pages_of(std::size_t names) { names_a_page_ = names; }
  void list_the_same_page_again() { same_page_again_ = true; }
  void stop() { loop_.stop(); }

  std::uint64_t bytes_sent() const { return bytes_sent_; }
  int fetches() const { return fetches_; }
  int promotions() const { return promotions_; }
  /// No fetch is under way.
  bool idle() const { return ended_ == fetches_; }
  int stats() const { return stats_; }
  int lists() const { return lists_; }
  void wait_for_fetches(int count) {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return fetches_ >= count; });
  }
  std::vector<ByteRange> ranges() {
    std::lock_guard lock(mu_);
    return ranges_;
  }

  // --- Origin ---
  const std::string& id() const override { return id_; }
  std::string url_of(std::string_view key) const override { return id_ + "/" + std::string(key); }
  std::string child_key(std::string_view dir, std::string_view name,
                        bool directory) const override {
    return std::string(dir) + std::string(name) + (directory ? "/" : "");
  }
  void stat(std::string key, Validator known, Callback<StatResult> done) override {
    ++stats_;
    loop_.post([this, key, known, done = std::move(done)]() mutable {
      if (const auto code = take_failure()) return done(Error(*code, "broken on purpose"));
      const auto object = find(key);
      if (!object) return done(Error(ErrorCode::kNotFound, key));
      StatResult result;
      result.attributes = attributes(*object);
      result.not_modified =
          known.kind != Validator::Kind::kNone && known == result.attributes.validator;
      done(std::move(result));
    });
  }
  void list(std::string dir, std::string token, Callback<ListPage> done) override {
    loop_.post([this, dir, token, done = std::move(done)]() mutable {
      if (const auto code = take_failure()) return done(Error(*code, "broken on purpose"));
      ListPage page;
      std::lock_guard lock(mu_);
      for (const auto& [key, object] : objects_) {
        if (key <= token && !same_page_again_) continue;  // of the last one of the page before
        if (page.entries.size() == names_a_page_) {
          page.next_token = dir + page.entries.back().name;
          break;
        }
        if (key.compare(0, dir.size(), dir) == 0 && key.find('/', dir.size()) == std::string::npos)
          page.entries.push_back({key.substr(dir.size()), false, object.size, 1'600'000'000,
                                  lists_validators_ ? attributes(object).validator : Validator{}});
      }
      page.complete = lists_validators_;
      ++lists_;
      done(std::move(page));
    });
  }
  std::shared_ptr<Transfer> fetch(FetchRequest request, std::shared_ptr<FetchSink> sink) override {
    auto transfer = std::make_shared<FakeTransfer>(*this);
    transfer->request = std::move(request);
    transfer->sink = std::move(sink);
    {
      std::lock_guard lock(mu_);
      ++fetches_;
      ranges_.push_back(transfer->request.range);
    }
    changed_.notify_all();
    loop_.post([transfer] { transfer->begin(); });
    return transfer;
  }

 private:
  struct FakeTransfer final : Transfer, std::enable_shared_from_this<FakeTransfer> {
    explicit FakeTransfer(FakeOrigin& owner) : origin(owner) {}
    FakeOrigin& origin;
    FetchRequest request;
    std::shared_ptr<FetchSink> sink;
    ByteRange body;
    int version = 0;
    bool begun = false;
    std::uint64_t sent = 0;

    void cancel() override {
      origin.loop_.post(
          [self = shared_from_this()] { self->done(Error(ErrorCode::kCancelled, "cancelled")); });
    }
    void resume() override {
      origin.loop_.post([self = shared_from_this()] { self->send(); });
    }
    void promote() override {
      if (request.priority == Priority::kReadAhead) ++origin.promotions_;
    }
    void go_on() { begun ? send() : begin(); }
    void done(Result<void> result) {
      if (auto last = std::move(sink)) {
        last->on_done(std::move(result));
        ++origin.ended_;
      }
    }
    void begin() {
      if (origin.hold_heads_) return origin.held_.push_back(shared_from_this());
      begun = true;
      const auto object = origin.find(request.key);
      if (!object) return done(Error(ErrorCode::kNotFound, request.key));
      FetchHead head;
      head.attributes = origin.attributes(*object);
      version = object->version;
      if (request.expected.kind != Validator::Kind::kNone &&
          request.expected != head.attributes.validator) {
        return done(Error(ErrorCode::kStale, request.key));
      }
      body = request.range.intersect({0, object->size});
      if (origin.ignore_ranges_) {
        body = {0, object->size};
        head.whole_body = true;
      }
      head.range = body;
      if (sink->on_head(head) == FetchSink::Verdict::kAbort)
        return done(Error(ErrorCode::kCancelled, "not wanted"));
      send();
    }
    void send() {
      while (sink && body.begin + sent < body.end) {
        if (const auto code = origin.take_failure()) return done(Error(*code, "broken on purpose"));
        if (sent >= origin.allowed_) {
          origin.held_.push_back(shared_from_this());
          return;
        }
        const std::uint64_t n =
            std::min<std::uint64_t>({16 * 1024, body.size() - sent, origin.allowed_ - sent});
        std::vector<std::byte> data(n);
        for (std::uint64_t i = 0; i < n; ++i) data[i] = content(version, body.begin + sent + i);
        origin.bytes_sent_ += n;  // before the sink can wake a test that counts
        const auto verdict = sink->on_data(data);
        if (verdict == FetchSink::Verdict::kPause) {
          origin.bytes_sent_ -= n;
          return;
        }
        if (verdict == FetchSink::Verdict::kAbort)
          return done(Error(ErrorCode::kCancelled, "not wanted"));
        sent += n;
      }
      done({});
    }
  };

  std::optional<Object> find(const std::string& key) {
    std::lock_guard lock(mu_);
    const auto found = objects_.find(key);
    return found == objects_.end() ? std::nullopt : std::optional<Object>(found->second);
  }
  static ObjectAttributes attributes(const Object& object) {
    ObjectAttributes attributes;
    attributes.size = object.size;
    if (object.validator)
      attributes.validator = {Validator::Kind::kEtag,
                              "\"v" + std::to_string(object.version) + "\""};
    attributes.modified_s = 1'600'000'000;
    attributes.freshness = {.lifetime_s = object.lifetime_s,
                            .stale_while_revalidate_s = object.stale_while_revalidate_s,
                            .stale_if_error_s = object.stale_if_error_s};
    attributes.digest = object.digest;
    return attributes;
  }
  std::optional<ErrorCode> take_failure() {
    std::lock_guard lock(mu_);
    return std::exchange(failure_, std::nullopt);
  }
  void resume_all() {
    auto held = std::move(held_);
    held_.clear();
    for (const auto& transfer : held) transfer->go_on();
  }

  const std::string id_ = "http://fake";
  std::mutex mu_;
  std::condition_variable changed_;
  std::map<std::string, Object> objects_;
  std::optional<ErrorCode> failure_;
  std::vector<ByteRange> ranges_;
  std::atomic<std::uint64_t> allowed_{UINT64_MAX};
  std::atomic<bool> hold_heads_{false};
  std::atomic<bool> ignore_ranges_{false};
  std::atomic<std::uint64_t> bytes_sent_{0};
  std::atomic<int> fetches_{0};
  std::atomic<int> promotions_{0};
  std::atomic<int> ended_{0};
  std::atomic<int> stats_{0};
  std::atomic<int> lists_{0};
  std::atomic<std::size_t> names_a_page_{SIZE_MAX};
  std::atomic<bool> same_page_again_{false};
  std::atomic<bool> lists_validators_{false};
  std::vector<std::shared_ptr<FakeTransfer>> held_;  // the loop's
  EventLoop loop_;
};

}  // namespace rangecache::cache
