#include "cache/listing_pages.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace rangecache::cache {

ListingPages::ListingPages(ListingPtr whole) : pages_{whole}, whole_(std::move(whole)) {}

ListingPages::~ListingPages() {
  if (!source_.entries) return;
  for (const ListingPtr& page : pages_) *source_.entries -= page->entries.size();
}

void ListingPages::page(std::size_t index, Callback<ListingPtr> done) {
  std::optional<Result<ListingPtr>> answer;
  std::optional<std::string> token;
  {
    MutexLock lock(mu_);
    wanted_ = std::max(wanted_, index == kAll ? kAll : index + 1);
    const bool over = whole_ || error_;
    if (over || index < pages_.size())
      answer = answer_locked(index);
    else
      waiting_.push_back({index, std::move(done)});
    if (!over && !asking_ && pages_.size() < wanted_) {
      asking_ = true;
      token = token_;
    }
  }
  if (answer) done(*std::move(answer));
  if (token) ask(*std::move(token));
}

void ListingPages::whole(Callback<ListingPtr> done) { page(kAll, std::move(done)); }

Result<ListingPtr> ListingPages::answer_locked(std::size_t index) const {
  if (index < pages_.size()) return pages_[index];
  if (error_) return *error_;
  return index == kAll ? whole_ : ListingPtr();
}

void ListingPages::ask(std::string token) {
  source_.origin->list(
      source_.dir_key, std::move(token),
      [self = shared_from_this()](Result<ListPage> page) { self->arrived(std::move(page)); });
}

void ListingPages::arrived(Result<ListPage> page) {
  std::vector<Waiting> served;
  std::vector<Result<ListingPtr>> answers;
  std::optional<Result<ListingPtr>> end;
  std::optional<std::string> token;
  {
    MutexLock lock(mu_);
    const Result<void> added = page ? add_locked(*std::move(page)) : page.error();
    if (!added) error_ = added.error();
    if (whole_ || error_) end = answer_locked(kAll);
    asking_ = !end && pages_.size() < wanted_;
    if (asking_) token = token_;
    served = take_served_locked();
    for (const Waiting& waiting : served) answers.push_back(answer_locked(waiting.index));
  }
  if (token) ask(*std::move(token));  // first: the next page comes while this one is used
  if (end) source_.over(*this, *end);
  for (std::size_t i = 0; i < served.size(); ++i) served[i].done(std::move(answers[i]));
}

Result<void> ListingPages::add_locked(ListPage page) {
  const bool last = page.next_token.empty();
  // Or it would have no end.
  if (!last && page.next_token == token_)
    return Error(ErrorCode::kOriginFailed, source_.origin->url_of(source_.dir_key) +
                                               ": the listing comes back to the same page");
  token_ = std::move(page.next_token);
  auto listing = std::make_shared<DirectoryListing>();
  listing->entries = order_.next(std::move(page.entries), last);
  listing->complete = last && pages_.empty() && page.complete;
  listing->hidden_entries = page.hidden_entries;
  listing->fresh_until_ns = source_.fresh_until_ns(page.freshness);
  pages_.push_back(listing);
  *source_.entries += listing->entries.size();
  if (!last) return {};
  if (pages_.size() == 1) {
    whole_ = std::move(listing);
    return {};
  }
  auto whole = std::make_shared<DirectoryListing>();
  whole->complete = page.complete;
  whole->fresh_until_ns = listing->fresh_until_ns;
  for (const ListingPtr& each : pages_) {
    whole->hidden_entries += each->hidden_entries;
    whole->entries.insert(whole->entries.end(), each->entries.begin(), each->entries.end());
  }
  sort_names(whole->entries);
  whole_ = std::move(whole);
  return {};
}

std::vector<ListingPages::Waiting> ListingPages::take_served_locked() {
  const std::size_t there = whole_ || error_ ? SIZE_MAX : pages_.size();
  const auto served = std::stable_partition(
      waiting_.begin(), waiting_.end(),
      [there](const Waiting& waiting) { return waiting.index >= there && there != SIZE_MAX; });
  std::vector<Waiting> taken(std::make_move_iterator(served),
                             std::make_move_iterator(waiting_.end()));
  waiting_.erase(served, waiting_.end());
  return taken;
}

ListingPages::Looked ListingPages::find(std::string_view name) const {
  MutexLock lock(mu_);
  Looked looked;
  looked.complete = whole_ && whole_->complete;
  for (const ListingPtr& page : pages_) {
    looked.fresh_until_ns = page->fresh_until_ns;
    const ListEntry* entry = page->find(name);
    if (entry == nullptr) continue;
    looked.entry = *entry;
    break;
  }
  return looked;
}

bool ListingPages::serves(std::int64_t now_ns) const {
  MutexLock lock(mu_);
  return asking_ || pages_.empty() || now_ns < pages_.front()->fresh_until_ns;
}

bool ListingPages::is_asking() const {
  MutexLock lock(mu_);
  return asking_ || pages_.empty();
}

}  // namespace rangecache::cache
