#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/origin.h"

namespace rangecache::fetcher {

/// Decides which request goes next. Each origin has its own places, so that a slow one cannot take
/// another's; demand goes before read-ahead, and read-ahead leaves a quarter of the places free,
/// so that a demand read seldom waits for one. Pure; not thread-safe.
class TransferQueue {
 public:
  /// `places`: requests in flight per origin, at least 1.
  explicit TransferQueue(int places);

  void push(const std::string& origin_id, Priority priority, std::uint64_t id);
  /// Takes every request that may start now. Each holds a place until release().
  std::vector<std::uint64_t> take_ready();
  void release(const std::string& origin_id, Priority priority);
  /// Forgets a request that was pushed and not taken.
  void erase(const std::string& origin_id, std::uint64_t id);

 private:
  struct Lane {
    std::deque<std::uint64_t> demand;
    std::deque<std::uint64_t> read_ahead;
    int in_flight = 0;
    int read_ahead_in_flight = 0;
  };
  int places_;
  int read_ahead_places_;
  std::map<std::string, Lane> lanes_;
};

}  // namespace rangecache::fetcher
