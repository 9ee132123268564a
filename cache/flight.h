#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/origin.h"
#include "cache/piece.h"
#include "cache/read.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// A range of one version being fetched now.
///
///     range.begin        arrived                 range.end
///        |=================|........................|
///         in pieces         pending: in flight once
///
/// The flight owns its fetch; readers only wait for bytes of it, and may leave. Guarded by the
/// version's lock. Flights of one version never overlap in their pending parts.
struct Flight {
  Flight(ByteRange flight_range, Priority flight_priority)
      : range(flight_range), arrived(flight_range.begin), priority(flight_priority) {}

  ByteRange pending() const { return {arrived, range.end}; }

  ByteRange range;
  std::uint64_t arrived;  ///< the next byte of the object to come
  Priority priority;
  std::shared_ptr<Piece> filling;      ///< takes the next bytes; null at a piece's start
  bool claimed = true;                 ///< some read was charged with the miss that it is
  bool whole_body = false;             ///< the origin ignored the range: bytes come from 0 on
  std::uint64_t to_pass_over = 0;      ///< of them, what comes before `range`
  bool abandoned = false;              ///< another flight brings these bytes; what comes is refused
  std::shared_ptr<Transfer> transfer;  ///< null until the origin has returned it
  bool paused = false;                 ///< it had to wait for memory
  bool resume_wanted = false;          ///< memory came back before `transfer` was known
  std::size_t taken_before_pause = 0;  ///< of the bytes that will be offered again

  struct Waiter {
    std::shared_ptr<Read> read;
    std::uint64_t part_begin;
  };
  std::vector<Waiter> waiters;
};
using FlightPtr = std::shared_ptr<Flight>;

}  // namespace rangecache::cache
