#include "origin_fixture.h"

namespace rangecache::fetcher {
namespace {

using HttpOriginTest = OriginTest;

TEST_F(HttpOriginTest, StatTellsSizeValidatorAndTime) {
  serve({{http_reply(
      "200 OK",
      {"Content-Length: 42", "ETag: \"v1\"", "Last-Modified: Fri, 20 Nov 2026 09:15:30 GMT"},
      "")}});
  const auto result = stat("/file");
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->attributes.size, 42u);
  EXPECT_EQ(result->attributes.validator, kV1);
  EXPECT_EQ(result->attributes.modified_s, 1795166130);
  EXPECT_FALSE(result->is_directory);
  EXPECT_EQ(server_->requests()[0].method, "HEAD");
}

TEST_F(HttpOriginTest, HT24_UnchangedObjectIsNotModified) {
  serve({{http_reply("304 Not Modified", {"ETag: \"v1\"", "Cache-Control: max-age=9"}, "")}});
  const auto result = stat("/file", kV1);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->not_modified);
  EXPECT_EQ(result->attributes.freshness.lifetime_s, 9);
  EXPECT_EQ(header(0, "if-none-match"), "\"v1\"");
}

TEST_F(HttpOriginTest, HT25_NotModifiedForAnotherVersionFreshensNothing) {
  serve({{http_reply("304 Not Modified", {"ETag: \"v2\"", "Content-Length: 0"}, "")},
         {http_reply("200 OK", {"ETag: \"v2\"", "Content-Length: 5"}, "")}});
  const auto result = stat("/file", kV1);
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->not_modified);
  EXPECT_EQ(result->attributes.validator.value, "\"v2\"");
  EXPECT_EQ(header(1, "if-none-match"), "");
}

TEST_F(HttpOriginTest, HT38_ServersWithoutHeadAreAskedForAByte) {
  for (const std::string status : {"405 No", "403 Forbidden", "501 Not Implemented"}) {
    serve({{http_reply(status, {"Content-Length: 0"}, "")},
           {http_reply("206 Partial Content", {"Content-Range: bytes 0-0/42", "ETag: \"v1\""},
                       "x")}});
    const auto result = stat("/file");
    ASSERT_TRUE(result) << status;
    EXPECT_EQ(result->attributes.size, 42u);
    EXPECT_EQ(server_->requests()[1].method, "GET");
    EXPECT_EQ(header(1, "range"), "bytes=0-0");
  }
}

TEST_F(HttpOriginTest, HeadWithoutALengthIsFollowedByAGetOfAByte) {
  serve({{http_reply("200 OK", {"Transfer-Encoding: chunked"}, "")},
         {http_reply("200 OK", {"Content-Length: 1000000"}, std::string(100'000, 'x'))}});
  const auto result = stat("/file");
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_EQ(result->attributes.size, 1000000u);
}

TEST_F(HttpOriginTest, RedirectToTheSameNameWithASlashIsADirectory) {
  serve({{http_reply("301 Moved", {"Location: /dir%20x/", "Content-Length: 0"}, "")},
         {http_reply("200 OK", {"Content-Length: 7"}, "")}});
  const auto result = stat("/dir x");
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_TRUE(result->is_directory);
  EXPECT_FALSE(result->attributes.size);
}

TEST_F(HttpOriginTest, RedirectElsewhereIsAFile) {
  serve({{http_reply("302 Found", {"Location: /other", "Content-Length: 0"}, "")},
         {http_reply("200 OK", {"Content-Length: 7"}, "")}});
  const auto result = stat("/file");
  ASSERT_TRUE(result);
  EXPECT_FALSE(result->is_directory);
  EXPECT_EQ(result->attributes.size, 7u);
}

TEST_F(HttpOriginTest, StatNeverTakesAFailureForAbsence) {
  serve({{http_reply("404 Not Found", {}, "")}});
  EXPECT_EQ(stat("/x").error().code, ErrorCode::kNotFound);
  serve(std::vector<Reply>(4, {http_reply("503 Busy", {"Content-Length: 0"}, "")}));
  EXPECT_EQ(stat("/x").error().code, ErrorCode::kOriginFailed);
}

TEST_F(HttpOriginTest, HT39_BodyAfterHeadIsNotTheNextAnswer) {
  serve({{http_reply("200 OK", {"Content-Length: 4"}, "HTTP")},
         {http_reply("200 OK", {"Content-Length: 9"}, "")}});
  EXPECT_EQ(stat("/a")->attributes.size, 4u);
  EXPECT_EQ(stat("/b")->attributes.size, 9u);
}

TEST_F(HttpOriginTest, ListsAnIndexPage) {
  serve({{http_reply("200 OK", {"Content-Type: text/html"},
                     "<title>Index of /d/</title><pre><a href=\"../\">../</a>\n"
                     "<a href=\"a%20b\">a b</a>  20-Nov-2026 09:15  12\n<a href=\"s/\">s/</a>")}});
  const auto page = list("/d/");
  ASSERT_TRUE(page) << page.error().message();
  ASSERT_EQ(page->entries.size(), 2u);
  EXPECT_EQ(page->entries[0].name, "a b");
  EXPECT_EQ(page->entries[0].size, 12u);
  EXPECT_TRUE(page->entries[1].is_directory);
  EXPECT_FALSE(page->complete);
  EXPECT_EQ(header(0, "accept"), "application/json, text/html");
}

TEST_F(HttpOriginTest, OrdinaryPagesAndFilesAreNotListed) {
  serve({{http_reply("200 OK", {"Content-Type: text/html"}, "<title>Hello</title>")}});
  EXPECT_EQ(list("/d/").error().code, ErrorCode::kUnsupported);
  serve({{http_reply("302 Found", {"Location: /login", "Content-Length: 0"}, "")},
         {http_reply("200 OK", {"Content-Type: text/html"}, "<title>Index of /</title>")}});
  EXPECT_EQ(list("/d/").error().code, ErrorCode::kNotDirectory);
  serve({{http_reply("403 Forbidden", {}, "")}});
  EXPECT_EQ(list("/d/").error().code, ErrorCode::kPermissionDenied);
}

TEST_F(HttpOriginTest, ChildKeysAreEncoded) {
  serve({});
  const auto address = origins_->resolve(server_->url("/d/"));
  EXPECT_EQ(address->origin->child_key("d/", "a?b#c", false), "d/a%3Fb%23c");
  EXPECT_EQ(address->origin->child_key("", "x y", true), "x%20y/");
  EXPECT_EQ(address->origin->url_of("d/x"), server_->url("/d/x"));
}

TEST_F(HttpOriginTest, OneUrlIsOneOrigin) {
  serve({});
  const auto a = origins_->resolve("http://Example.com:80/a%41");
  const auto b = origins_->resolve("http://example.com/aA#x");
  const auto c = origins_->resolve("http://example.com:81/aA");
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(a->origin, b->origin);
  EXPECT_EQ(a->key, b->key);
  EXPECT_NE(a->origin, c->origin);
}

}  // namespace
}  // namespace rangecache::fetcher
