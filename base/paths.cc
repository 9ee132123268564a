#include "base/paths.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace rangecache {
namespace {

// secure_getenv: a set-uid program must not be led to a socket by its caller.
std::string environment(const char* name) {
  const char* value = secure_getenv(name);
  return value ? value : "";
}

bool is_directory(const std::string& path) {
  struct stat info {};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

std::string default_socket_path() {
  if (auto path = environment("RANGECACHE_SOCKET"); !path.empty()) return path;
  if (auto runtime = environment("XDG_RUNTIME_DIR"); !runtime.empty()) {
    return runtime + "/rangecache/socket";
  }
  const std::string uid = std::to_string(geteuid());
  if (is_directory("/run/user/" + uid)) return "/run/user/" + uid + "/rangecache/socket";
  return "/tmp/rangecache-" + uid + "/socket";
}

}  // namespace rangecache
