#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "fetcher/file_fetch.h"
#include "fetcher/file_tree.h"
#include "fetcher/worker_pool.h"

namespace rangecache::fetcher {

/// A local directory as an origin: a slow network file system is worth caching too. A key is the
/// raw path below the root. Blocking calls are made by two threads of its own ("rc-file-N").
class FileOrigin final : public Origin {
 public:
  /// `id` is "file://" for the root "/", else "file:///abs/root".
  FileOrigin(FileTree tree, std::string id, Metrics& metrics);
  ~FileOrigin() override;

  /// Ends every fetch and joins the threads. After it, callbacks come with kShuttingDown from
  /// within the call. Not from a callback.
  void stop() EXCLUDES(mu_);

  const std::string& id() const override { return id_; }
  std::string url_of(std::string_view key) const override;
  std::string child_key(std::string_view dir_key, std::string_view name,
                        bool is_directory) const override;
  void stat(std::string key, Validator known, Callback<StatResult> done) override;
  void list(std::string dir_key, std::string token, Callback<ListPage> done) override;
  std::shared_ptr<Transfer> fetch(FetchRequest request, std::shared_ptr<FetchSink> sink) override;

 private:
  const std::shared_ptr<const FileTree> tree_;
  const std::string id_;
  Counter& requests_total_;
  Counter& bytes_total_;
  WorkerPool workers_;

  Mutex mu_;
  std::vector<std::weak_ptr<FileFetch>> fetches_ GUARDED_BY(mu_);
};

}  // namespace rangecache::fetcher
