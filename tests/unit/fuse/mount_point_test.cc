#include "fuse/mount_point.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace rangecache::fuse {
namespace {

class MountPoint : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/rangecache mount point XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
  }
  void TearDown() override {
    ::unlink((directory_ + "/file").c_str());
    ::unlink((directory_ + "/link").c_str());
    ::rmdir(directory_.c_str());
  }
  std::string directory_;
};

TEST_F(MountPoint, MissingOneNamesTheRemedy) {
  const std::string missing = directory_ + "/none";
  const auto checked = check_mount_point(missing);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(checked.error().context,
            "mount point " + missing + " does not exist: mkdir -p " + missing);
  EXPECT_EQ(check_mount_point(missing + "/deeper").error().code, ErrorCode::kNotFound);
}

TEST_F(MountPoint, FileIsRefused) {
  std::ofstream(directory_ + "/file") << "x";
  const auto checked = check_mount_point(directory_ + "/file");
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, ErrorCode::kNotDirectory);
}

TEST_F(MountPoint, RelativeAndLinkedPathsBecomeAbsolute) {
  const std::string parent = directory_.substr(0, directory_.rfind('/'));
  const std::string name = directory_.substr(directory_.rfind('/') + 1);
  EXPECT_EQ(*check_mount_point(directory_ + "//"), directory_);
  EXPECT_EQ(*check_mount_point(parent + "/./" + name), directory_);
  ASSERT_EQ(::symlink(directory_.c_str(), (directory_ + "/link").c_str()), 0);
  EXPECT_EQ(*check_mount_point(directory_ + "/link"), directory_);
  EXPECT_EQ(*check_mount_point(directory_ + "/."), directory_);
}

TEST_F(MountPoint, FindsWhatTheKernelHasMounted) {
  ASSERT_TRUE(find_mount("/proc"));
  EXPECT_EQ(find_mount("/proc")->type, "proc");
  EXPECT_FALSE(find_mount(directory_));
}

}  // namespace
}  // namespace rangecache::fuse
