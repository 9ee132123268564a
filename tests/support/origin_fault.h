#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>

namespace rangecache::test {

/// How an answer of the test origin differs from the right one. Fields combine.
struct Fault {
  /// What happens once `stop_after` bytes of the body are sent. The length that the head announced
  /// stays what it was.
  enum class Then { kClose, kReset, kStall };

  int times = 1;                             ///< answers to spoil; kAlways: all of them
  int delay_ms = 0;                          ///< before the head
  std::string before;                        ///< bytes that go before the head
  int trickle_ms = 0;                        ///< the body begins so slowly: a byte each ms
  std::optional<int> status;                 ///< this status with an empty body, and nothing else
  std::string headers;                       ///< added: whole lines, each with its "\r\n"
  std::optional<std::string> etag;           ///< in place of the right one; empty: none
  bool no_last_modified = false;             ///< leaves the date of the object out
  std::optional<std::string> content_range;  ///< in place of the right one; empty: none
  bool ignore_range = false;                 ///< the whole with 200, whatever was asked
  std::optional<std::uint64_t> stop_after;
  Then then = Then::kClose;

  static constexpr int kAlways = -1;
};

/// One of the many ways in which servers misbehave, small enough to be met by the dozen: delays and
/// stalls of some `patience_ms`, errors, broken and trickling bodies, lies about ranges, lengths
/// and validators, redirects to where nobody should follow, garbage.
Fault random_fault(std::mt19937_64& random, int patience_ms);

}  // namespace rangecache::test
