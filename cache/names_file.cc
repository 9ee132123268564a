#include "cache/names_file.h"

#include <fcntl.h>
#include <pthread.h>

#include <chrono>
#include <span>
#include <utility>

#include "base/log.h"

namespace rangecache::cache {
namespace {

constexpr auto kInterval = std::chrono::seconds(60);
constexpr std::uint64_t kMaxShare = 16;  // of the cache's limit

}  // namespace

NamesFile::NamesFile(FileSystem& files, const std::string& cache_directory, Ledger& ledger)
    : files_(files), path_(cache_directory + "/names"), ledger_(ledger) {}

NamesFile::~NamesFile() { stop(); }

KnownNames NamesFile::load() {
  static_cast<void>(files_.unlink(path_ + ".new"));  // of a run that was killed
  const auto bytes = files_.read_file(path_, ledger_.limit() / kMaxShare);
  if (!bytes) {
    if (bytes.error().code != ErrorCode::kNotFound) {
      log_warning("{}", bytes.error().message());
      static_cast<void>(files_.unlink(path_));
    }
    return {};
  }
  const std::uint64_t charge = Ledger::chunk_charge(bytes->size());
  ledger_.charge_existing(charge);
  charge_ = Charge(ledger_, charge);
  auto names = decode_known_names(*bytes);
  if (names) return *std::move(names);
  log_warning("{}: {}; names are asked for again", path_, names.error().context);
  return {};
}

void NamesFile::start(std::function<std::uint64_t()> serial, std::function<KnownNames()> collect) {
  serial_ = std::move(serial);
  collect_ = std::move(collect);
  saved_serial_ = serial_();
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "rc-names");
    run();
  });
}

void NamesFile::run() {
  auto due = std::chrono::steady_clock::now() + kInterval;
  while (true) {
    {
      MutexLock lock(mu_);
      if (stopping_) return;
      const auto now = std::chrono::steady_clock::now();
      if (now < due) {
        changed_.wait_for(mu_, std::chrono::ceil<std::chrono::milliseconds>(due - now));
        continue;
      }
    }
    save_if_changed();
    due = std::chrono::steady_clock::now() + kInterval;
  }
}

void NamesFile::stop() {
  {
    MutexLock lock(mu_);
    if (std::exchange(stopping_, true)) return;
    changed_.notify_all();
  }
  if (!thread_.joinable()) return;
  thread_.join();
  save_if_changed();
}

void NamesFile::save_if_changed() {
  const std::uint64_t serial = serial_();
  if (serial == saved_serial_) return;
  const std::string bytes = encode(collect_());
  const auto saved = save(bytes);
  if (saved)
    saved_serial_ = serial;
  else
    log_debug("what is known of names is not kept: {}", saved.error().message());
}

Result<void> NamesFile::save(const std::string& bytes) {
  const std::uint64_t need = Ledger::chunk_charge(bytes.size());
  if (bytes.size() > ledger_.limit() / kMaxShare || !ledger_.try_reserve(need))
    return Error(ErrorCode::kNoSpace, "it would take too much of the cache");
  Charge charge(ledger_, need);
  const std::string temp = path_ + ".new";
  const auto written = [&]() -> Result<void> {
    RC_ASSIGN(const UniqueFd fd, files_.open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    RC_TRY(files_.write_all(fd.get(), std::as_bytes(std::span(bytes)), 0));
    return files_.rename(temp, path_);
  }();
  if (!written) {
    static_cast<void>(files_.unlink(temp));
    return written;
  }
  charge_ = std::move(charge);
  return {};
}

}  // namespace rangecache::cache
