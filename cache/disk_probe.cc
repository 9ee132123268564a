#include "cache/disk_probe.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace rangecache::cache {
namespace {

constexpr std::size_t kProbeSize = 4096;

Result<void> write_and_read(FileSystem& files, const std::string& path) {
  std::array<std::byte, kProbeSize> written, read;
  written.fill(std::byte{0x5a});
  RC_ASSIGN(const UniqueFd fd, files.open(path, O_RDWR | O_CREAT | O_TRUNC, 0600));
  RC_TRY(files.write_all(fd.get(), written, 0));
  RC_ASSIGN(const std::size_t have, files.read_at(fd.get(), read, 0));
  if (have != kProbeSize || !std::equal(read.begin(), read.end(), written.begin()))
    return Error(ErrorCode::kCorrupt, "the cache disk does not give back what was written");
  return {};
}

}  // namespace

Result<void> probe_disk(FileSystem& files, ChunkStore& store) {
  for (const char* name : {"/objects", "/tmp", "/manifest"})
    RC_TRY(files.make_directory(store.directory() + name, 0700));
  const std::string temp = store.temp_path();
  const std::string target = store.directory() + "/objects/probe";
  auto result = write_and_read(files, temp);
  if (result) result = files.rename(temp, target);
  if (!result) {
    (void)files.unlink(temp);
    return result;
  }
  return files.unlink(target);
}

}  // namespace rangecache::cache
