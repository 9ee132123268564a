#include "base/log.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace rangecache {
namespace {

TEST(Log, WhatAServerSaysBeginsNoLineOfItsOwn) {
  const auto path = std::filesystem::path(testing::TempDir()) / "rangecache-log-test";
  std::filesystem::remove(path);
  ASSERT_TRUE(log_to_file(path.string()));
  log_line(LogLevel::kError, "it said: a\nb\x1b[2Jc \xc3\xa4");
  std::ifstream file(path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  EXPECT_NE(text.find("it said: a\\x0ab\\x1b[2Jc \xc3\xa4\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace rangecache
