#include "fetcher/url.h"

#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

TEST(Url, SpellingsOfOneAddressAreOneKey) {
  struct Case {
    const char *url, *origin, *key;
  };
  const Case cases[] = {
      {"http://Example.COM", "http://example.com", ""},
      {"http://example.com:80/", "http://example.com", ""},
      {"https://example.com:443/a", "https://example.com", "a"},
      {"https://example.com:8443/a", "https://example.com:8443", "a"},
      {"http://example.com/a%20b", "http://example.com", "a%20b"},
      {"http://example.com/a b", "http://example.com", "a%20b"},
      {"http://example.com/%7euser/%41", "http://example.com", "~user/A"},
      {"http://example.com/a+b", "http://example.com", "a%2Bb"},
      {"http://example.com/a%2fb/c", "http://example.com", "a%2Fb/c"},
      {"http://example.com/x/../y/./z", "http://example.com", "y/z"},
      {"http://example.com/d//e/", "http://example.com", "d//e/"},
      {"http://example.com/f#part", "http://example.com", "f"},
      {"http://example.com/f?b=%2f&a=1+2", "http://example.com", "f?b=%2F&a=1+2"},
      {"http://[::1]:8080/f", "http://[::1]:8080", "f"},
      {"http://0x7f000001/f", "http://127.0.0.1", "f"},
  };
  for (const Case& c : cases) {
    const auto parsed = parse_url(c.url);
    ASSERT_TRUE(parsed) << c.url << ": " << parsed.error().message();
    EXPECT_EQ(parsed->origin_id, c.origin) << c.url;
    EXPECT_EQ(parsed->key, c.key) << c.url;
    const auto again = parse_url(parsed->base_url + "/" + parsed->key);
    ASSERT_TRUE(again) << c.url;
    EXPECT_EQ(again->key, parsed->key);
  }
}

TEST(Url, SE19_WhatCouldMeanSomethingElseIsRefused) {
  for (const char* url :
       {"ftp://h/a", "gopher://h/a", "/etc/passwd", "h/a", "", "http://", "http://a%2Fb/",
        "http://h/%2e%2e/x", "http://h/a/%2E/b", "http://h/%zz", "http://h/a\r\nX: y",
        "http://h/a\x01", "http://h:99999/", "file:///a%2Fb", "file:///a%00b"})
    EXPECT_FALSE(parse_url(url)) << url;
}

TEST(Url, FileKeysAreRawPaths) {
  const auto parsed = parse_url("file:///srv/a%20b/c");
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->is_file);
  EXPECT_EQ(parsed->origin_id, "file://");
  EXPECT_EQ(parsed->key, "srv/a b/c");
}

TEST(Url, UsersAreToldApartWithoutBeingNamed) {
  const auto alice = parse_url("http://alice:pw@h/a");
  const auto bob = parse_url("http://bob@h/a");
  ASSERT_TRUE(alice && bob);
  EXPECT_NE(alice->origin_id, bob->origin_id);
  EXPECT_EQ(alice->origin_id.find("alice"), std::string::npos);
  EXPECT_EQ(alice->base_url, "http://h");
  EXPECT_EQ(alice->user, "alice");
  EXPECT_EQ(alice->password, "pw");
}

TEST(Url, SegmentsSurviveEncoding) {
  std::string raw;
  for (int c = 1; c < 256; ++c) raw += static_cast<char>(c);
  EXPECT_EQ(decode_segment(encode_segment(raw)), raw);
  EXPECT_EQ(encode_segment("a/b?c#%"), "a%2Fb%3Fc%23%25");
  for (const char* bad : {"%", "%4", "%g1", "a%1"}) EXPECT_FALSE(decode_segment(bad)) << bad;
}

TEST(Url, RedactionLeavesNoSecret) {
  EXPECT_EQ(redact_url("https://u:p%40x@h:1/a?X-Sig=abc&plain&b=2"),
            "https://h:1/a?X-Sig=***&***&b=***");
  EXPECT_EQ(redact_url("http://h/a@b"), "http://h/a@b");
  EXPECT_EQ(redact_url("http://u@v@h/"), "http://h/");
  EXPECT_EQ(redact_url("http:///u:secret@h/a"), "http:///h/a");
}

}  // namespace
}  // namespace rangecache::fetcher
