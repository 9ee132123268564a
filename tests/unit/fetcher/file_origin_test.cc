#include "fetcher/file_origin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>

#include "fetcher/origins.h"
#include "recording_sink.h"

namespace rangecache::fetcher {
namespace {

namespace fs = std::filesystem;

class FileOriginTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "rangecache-file-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    outer_ = pattern;
    root_ = outer_ / "root";
    fs::create_directories(root_ / "sub");
    origin_ = std::make_unique<FileOrigin>(*FileTree::open(root_.string()),
                                           "file://" + root_.string(), metrics_);
  }
  void TearDown() override {
    origin_.reset();
    fs::remove_all(outer_);
  }
  void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

  std::shared_ptr<RecordingSink> fetch(const std::string& key, ByteRange range,
                                       Validator expected = {},
                                       RecordingSink::Behaviour behaviour = {}) {
    auto sink = std::make_shared<RecordingSink>(behaviour);
    transfer_ = origin_->fetch({key, range, std::move(expected)}, sink);
    return sink;
  }
  Result<StatResult> stat(const std::string& key, Validator known = {}) {
    std::promise<Result<StatResult>> promise;
    origin_->stat(key, known, [&](Result<StatResult> r) { promise.set_value(std::move(r)); });
    return promise.get_future().get();
  }
  Result<ListPage> list(const std::string& key) {
    std::promise<Result<ListPage>> promise;
    origin_->list(key, "", [&](Result<ListPage> r) { promise.set_value(std::move(r)); });
    return promise.get_future().get();
  }

  Metrics metrics_;
  fs::path outer_, root_;
  std::unique_ptr<FileOrigin> origin_;
  std::shared_ptr<Transfer> transfer_;
};

TEST_F(FileOriginTest, ReadsRangesAndCutsThemAtTheEnd) {
  write(root_ / "sub/f", "0123456789");
  auto sink = fetch("sub/f", {4, 100});
  ASSERT_TRUE(sink->wait()) << sink->wait().error().message();
  EXPECT_EQ(sink->data(), "456789");
  EXPECT_EQ(sink->head()->range, (ByteRange{4, 10}));
  EXPECT_EQ(sink->head()->attributes.size, 10u);
  EXPECT_EQ(sink->head()->attributes.validator, stat("sub/f")->attributes.validator);
  EXPECT_EQ(fetch("sub/f", {10, 20})->data(), "");
}

TEST_F(FileOriginTest, ChangedFileIsStale) {
  write(root_ / "f", "one");
  const Validator before = stat("f")->attributes.validator;
  EXPECT_TRUE(stat("f", before)->not_modified);
  ASSERT_TRUE(fetch("f", {0, 3}, before)->wait());
  write(root_ / "g", "two");
  fs::rename(root_ / "g", root_ / "f");
  EXPECT_FALSE(stat("f", before)->not_modified);
  EXPECT_EQ(fetch("f", {0, 3}, before)->wait().error().code, ErrorCode::kStale);
}

TEST_F(FileOriginTest, BytesWrittenWhileAFetchPausesAreNotDelivered) {
  write(root_ / "f", std::string(2'000'000, 'a'));
  auto sink = fetch("f", {0, 2'000'000}, {}, {.pause_after_bytes = 1});
  sink->wait_until_paused();
  fs::last_write_time(root_ / "f", fs::file_time_type::clock::now() - std::chrono::hours(1));
  write(root_ / "f", std::string(2'000'000, 'b'));
  transfer_->resume();
  EXPECT_EQ(sink->wait().error().code, ErrorCode::kStale);
  EXPECT_EQ(sink->data().find('b'), std::string::npos);
}

TEST_F(FileOriginTest, ListingIsCompleteWithExactSizes) {
  write(root_ / "a b", "12345");
  write(root_ / ".dot", "");
  fs::create_symlink("a b", root_ / "link");
  fs::create_symlink("nowhere", root_ / "dangling");
  fs::create_symlink("../secret", root_ / "escaping");
  fs::create_symlink("/etc", root_ / "absolute");
  write(outer_ / "secret", "x");
  ASSERT_EQ(mkfifo((root_ / "fifo").c_str(), 0600), 0);
  const auto page = list("");
  ASSERT_TRUE(page);
  EXPECT_TRUE(page->complete);
  EXPECT_EQ(page->hidden_entries, 4u);
  std::vector<std::string> names;
  for (const ListEntry& entry : page->entries) {
    names.push_back(entry.name);
    if (entry.name == "a b" || entry.name == "link") {
      EXPECT_EQ(entry.size, 5u);
      EXPECT_EQ(entry.validator, stat("a b")->attributes.validator);
    }
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("a b", ".dot", "link", "sub"));
}

TEST_F(FileOriginTest, SE08_NoKeyLeavesTheRoot) {
  write(outer_ / "secret", "x");
  fs::create_symlink("../secret", root_ / "escaping");
  for (const std::string key : {"../secret", "sub/../../secret", "escaping", "/etc/passwd"}) {
    EXPECT_FALSE(fetch(key, {0, 1})->wait()) << key;
    EXPECT_FALSE(stat(key)) << key;
  }
  EXPECT_EQ(stat(std::string("f\0g", 3)).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(FileOriginTest, ErrorsAreToldApart) {
  ASSERT_EQ(mkfifo((root_ / "fifo").c_str(), 0600), 0);
  write(root_ / "f", "x");
  EXPECT_EQ(stat("missing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(fetch("sub", {0, 1})->wait().error().code, ErrorCode::kIsDirectory);
  EXPECT_EQ(fetch("fifo", {0, 1})->wait().error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(list("f").error().code, ErrorCode::kNotDirectory);
  EXPECT_TRUE(stat("sub/")->is_directory);
  EXPECT_TRUE(stat("")->is_directory);
}

TEST_F(FileOriginTest, StopEndsAPausedFetch) {
  write(root_ / "f", std::string(2'000'000, 'a'));
  auto sink = fetch("f", {0, 2'000'000}, {}, {.pause_after_bytes = 1});
  sink->wait_until_paused();
  origin_->stop();
  EXPECT_FALSE(sink->wait());
  EXPECT_EQ(sink->dones(), 1);
  EXPECT_EQ(fetch("f", {0, 1})->wait().error().code, ErrorCode::kShuttingDown);
}

TEST_F(FileOriginTest, OriginsFindsItByUrl) {
  write(root_ / "a b", "12345");
  Origins origins({}, metrics_);
  const auto address = origins.resolve("file://" + root_.string() + "/a%20b");
  ASSERT_TRUE(address) << address.error().message();
  EXPECT_EQ(address->origin->id(), "file://");
  EXPECT_EQ(address->origin->url_of(address->key), "file://" + root_.string() + "/a%20b");
  auto sink = std::make_shared<RecordingSink>();
  address->origin->fetch({address->key, {0, 5}}, sink);
  EXPECT_TRUE(sink->wait());
  EXPECT_EQ(sink->data(), "12345");
}

}  // namespace
}  // namespace rangecache::fetcher
