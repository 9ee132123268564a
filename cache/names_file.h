#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "base/file_system.h"
#include "base/mutex.h"
#include "cache/known_names.h"
#include "cache/ledger.h"

namespace rangecache::cache {

/// Keeps what is known of names in the file `names`, so that the next run need not ask for it. It
/// is written whole, now and then and at the end, by a thread of its own ("rc-names"), and only as
/// long as it is small beside the cache: it is a convenience, and any failure only costs that.
class NamesFile {
 public:
  NamesFile(FileSystem& files, const std::string& cache_directory, Ledger& ledger);
  ~NamesFile();

  /// What an earlier run has left; empty if that is nothing, or damaged.
  KnownNames load();

  /// `serial` changes when there is something new; `collect` gives it. Both thread-safe.
  void start(std::function<std::uint64_t()> serial, std::function<KnownNames()> collect);
  /// Writes a last time.
  void stop() EXCLUDES(mu_);

 private:
  void run() EXCLUDES(mu_);
  void save_if_changed();
  Result<void> save(const std::string& bytes);

  FileSystem& files_;
  const std::string path_;
  Ledger& ledger_;
  Charge charge_;
  std::function<std::uint64_t()> serial_;
  std::function<KnownNames()> collect_;
  std::uint64_t saved_serial_ = 0;

  Mutex mu_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace rangecache::cache
