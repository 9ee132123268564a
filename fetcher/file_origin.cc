#include "fetcher/file_origin.h"

#include <algorithm>
#include <utility>

#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

Error shutting_down() { return Error{ErrorCode::kShuttingDown, "the program is stopping"}; }

Result<StatResult> stat_in(const FileTree& tree, const std::string& key, const Validator& known) {
  RC_ASSIGN(const struct stat status, tree.stat(key));
  StatResult result;
  result.attributes = attributes_of(status);
  result.is_directory = S_ISDIR(status.st_mode);
  result.not_modified = known.kind != Validator::Kind::kNone && !result.is_directory &&
                        known == result.attributes.validator;
  if (result.is_directory) {
    result.attributes.size.reset();
    result.attributes.validator = {};
  }
  return result;
}

}  // namespace

FileOrigin::FileOrigin(FileTree tree, std::string id, Metrics& metrics)
    : tree_(std::make_shared<const FileTree>(std::move(tree))),
      id_(std::move(id)),
      requests_total_(metrics.counter("rangecache_origin_requests_total",
                                      "Requests sent to origins, retries included")),
      bytes_total_(metrics.counter("rangecache_origin_bytes_total",
                                   "Bytes of response bodies received from origins")),
      workers_("rc-file", 2) {}

FileOrigin::~FileOrigin() { stop(); }

void FileOrigin::stop() {
  std::vector<std::weak_ptr<FileFetch>> fetches;
  {
    MutexLock lock(mu_);
    fetches.swap(fetches_);
  }
  for (const auto& weak : fetches)
    if (const auto fetch = weak.lock()) fetch->cancel();
  workers_.stop();
}

std::string FileOrigin::url_of(std::string_view key) const {
  return id_ + "/" + canonical_path_of_raw(key);
}

std::string FileOrigin::child_key(std::string_view dir_key, std::string_view name,
                                  bool is_directory) const {
  std::string key(dir_key);
  if (!key.empty() && key.back() != '/') key += '/';
  return key + std::string(name) + (is_directory ? "/" : "");
}

void FileOrigin::stat(std::string key, Validator known, Callback<StatResult> done) {
  requests_total_.add();
  auto shared_done = std::make_shared<Callback<StatResult>>(std::move(done));
  const bool posted = workers_.post([tree = tree_, key = std::move(key), known = std::move(known),
                                     shared_done] { (*shared_done)(stat_in(*tree, key, known)); });
  if (!posted) (*shared_done)(shutting_down());
}

void FileOrigin::list(std::string dir_key, std::string, Callback<ListPage> done) {
  requests_total_.add();
  auto shared_done = std::make_shared<Callback<ListPage>>(std::move(done));
  const bool posted = workers_.post([tree = tree_, dir_key = std::move(dir_key), shared_done] {
    (*shared_done)(tree->list(dir_key));
  });
  if (!posted) (*shared_done)(shutting_down());
}

std::shared_ptr<Transfer> FileOrigin::fetch(FetchRequest request, std::shared_ptr<FetchSink> sink) {
  requests_total_.add();
  auto fetch = std::make_shared<FileFetch>(tree_, workers_, bytes_total_, std::move(request),
                                           std::move(sink));
  {
    MutexLock lock(mu_);
    std::erase_if(fetches_, [](const auto& weak) { return weak.expired(); });
    fetches_.push_back(fetch);
  }
  fetch->start();
  return fetch;
}

}  // namespace rangecache::fetcher
