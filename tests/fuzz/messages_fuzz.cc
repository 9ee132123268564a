// Input: which message (a byte), then its bytes.
#include <string>

#include "base/check.h"
#include "base/messages.h"
#include "tests/fuzz/input.h"

namespace rangecache::wire {
namespace {

template <typename T>
void check_value(std::string_view bytes, T (*get)(Reader&)) {
  Reader in(bytes);
  const T value = get(in);
  if (!in.ok()) return;
  Writer out;
  put(out, value);
  CHECK(out.buffer().size() == bytes.size() - in.rest().size());
  Reader again(out.buffer());
  Writer same;
  put(same, get(again));
  CHECK(again.complete() && same.buffer() == out.buffer());
}

void check_greeting(std::string_view bytes) {
  const auto greeting = decode_greeting(bytes);
  if (!greeting) return;
  const std::string printed = encode(*greeting);
  CHECK(printed.size() == protocol::kGreetingSize);
  CHECK(printed.substr(0, 36) == bytes.substr(0, 36));  // the rest is reserved
  const auto version = agree_on_version(Greeting{}, *greeting);
  CHECK(!version || (*version >= greeting->version_min && *version <= greeting->version_max));
  CHECK(!version || (*version >= protocol::kVersionMin && *version <= protocol::kVersionMax));
}

void check_error(std::string_view bytes) {
  const Error error = decode_error(bytes);
  CHECK(error.code == ErrorCode::kProtocol || encode(error) == bytes);
}

}  // namespace
}  // namespace rangecache::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache::wire;
  std::string_view bytes = rangecache::fuzz::text_of(data, size);
  switch (rangecache::fuzz::take_byte(bytes) % 13) {
    case 0:
      check_greeting(bytes);
      break;
    case 1:
      if (bytes.size() >= rangecache::protocol::kHeaderSize)
        CHECK(encode(decode_header(bytes)) == bytes.substr(0, rangecache::protocol::kHeaderSize));
      break;
    case 2:
      check_error(bytes);
      break;
    case 3:
      check_value(bytes, get_object_info);
      break;
    case 4:
      check_value(bytes, get_directory);
      break;
    case 5:
      check_value(bytes, get_cached_objects);
      break;
    case 6:
      check_value(bytes, get_refresh_result);
      break;
    case 7:
      check_value(bytes, get_object_map);
      break;
    case 8:
      check_value(bytes, get_pins);
      break;
    case 9:
      check_value(bytes, get_verify_part);
      break;
    case 10:
      check_value(bytes, get_evict_result);
      break;
    case 11:
      check_value(bytes, get_mount_info);
      break;
    case 12:
      check_value(bytes, get_lease_reply);
      break;
  }
  return 0;
}
