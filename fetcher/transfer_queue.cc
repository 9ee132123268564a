#include "fetcher/transfer_queue.h"

#include <algorithm>

namespace rangecache::fetcher {

TransferQueue::TransferQueue(int data_places, int metadata_places)
    : data_places_(std::max(data_places, 1)), metadata_places_(std::max(metadata_places, 1)) {}

TransferQueue::Lanes& TransferQueue::lanes_of(const OriginHealth* origin) {
  return lanes_.try_emplace(origin, Lanes{data_places_, {}}).first->second;
}

void TransferQueue::push(const OriginHealth* origin, Traffic traffic, std::uint64_t id) {
  lane(lanes_of(origin), traffic).waiting.push_back(id);
}

void TransferQueue::set_places(const OriginHealth* origin, int data_places) {
  lanes_of(origin).places = std::max(data_places, 1);
}

std::vector<std::uint64_t> TransferQueue::take_ready() {
  std::vector<std::uint64_t> ready;
  const auto take = [&](Lane& from, auto has_place) {
    while (!from.waiting.empty() && has_place()) {
      ready.push_back(from.waiting.front());
      from.waiting.pop_front();
      ++from.in_flight;
    }
  };
  for (auto& [origin, lanes] : lanes_) {
    Lane& metadata = lane(lanes, Traffic::kMetadata);
    Lane& demand = lane(lanes, Traffic::kDemand);
    Lane& read_ahead = lane(lanes, Traffic::kReadAhead);
    const int places = lanes.places;
    const auto data_place = [&] { return demand.in_flight + read_ahead.in_flight < places; };
    // An origin that wants fewer requests gets fewer of all kinds.
    take(metadata, [&] { return metadata.in_flight < std::min(metadata_places_, places); });
    take(demand, data_place);
    take(read_ahead,
         [&] { return data_place() && read_ahead.in_flight < std::max(places - places / 4, 1); });
  }
  return ready;
}

void TransferQueue::release(const OriginHealth* origin, Traffic traffic) {
  --lane(lanes_of(origin), traffic).in_flight;
}

void TransferQueue::erase(const OriginHealth* origin, std::uint64_t id) {
  for (Lane& lane : lanes_of(origin).by_traffic) std::erase(lane.waiting, id);
}

}  // namespace rangecache::fetcher
