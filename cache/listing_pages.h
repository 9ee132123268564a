#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "base/origin.h"
#include "cache/directory_listing.h"
#include "cache/page_order.h"

namespace rangecache::cache {

/// A directory's listing while its pages come. It is fetched no further than somebody wants it: the
/// first names of a million are there after one request, and who looks for one name does not make
/// the others be listed. Thread-safe; callbacks come without any lock held, possibly from
/// within the call, else on the origin's thread.
class ListingPages : public std::enable_shared_from_this<ListingPages> {
 public:
  struct Source {
    std::shared_ptr<Origin> origin;
    std::string dir_key;
    /// Until when a page that has just come may be believed; Clock::monotonic_ns().
    std::function<std::int64_t(const Freshness&)> fresh_until_ns;
    /// Called once, when all has come or a page failed, before those who wait hear of it.
    std::function<void(const ListingPages&, const Result<ListingPtr>&)> over;
    /// Counts the entries of all pages that are held.
    std::shared_ptr<std::atomic<std::size_t>> entries;
  };
  explicit ListingPages(Source source) : source_(std::move(source)) {}
  /// A listing that is known already: one page.
  explicit ListingPages(ListingPtr whole);
  ~ListingPages();
  ListingPages(const ListingPages&) = delete;
  ListingPages& operator=(const ListingPages&) = delete;

  /// Page `index`, once it is there; null: there are fewer. Pages before it are fetched first.
  void page(std::size_t index, Callback<ListingPtr> done) EXCLUDES(mu_);
  /// All pages as one.
  void whole(Callback<ListingPtr> done) EXCLUDES(mu_);

  struct Looked {
    std::optional<ListEntry> entry;
    bool complete = false;  ///< without an entry: the name does not exist
    std::int64_t fresh_until_ns = 0;
  };
  /// What the pages that have come say of a name.
  Looked find(std::string_view name) const EXCLUDES(mu_);
  /// Whether new readers may join: it is on its way, or what came of it is still fresh.
  bool serves(std::int64_t now_ns) const EXCLUDES(mu_);
  bool is_asking() const EXCLUDES(mu_);  ///< or about to ask

 private:
  struct Waiting {
    std::size_t index;
    Callback<ListingPtr> done;
  };
  static constexpr std::size_t kAll = SIZE_MAX;

  void ask(std::string token);
  void arrived(Result<ListPage> page) EXCLUDES(mu_);
  /// kOriginFailed: it does not go on from the page before.
  Result<void> add_locked(ListPage page) REQUIRES(mu_);
  /// Those whose page is there, or never will be.
  std::vector<Waiting> take_served_locked() REQUIRES(mu_);
  Result<ListingPtr> answer_locked(std::size_t index) const REQUIRES(mu_);

  const Source source_;
  mutable Mutex mu_;
  PageOrder order_ GUARDED_BY(mu_);
  std::vector<ListingPtr> pages_ GUARDED_BY(mu_);
  ListingPtr whole_ GUARDED_BY(mu_);            ///< once all has come
  std::optional<Error> error_ GUARDED_BY(mu_);  ///< why no more pages come
  std::string token_ GUARDED_BY(mu_);
  std::size_t wanted_ GUARDED_BY(mu_) = 0;  ///< so many pages
  bool asking_ GUARDED_BY(mu_) = false;
  std::vector<Waiting> waiting_ GUARDED_BY(mu_);  ///< index kAll: for the whole
};
using ListingPagesPtr = std::shared_ptr<ListingPages>;

}  // namespace rangecache::cache
