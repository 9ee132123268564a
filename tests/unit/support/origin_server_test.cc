#include "tests/support/origin_server.h"

#include <curl/curl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "tests/support/synthetic.h"

namespace rangecache::test {
namespace {

struct Answer {
  CURLcode result = CURLE_OK;
  long status = 0;
  std::string headers;
  std::string body;
};

std::size_t append(const char* data, std::size_t size, std::size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, size * count);
  return size * count;
}

Answer get(const std::string& url, const char* range = nullptr) {
  Answer answer;
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_RANGE, range);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &answer.headers);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  answer.result = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  curl_easy_cleanup(curl);
  return answer;
}

std::string check(const Answer& answer, std::uint32_t version, std::uint64_t offset) {
  return verify_synthetic("/f", version, offset, std::as_bytes(std::span(answer.body)))
      .value_or("right");
}

bool has(const Answer& answer, std::string_view line) {
  return answer.headers.find(line) != std::string::npos;
}

class OriginServerTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSize = 300'000;

  OriginServerTest() {
    std::filesystem::create_directories(root_ + "/sub dir");
    std::ofstream(root_ + "/sub dir/a&b.txt") << "0123456789";
    auto server = OriginServer::start({.root = root_});
    EXPECT_TRUE(server);
    server_ = std::move(*server);
    server_->put("/f", kSize);
    f_ = server_->url() + "f";
  }
  ~OriginServerTest() override {
    server_.reset();
    std::filesystem::remove_all(root_);
  }

  const std::string root_ =
      ::testing::TempDir() + "rangecache_origin_" + std::to_string(::getpid());
  std::unique_ptr<OriginServer> server_;
  std::string f_;
};

TEST_F(OriginServerTest, ServesFilesAndIndexPages) {
  const auto page = get(server_->url() + "sub%20dir/");
  EXPECT_NE(page.body.find("<a href=\"a%26b.txt\">a&amp;b.txt</a>"), std::string::npos);
  EXPECT_EQ(get(server_->url() + "sub%20dir/a%26b.txt").body, "0123456789");
  EXPECT_EQ(get(server_->url() + "sub%20dir/a%26b.txt", "3-5").body, "345");
  EXPECT_EQ(get(server_->url() + "sub%20dir").status, 301);
  EXPECT_EQ(get(server_->url() + "none").status, 404);
}

TEST_F(OriginServerTest, RangesOfASyntheticObjectAreRight) {
  const Answer middle = get(f_, "1001-200000");
  EXPECT_EQ(middle.status, 206);
  EXPECT_EQ(middle.body.size(), 199'000u);
  EXPECT_EQ(check(middle, 1, 1001), "right");
  EXPECT_TRUE(has(middle, "Content-Range: bytes 1001-200000/300000\r\n"));
  EXPECT_EQ(check(get(f_, "-10"), 1, kSize - 10), "right");
  EXPECT_EQ(check(get(f_), 1, 0), "right");
}

TEST_F(OriginServerTest, TheLogHasWhatAClientHasGot) {
  for (std::size_t i = 1; i <= 50; ++i) {
    get(f_, "0-99");
    ASSERT_EQ(server_->requests().size(), i);
    ASSERT_EQ(server_->body_bytes(), i * 100);
  }
  EXPECT_EQ(server_->requests().back().range, "bytes=0-99");
  EXPECT_EQ(server_->requests().back().status, 206);
}

TEST_F(OriginServerTest, ANewVersionHasOtherBytesAndAnotherTag) {
  const Answer before = get(f_, "0-99");
  server_->put("/f", kSize, 2);
  const Answer after = get(f_, "0-99");
  EXPECT_EQ(check(after, 2, 0), "right");
  EXPECT_TRUE(has(before, "ETag: \"v1-300000\"\r\n") && has(after, "ETag: \"v2-300000\"\r\n"));
}

TEST_F(OriginServerTest, FaultsSpoilAsManyAnswersAsTheySayInOrder) {
  server_->add_fault("/f", {.times = 2, .status = 503, .headers = "Retry-After: 7\r\n"});
  server_->add_fault("/f", {.ignore_range = true});
  EXPECT_TRUE(has(get(f_, "0-9"), "Retry-After: 7\r\n"));
  EXPECT_EQ(get(f_, "0-9").status, 503);
  EXPECT_EQ(get(f_, "0-9").body.size(), kSize);
  EXPECT_EQ(get(f_, "0-9").status, 206);
}

TEST_F(OriginServerTest, HeadersCanLie) {
  server_->add_fault("/f", {.headers = "Content-Encoding: gzip\r\n",
                            .etag = "W/\"x\"",
                            .content_range = "bytes 5-14/99"});
  const Answer lie = get(f_, "0-9");
  EXPECT_TRUE(has(lie, "ETag: W/\"x\"\r\n") && has(lie, "Content-Encoding: gzip\r\n") &&
              has(lie, "Content-Range: bytes 5-14/99\r\n"));
  server_->add_fault("/f", {.etag = "", .no_last_modified = true});
  const Answer bare = get(f_);
  EXPECT_FALSE(has(bare, "ETag") || has(bare, "Last-Modified"));
}

TEST_F(OriginServerTest, ABodyCanEndEarly) {
  server_->add_fault("/f", {.stop_after = 100'001});
  const Answer closed = get(f_);
  EXPECT_EQ(closed.result, CURLE_PARTIAL_FILE);
  EXPECT_EQ(closed.body.size(), 100'001u);
  EXPECT_EQ(server_->requests().back().body_bytes, 100'001u);
  server_->add_fault("/f", {.stop_after = 0, .then = Fault::Then::kReset});
  EXPECT_EQ(get(f_).result, CURLE_RECV_ERROR);
}

TEST_F(OriginServerTest, AStalledBodyEndsWithTheServer) {
  server_->add_fault("/f", {.stop_after = 1000, .then = Fault::Then::kStall});
  auto stalled = std::async(std::launch::async, [&] { return get(f_); });
  while (server_->requests().empty()) std::this_thread::yield();
  server_->stop();
  EXPECT_EQ(stalled.get().body.size(), 1000u);
}

TEST_F(OriginServerTest, HeldRequestsWaitForTheirRelease) {
  server_->hold("/f");
  auto first = std::async(std::launch::async, [&] { return get(f_, "0-9"); });
  auto second = std::async(std::launch::async, [&] { return get(f_, "5-9"); });
  ASSERT_TRUE(server_->wait_for_held("/f", 2));
  EXPECT_EQ(get(server_->url() + "none").status, 404) << "others go on";
  EXPECT_EQ(server_->requests().size(), 1u);
  server_->release("/f");
  EXPECT_EQ(check(first.get(), 1, 0), "right");
  EXPECT_EQ(check(second.get(), 1, 5), "right");
}

TEST_F(OriginServerTest, StopLetsHeldRequestsGo) {
  server_->hold("/f");
  auto held = std::async(std::launch::async, [&] { return get(f_); });
  ASSERT_TRUE(server_->wait_for_held("/f", 1));
  server_->stop();
  held.get();
}

}  // namespace
}  // namespace rangecache::test
