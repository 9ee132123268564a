#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "rangecache/protocol.h"
#include "rangecache/result.h"

/// The primitives of the socket protocol (docs/PROTOCOL.md), little-endian on every machine.
namespace rangecache::wire {

/// Appends primitives to a string.
class Writer {
 public:
  void u8(std::uint8_t v) { integer(v, 1); }
  void u16(std::uint16_t v) { integer(v, 2); }
  void u32(std::uint32_t v) { integer(v, 4); }
  void u64(std::uint64_t v) { integer(v, 8); }
  void i32(std::int32_t v) { u32(static_cast<std::uint32_t>(v)); }
  void i64(std::int64_t v) { u64(static_cast<std::uint64_t>(v)); }
  void string(std::string_view v);  ///< u32 length, then the bytes
  void bytes(std::string_view v) { buffer_.append(v); }

  const std::string& buffer() const { return buffer_; }
  std::string take() { return std::move(buffer_); }

 private:
  void integer(std::uint64_t v, int size_bytes);
  std::string buffer_;
};

/// Takes primitives from a view, never beyond its end. After the first failure every value is 0 or
/// empty and ok() is false: read everything, then ask once.
class Reader {
 public:
  explicit Reader(std::string_view data) : rest_(data) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(integer(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(integer(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(integer(4)); }
  std::uint64_t u64() { return integer(8); }
  std::int32_t i32() { return static_cast<std::int32_t>(u32()); }
  std::int64_t i64() { return static_cast<std::int64_t>(u64()); }
  std::string string();
  std::string_view bytes(std::size_t size);

  bool ok() const { return ok_; }
  /// Everything was there, and nothing is left over.
  bool complete() const { return ok_ && rest_.empty(); }
  std::string_view rest() const { return rest_; }
  void fail() { ok_ = false; }

 private:
  std::uint64_t integer(int size_bytes);
  std::string_view rest_;
  bool ok_ = true;
};

/// What stands before every payload.
struct FrameHeader {
  std::uint32_t length = 0;  ///< of the payload, in bytes
  protocol::MessageType type = protocol::MessageType::kConnection;
  std::uint16_t flags = 0;
  std::uint64_t request_id = 0;

  bool is_reply() const { return flags & protocol::kFlagReply; }
  bool is_error() const { return flags & protocol::kFlagError; }
  unsigned fd_count() const { return flags >> protocol::kFdCountShift; }
};

std::string encode(const FrameHeader& header);
/// `data` has at least kHeaderSize bytes.
FrameHeader decode_header(std::string_view data);

/// The first thing that either side sends.
struct Greeting {
  std::uint16_t version_min = protocol::kVersionMin;
  std::uint16_t version_max = protocol::kVersionMax;
  std::uint32_t capabilities = protocol::kCapabilityLease;
  std::uint32_t max_payload = 0;       ///< the largest that the sender accepts
  std::uint32_t max_read_length = 0;   ///< 0 from a client
  std::uint32_t max_lease_length = 0;  ///< 0 from a client
  std::uint32_t max_in_flight = 0;     ///< requests at once; 0 from a client
  std::uint32_t max_handles = 0;       ///< open at once; 0 from a client
};

std::string encode(const Greeting& greeting);
/// kProtocol when `data` is not a greeting.
Result<Greeting> decode_greeting(std::string_view data);
/// The version to speak: the highest that both know. kUnsupported when there is none.
Result<std::uint16_t> agree_on_version(const Greeting& daemon, const Greeting& client);

std::string encode(const Error& error);
/// What the peer reported; a kProtocol error of our own when it cannot be understood.
Error decode_error(std::string_view data);

}  // namespace rangecache::wire
