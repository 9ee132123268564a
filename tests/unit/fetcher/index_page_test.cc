#include "fetcher/index_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

namespace rangecache::fetcher {
namespace {

const std::string kDirectory = RANGECACHE_TEST_DATA;
constexpr const char* kLongName =
    "a-very-long-file-name-that-nginx-cuts-in-its-html-listing-because-it-is-longer-than-fifty.txt";
constexpr std::int64_t kMinute_s = 1795166100;  // 2026-11-20 09:15 UTC
constexpr std::int64_t kSecond_s = kMinute_s + 30;

std::string file(const std::string& name) {
  std::ifstream stream(kDirectory + "/" + name, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

IndexPage parse(const std::string& body, const std::string& type = "text/html",
                const std::string& base = "http://h:8080/") {
  const IndexSource source{type, body, base};
  const auto page = parse_index(source);
  EXPECT_TRUE(page) << page.error().message();
  return page ? *page : IndexPage{};
}

struct Golden {
  const char* file;
  const char* type;
  std::optional<std::int64_t> modified_s;
  std::optional<std::uint64_t> small_size, big_size;
};

// Each captured from the real server over the same tree (fetcher/index_page.h names them).
class GoldenIndex : public ::testing::TestWithParam<Golden> {};

TEST_P(GoldenIndex, EveryEntryWithItsExactNameAndNoInventedSize) {
  const Golden& golden = GetParam();
  const std::string body = file(golden.file);
  ASSERT_FALSE(body.empty());
  ASSERT_TRUE(looks_like_index({golden.type, body, "http://h:8080/"}));
  const IndexPage page = parse(body, golden.type);
  EXPECT_EQ(page.hidden_entries, 0u);
  std::map<std::string, ListEntry> entries;
  for (const ListEntry& entry : page.entries) entries[entry.name] = entry;
  EXPECT_EQ(entries.size(), page.entries.size());
  entries.erase(".hidden");  // some servers show it
  EXPECT_EQ(entries.size(), 9u);
  for (const char* name : {"sub", "sub dir"}) {
    ASSERT_TRUE(entries.count(name)) << name;
    EXPECT_TRUE(entries[name].is_directory) << name;
    EXPECT_FALSE(entries[name].size) << name;
  }
  for (const char* name : {"a b%20#?+\"&<>'.txt", "ünïcode.txt", "semi;colon:and@at=.txt",
                           kLongName, "empty", "small.txt", "big.bin"}) {
    ASSERT_TRUE(entries.count(name)) << name;
    EXPECT_FALSE(entries[name].is_directory) << name;
    EXPECT_EQ(entries[name].modified_s, golden.modified_s) << name;
  }
  EXPECT_EQ(entries["small.txt"].size, golden.small_size);
  EXPECT_EQ(entries["big.bin"].size, golden.big_size);
}

INSTANTIATE_TEST_SUITE_P(
    Servers, GoldenIndex,
    ::testing::Values(
        Golden{"nginx.html", "text/html", kMinute_s, 500, 1300000},
        Golden{"nginx_rounded.html", "text/html", kMinute_s, 500, std::nullopt},
        Golden{"nginx.json", "application/json", kSecond_s, 500, 1300000},
        Golden{"apache_plain.html", "text/html;charset=UTF-8", std::nullopt, std::nullopt,
               std::nullopt},
        Golden{"apache_fancy.html", "text/html;charset=UTF-8", kMinute_s, 500, std::nullopt},
        Golden{"apache_table.html", "text/html;charset=UTF-8", kMinute_s, 500, std::nullopt},
        Golden{"lighttpd.html", "text/html", kSecond_s, std::nullopt, std::nullopt},
        Golden{"python.html", "text/html; charset=utf-8", std::nullopt, std::nullopt, std::nullopt},
        Golden{"caddy.html", "text/html; charset=utf-8", kSecond_s, 500, 1300000},
        Golden{"caddy.json", "application/json; charset=utf-8", kSecond_s, 500, 1300000}),
    [](const auto& param) {
      std::string name = param.param.file;
      for (char& c : name)
        if (c == '.') c = '_';
      return name;
    });

std::vector<std::string> names(const IndexPage& page) {
  std::vector<std::string> result;
  for (const ListEntry& entry : page.entries) result.push_back(entry.name);
  return result;
}

TEST(IndexPage, OnlyDirectChildrenCount) {
  const IndexPage page = parse(
      "<title>Index of /d/</title>"
      "<a href='../'>up</a><a href='/'>root</a><a href='./'>here</a><a href='?C=N;O=D'>sort</a>"
      "<a href='/d/absolute'>1</a><a href='http://h:8080/d/whole'>2</a><a "
      "href='//h:8080/d/net'>3</a>"
      "<a href='http://evil/d/other'>x</a><a href='https://h:8080/d/scheme'>x</a>"
      "<a href='/e/sibling'>x</a><a href='deep/er'>x</a><a href='mailto:a@b'>x</a>"
      "<a href='javascript:alert(1)'>x</a><a href='plain#frag'>4</a><a href='q?x=1'>x</a>"
      "<a href=''>x</a><a>x</a>",
      "text/html", "http://h:8080/d/");
  EXPECT_THAT(names(page), ::testing::ElementsAre("absolute", "whole", "net", "plain"));
}

TEST(IndexPage, SE08_NamesThatCouldEscapeAreHiddenAndCounted) {
  const IndexPage html =
      parse("<a href='..%2f..%2fetc'>1</a><a href='a%00b'>2</a><a href='ok'>3</a>");
  EXPECT_THAT(names(html), ::testing::ElementsAre("ok"));
  EXPECT_EQ(html.hidden_entries, 2u);
  const IndexPage json = parse(
      R"([{"name":"../x","type":"file"},{"name":"..","type":"directory"},{"name":"a\u0000b","type":"file"},
          {"name":".","is_dir":true},{"name":"/etc/passwd","type":"file"},{"name":"ok","type":"file"}])",
      "application/json");
  EXPECT_THAT(names(json), ::testing::ElementsAre("ok"));
  EXPECT_EQ(json.hidden_entries, 5u);
}

TEST(IndexPage, RepeatedNamesAreOneEntry) {
  EXPECT_THAT(names(parse("<a href='a'>icon</a><a href='a'>a</a>")), ::testing::ElementsAre("a"));
}

TEST(IndexPage, OrdinaryPagesAreNotIndexes) {
  for (const char* body : {"<html><title>Welcome to nginx!</title><a href='x'>x</a></html>", "",
                           "plain text", "<h1>My index of things</h1>"})
    EXPECT_FALSE(looks_like_index({"text/html", body, "http://h/"})) << body;
  for (const char* body : {"{\"name\": 1}", "[1, 2]", "[{\"id\": 1}]", "[", ""})
    EXPECT_FALSE(looks_like_index({"application/json", body, "http://h/"})) << body;
  EXPECT_TRUE(looks_like_index({"application/json", "[\n]", "http://h/"}));
}

TEST(IndexPage, SE30_DeepAndBrokenMarkupIsSurvived) {
  std::string deep = "<title>Index of /</title>";
  for (int i = 0; i < 100'000; ++i) deep += "<div>";
  const auto page = parse_index({"text/html", deep + "<a href='x'>", "http://h/"});
  static_cast<void>(page);  // either answer will do
  EXPECT_FALSE(parse_index({"application/json", std::string(100'000, '['), "http://h/"}));
  EXPECT_TRUE(parse_index({"text/html",
                           "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>&a;<a href=&a;>",
                           "http://h/"}));
}

}  // namespace
}  // namespace rangecache::fetcher
