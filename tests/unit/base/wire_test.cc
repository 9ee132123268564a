#include "base/wire.h"

#include <gtest/gtest.h>

#include "base/messages.h"

namespace rangecache::wire {
namespace {

/// "01 ff" to bytes.
std::string hex(const char* text) {
  std::string bytes;
  for (const char* at = text; *at;) {
    char* end = nullptr;
    bytes += static_cast<char>(std::strtoul(at, &end, 16));
    at = end;
    while (*at == ' ') ++at;
  }
  return bytes;
}

// The worked example of docs/PROTOCOL.md. If one of these fails, the wire format has changed:
// raise protocol::kVersionMax and rewrite the document.
TEST(WireGolden, Greeting) {
  Greeting greeting;
  greeting.max_payload = protocol::kMaxReplyPayload;
  EXPECT_EQ(encode(greeting),
            hex("52 4e 47 43 41 43 48 45 01 00 01 00 01 00 00 00 00 00 00 04 00 00 00 00 "
                "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"));
}

TEST(WireGolden, OpenRequest) {
  Writer payload;
  payload.string("http://h/f");
  const FrameHeader header{.length = static_cast<std::uint32_t>(payload.buffer().size()),
                           .type = protocol::MessageType::kOpen,
                           .flags = 0,
                           .request_id = 7};
  EXPECT_EQ(encode(header) + payload.buffer(),
            hex("0e 00 00 00 02 00 00 00 07 00 00 00 00 00 00 00 "
                "0a 00 00 00 68 74 74 70 3a 2f 2f 68 2f 66"));
}

TEST(WireGolden, ErrorReply) {
  const std::string payload = encode(Error(ErrorCode::kNotFound, "no f"));
  const FrameHeader header{.length = static_cast<std::uint32_t>(payload.size()),
                           .type = protocol::MessageType::kOpen,
                           .flags = protocol::kFlagReply | protocol::kFlagError,
                           .request_id = 7};
  EXPECT_EQ(encode(header) + payload, hex("0e 00 00 00 02 00 03 00 07 00 00 00 00 00 00 00 "
                                          "02 00 00 00 00 00 04 00 00 00 6e 6f 20 66"));
}

TEST(Wire, ATruncatedMessageIsNoMessage) {
  Writer out;
  put(out,
      ObjectMap{{"http://h/f", 100, false, "\"tag\"", 5, 60}, {{0, 40}, {80, 100}}, {{40, 50}}});
  const std::string whole = out.take();
  Reader good(whole);
  EXPECT_EQ(get_object_map(good).chunks.size(), 2u);
  EXPECT_TRUE(good.complete());
  for (std::size_t length = 0; length < whole.size(); ++length) {
    Reader cut(std::string_view(whole).substr(0, length));
    (void)get_object_map(cut);
    EXPECT_FALSE(cut.ok()) << length;
  }
}

TEST(Wire, ACountWithoutElementsReservesNothing) {
  Writer out;
  out.u32(0xffffffff);
  Reader in(out.buffer());
  EXPECT_TRUE(get_directory(in).empty());
  EXPECT_FALSE(in.ok());
}

}  // namespace
}  // namespace rangecache::wire
