#include "cache/pins.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kMaxFile = 16 << 20;
constexpr std::size_t kMaxPins = 10'000;

std::string checksum_of(const nlohmann::json& pins) {
  const std::string text = pins.dump();
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

bool expired(const PinInfo& pin, std::int64_t now_s) {
  return pin.expires_s != 0 && pin.expires_s <= now_s;
}

}  // namespace

Pins::Pins(FileSystem& files, const std::string& cache_directory, const Clock& clock)
    : files_(files), path_(cache_directory + "/pins"), clock_(clock) {
  load();
}

void Pins::load() {
  const auto text = files_.read_file(path_, kMaxFile);
  if (!text) {
    if (text.error().code != ErrorCode::kNotFound) log_warning("{}", text.error().message());
    return;
  }
  MutexLock lock(mu_);
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  try {
    if (!json.is_object() || json.at("checksum") != checksum_of(json.at("pins")))
      throw std::runtime_error("damaged");
    for (const auto& pin : json.at("pins"))
      pins_.push_back({pin.at("prefix"), pin.at("owner"), pin.at("expires"), 0});
  } catch (const std::exception&) {
    pins_.clear();
    log_warning("{} is damaged: nothing is pinned; pin again what should be", path_);
  }
  changed();
}

void Pins::changed() {
  ++serial_;
  any_ = !pins_.empty();
}

Result<void> Pins::save() {
  nlohmann::json pins = nlohmann::json::array();
  for (const PinInfo& pin : pins_)
    pins.push_back({{"prefix", pin.prefix}, {"owner", pin.owner}, {"expires", pin.expires_s}});
  const std::string text = nlohmann::json{{"pins", pins}, {"checksum", checksum_of(pins)}}.dump();
  const std::string temp = path_ + ".new";
  {
    RC_ASSIGN(const UniqueFd fd, files_.open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    RC_TRY(files_.write_all(fd.get(), std::as_bytes(std::span(text)), 0));
    RC_TRY(files_.sync(fd.get()));
  }
  return files_.rename(temp, path_);
}

Result<void> Pins::add(std::string prefix, std::string owner, std::int64_t expires_s) {
  try {
    (void)nlohmann::json{prefix, owner}.dump();  // as it will be written down
  } catch (const nlohmann::json::exception&) {
    return Error(ErrorCode::kInvalidArgument, "the prefix and the owner of a pin must be UTF-8");
  }
  MutexLock lock(mu_);
  std::vector<PinInfo> before = pins_;
  pins_.erase(std::remove_if(pins_.begin(), pins_.end(),
                             [&](const PinInfo& pin) {
                               return expired(pin, clock_.unix_s()) ||
                                      (pin.prefix == prefix && pin.owner == owner);
                             }),
              pins_.end());
  if (pins_.size() >= kMaxPins) {
    pins_ = std::move(before);
    return Error(ErrorCode::kBusy,
                 fmt::format("there are {} pins, the most allowed: unpin some", pins_.size()));
  }
  pins_.push_back({std::move(prefix), std::move(owner), expires_s, 0});
  if (auto saved = save(); !saved) {
    pins_ = std::move(before);
    return saved;
  }
  changed();
  return {};
}

Result<std::uint64_t> Pins::remove(const std::string& prefix, const std::string& owner) {
  MutexLock lock(mu_);
  std::vector<PinInfo> before = pins_;
  pins_.erase(std::remove_if(pins_.begin(), pins_.end(),
                             [&](const PinInfo& pin) {
                               return pin.prefix == prefix && (owner.empty() || pin.owner == owner);
                             }),
              pins_.end());
  const std::uint64_t removed = before.size() - pins_.size();
  if (removed == 0) return removed;
  if (auto saved = save(); !saved) {
    pins_ = std::move(before);
    return saved.error();
  }
  changed();
  return removed;
}

std::vector<PinInfo> Pins::list() const {
  MutexLock lock(mu_);
  std::vector<PinInfo> live;
  for (const PinInfo& pin : pins_) {
    if (!expired(pin, clock_.unix_s())) live.push_back(pin);
  }
  std::sort(live.begin(), live.end(), [](const PinInfo& a, const PinInfo& b) {
    return std::tie(a.prefix, a.owner) < std::tie(b.prefix, b.owner);
  });
  return live;
}

bool Pins::is_pinned(std::string_view url) const {
  if (!any()) return false;
  MutexLock lock(mu_);
  const std::int64_t now = clock_.unix_s();
  return std::any_of(pins_.begin(), pins_.end(), [&](const PinInfo& pin) {
    return url.substr(0, pin.prefix.size()) == pin.prefix && !expired(pin, now);
  });
}

std::uint64_t Pins::serial() {
  if (!any()) {
    MutexLock lock(mu_);
    return serial_;
  }
  MutexLock lock(mu_);
  const std::int64_t now = clock_.unix_s();
  const auto gone = std::remove_if(pins_.begin(), pins_.end(),
                                   [&](const PinInfo& pin) { return expired(pin, now); });
  if (gone != pins_.end()) {
    pins_.erase(gone, pins_.end());
    changed();
  }
  return serial_;
}

}  // namespace rangecache::cache
