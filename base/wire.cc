#include "base/wire.h"

#include <algorithm>

namespace rangecache::wire {

void Writer::integer(std::uint64_t v, int size_bytes) {
  for (int i = 0; i < size_bytes; ++i) buffer_.push_back(static_cast<char>(v >> (8 * i)));
}

void Writer::string(std::string_view v) {
  u32(static_cast<std::uint32_t>(v.size()));
  buffer_.append(v);
}

std::uint64_t Reader::integer(int size_bytes) {
  const std::string_view raw = bytes(static_cast<std::size_t>(size_bytes));
  std::uint64_t v = 0;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    v |= static_cast<std::uint64_t>(static_cast<unsigned char>(raw[i])) << (8 * i);
  }
  return v;
}

std::string_view Reader::bytes(std::size_t size) {
  if (!ok_ || rest_.size() < size) {
    ok_ = false;
    return {};
  }
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

std::string Reader::string() { return std::string(bytes(u32())); }

std::string encode(const FrameHeader& header) {
  Writer out;
  out.u32(header.length);
  out.u16(static_cast<std::uint16_t>(header.type));
  out.u16(header.flags);
  out.u64(header.request_id);
  return out.take();
}

FrameHeader decode_header(std::string_view data) {
  Reader in(data);
  FrameHeader header;
  header.length = in.u32();
  header.type = static_cast<protocol::MessageType>(in.u16());
  header.flags = in.u16();
  header.request_id = in.u64();
  return header;
}

std::string encode(const Greeting& greeting) {
  Writer out;
  out.bytes(protocol::kMagic);
  out.u16(greeting.version_min);
  out.u16(greeting.version_max);
  out.u32(greeting.capabilities);
  out.u32(greeting.max_payload);
  out.u32(greeting.max_read_length);
  out.u32(greeting.max_lease_length);
  out.u32(greeting.max_in_flight);
  out.u32(greeting.max_handles);
  out.u32(0);
  return out.take();
}

Result<Greeting> decode_greeting(std::string_view data) {
  Reader in(data);
  if (in.bytes(protocol::kMagic.size()) != protocol::kMagic) {
    return Error{ErrorCode::kProtocol, "the peer does not speak the rangecache protocol"};
  }
  Greeting greeting;
  greeting.version_min = in.u16();
  greeting.version_max = in.u16();
  greeting.capabilities = in.u32();
  greeting.max_payload = in.u32();
  greeting.max_read_length = in.u32();
  greeting.max_lease_length = in.u32();
  greeting.max_in_flight = in.u32();
  greeting.max_handles = in.u32();
  in.u32();  // reserved: ignored, so that a later version may use it
  if (!in.ok() || greeting.version_min > greeting.version_max) {
    return Error{ErrorCode::kProtocol, "the peer's greeting is malformed"};
  }
  return greeting;
}

Result<std::uint16_t> agree_on_version(const Greeting& daemon, const Greeting& client) {
  const std::uint16_t version = std::min(daemon.version_max, client.version_max);
  if (version >= std::max(daemon.version_min, client.version_min)) return version;
  const auto range = [](const Greeting& greeting) {
    return std::to_string(greeting.version_min) + " to " + std::to_string(greeting.version_max);
  };
  return Error{ErrorCode::kUnsupported, "the daemon speaks protocol versions " + range(daemon) +
                                            ", the client " + range(client) +
                                            ": upgrade the older of the two"};
}

std::string encode(const Error& error) {
  Writer out;
  out.u16(static_cast<std::uint16_t>(error.code));
  out.i32(error.sys_errno);
  out.string(error.context);
  return out.take();
}

Error decode_error(std::string_view data) {
  Reader in(data);
  Error error;
  error.code = static_cast<ErrorCode>(in.u16());
  error.sys_errno = in.i32();
  error.context = in.string();
  if (!in.complete()) return Error{ErrorCode::kProtocol, "the daemon sent a malformed error"};
  return error;
}

}  // namespace rangecache::wire
