#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

/// The constants of the socket protocol. docs/PROTOCOL.md is its specification; what stands here
/// is part of the wire format: append, never renumber.
namespace rangecache::protocol {

inline constexpr std::string_view kMagic = "RNGCACHE";  // the first 8 bytes of a greeting
inline constexpr std::uint16_t kVersionMin = 1;
inline constexpr std::uint16_t kVersionMax = 1;

inline constexpr std::size_t kGreetingSize = 40;
inline constexpr std::size_t kHeaderSize = 16;

/// The largest payload of a request, and of a reply. More is a protocol error.
inline constexpr std::uint32_t kMaxRequestPayload = 64 * 1024;
inline constexpr std::uint32_t kMaxReplyPayload = 64 * 1024 * 1024;
inline constexpr std::uint32_t kMaxReadLength = 4 * 1024 * 1024;    ///< of one READ
inline constexpr std::uint32_t kMaxLeaseLength = 32 * 1024 * 1024;  ///< of one LEASE
inline constexpr std::uint32_t kMaxLeaseFds = 16;                   ///< in one LEASE reply

/// Of READs and LEASEs without an answer: beyond it the daemon may read no more from the client.
inline constexpr std::uint32_t kMaxInFlightBytes = 16 * 1024 * 1024;

/// Bits of the greeting's capabilities.
inline constexpr std::uint32_t kCapabilityLease = 1u << 0;

enum class MessageType : std::uint16_t {
  kConnection = 0,  ///< only with kFlagError: the connection ends, and why
  kPing = 1,
  kOpen = 2,
  kClose = 3,
  kRead = 4,
  kLease = 5,
  kRelease = 6,
  kCancel = 7,  ///< has no reply of its own
  kStat = 8,
  kList = 9,
  kStats = 10,
  kMetrics = 11,
  kCached = 12,
  kMap = 13,
  kEvict = 14,
  kMount = 15,
  kUnmount = 16,
  kShutdown = 17,
  kVerify = 18,
  kPin = 19,
  kUnpin = 20,
  kPins = 21,
  kRefresh = 22,
  kLeaseCached = 23,
};

inline constexpr std::uint16_t kFlagReply = 1u << 0;
inline constexpr std::uint16_t kFlagError = 1u << 1;  ///< with kFlagReply; the payload is an error
/// The high byte of the flags: how many descriptors travel with the frame.
inline constexpr int kFdCountShift = 8;

/// Kinds of a slice in a LEASE reply.
inline constexpr std::uint8_t kSliceInline = 0;
inline constexpr std::uint8_t kSliceFile = 1;

}  // namespace rangecache::protocol
