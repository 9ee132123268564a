// Input: which kind of record (a byte), then its payload.
#include "base/check.h"
#include "cache/record_format.h"
#include "tests/fuzz/input.h"

namespace rangecache::cache::record_format {
namespace {

/// Accepts nothing that encoding cannot make.
template <typename Record>
void check_record(const std::optional<Record>& record, std::string_view payload) {
  if (record) CHECK(encode(*record) == payload);
}

void check_frames(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::string_view before = bytes;
    const auto frame = take_frame(bytes, 7);
    if (!frame) {
      CHECK(bytes == before);
      return;
    }
    std::string again;
    append_frame(again, 7, frame->type, frame->payload);
    CHECK(again == before.substr(0, before.size() - bytes.size()));
  }
}

}  // namespace
}  // namespace rangecache::cache::record_format

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rangecache::cache::record_format;
  std::string_view payload = rangecache::fuzz::text_of(data, size);
  const std::uint8_t kind = rangecache::fuzz::take_byte(payload);
  switch (static_cast<Type>(kind)) {
    case Type::kHeader:
      check_record(decode_header(payload), payload);
      break;
    case Type::kVersion:
      check_record(decode_version(payload), payload);
      break;
    case Type::kVersionRemoved:
      check_record(decode_version_id(payload), payload);
      break;
    case Type::kChunk:
      check_record(decode_chunk(payload), payload);
      break;
    case Type::kChunkRemoved:
      check_record(decode_chunk_key(payload), payload);
      break;
    default:
      check_frames(payload);
  }
  // A frame is understood, and any other byte in it makes it another's.
  std::string framed;
  append_frame(framed, 7, static_cast<Type>(kind), payload);
  check_frames(framed);
  std::string_view rest = framed;
  CHECK(take_frame(rest, 7) && rest.empty());
  framed[payload.size() % framed.size()] ^= 1;
  rest = framed;
  CHECK(!take_frame(rest, 7));
  return 0;
}
