#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "fetcher/http_request.h"

namespace rangecache::fetcher {

/// Decides which request goes next. Each origin has its own places, so that a slow one cannot take
/// another's. Data: demand goes before read-ahead, and read-ahead leaves a quarter of the places
/// free, so that a demand read seldom waits for one. Metadata have their own, so that a stat never
/// waits for a stalled read. Pure; not thread-safe.
class TransferQueue {
 public:
  /// Requests in flight per origin, each at least 1.
  TransferQueue(int data_places, int metadata_places);

  void push(const OriginHealth* origin, Traffic traffic, std::uint64_t id);
  /// From now on this origin has so many places for data; what runs goes on.
  void set_places(const OriginHealth* origin, int data_places);
  /// Takes every request that may start now. Each holds a place until release().
  std::vector<std::uint64_t> take_ready();
  void release(const OriginHealth* origin, Traffic traffic);
  /// Forgets a request that was pushed and not taken.
  void erase(const OriginHealth* origin, std::uint64_t id);

 private:
  struct Lane {
    std::deque<std::uint64_t> waiting;
    int in_flight = 0;
  };
  struct Lanes {
    int places;
    std::array<Lane, 3> by_traffic;
  };
  Lanes& lanes_of(const OriginHealth* origin);
  static Lane& lane(Lanes& lanes, Traffic traffic) {
    return lanes.by_traffic[static_cast<std::size_t>(traffic)];
  }

  const int data_places_;
  const int metadata_places_;
  std::map<const OriginHealth*, Lanes> lanes_;
};

}  // namespace rangecache::fetcher
