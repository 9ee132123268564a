#include "fetcher/transfer_queue.h"

#include <algorithm>

namespace rangecache::fetcher {

TransferQueue::TransferQueue(int places)
    : places_(std::max(places, 1)), read_ahead_places_(std::max(places - places / 4, 1)) {}

void TransferQueue::push(const std::string& origin_id, Priority priority, std::uint64_t id) {
  Lane& lane = lanes_[origin_id];
  (priority == Priority::kDemand ? lane.demand : lane.read_ahead).push_back(id);
}

std::vector<std::uint64_t> TransferQueue::take_ready() {
  std::vector<std::uint64_t> ready;
  for (auto& [origin_id, lane] : lanes_) {
    while (lane.in_flight < places_ && !lane.demand.empty()) {
      ready.push_back(lane.demand.front());
      lane.demand.pop_front();
      ++lane.in_flight;
    }
    while (lane.in_flight < places_ && lane.read_ahead_in_flight < read_ahead_places_ &&
           !lane.read_ahead.empty()) {
      ready.push_back(lane.read_ahead.front());
      lane.read_ahead.pop_front();
      ++lane.in_flight;
      ++lane.read_ahead_in_flight;
    }
  }
  return ready;
}

void TransferQueue::release(const std::string& origin_id, Priority priority) {
  Lane& lane = lanes_[origin_id];
  --lane.in_flight;
  if (priority == Priority::kReadAhead) --lane.read_ahead_in_flight;
}

void TransferQueue::erase(const std::string& origin_id, std::uint64_t id) {
  Lane& lane = lanes_[origin_id];
  std::erase(lane.demand, id);
  std::erase(lane.read_ahead, id);
}

}  // namespace rangecache::fetcher
