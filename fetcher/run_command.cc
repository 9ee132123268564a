#include "fetcher/run_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/unique_fd.h"

namespace rangecache::fetcher {
namespace {

using Clock = std::chrono::steady_clock;

/// In a process group of its own, with `output` as its standard output.
Result<pid_t> start(const std::string& command, int output) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // The daemon blocks signals that the command should heed.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  const char* const arguments[] = {"sh", "-c", command.c_str(), nullptr};
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, "/bin/sh", &actions, &attributes,
                                 const_cast<char* const*>(arguments), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) return Error(ErrorCode::kInvalidArgument, "cannot be started", failed);
  return pid;
}

/// Until the end of the output; false when the time is over.
bool read_all(int from, Clock::time_point until, std::string& output) {
  std::array<char, 4096> buffer;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    pollfd ready{from, POLLIN, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    output.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace

Result<std::string> run_command(const std::string& command, std::chrono::milliseconds patience) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return Error(ErrorCode::kInvalidArgument, "cannot be started", errno);
  UniqueFd from(ends[0]), to(ends[1]);
  RC_ASSIGN(const pid_t pid, start(command, to.get()));
  to.reset();
  std::string output;
  const bool ended = read_all(from.get(), Clock::now() + patience, output);
  if (!ended) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended)
    return Error(ErrorCode::kTimedOut,
                 fmt::format("did not end within {} s",
                             std::chrono::duration_cast<std::chrono::seconds>(patience).count()));
  if (WIFSIGNALED(status))
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("was ended by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0)
    return Error(ErrorCode::kInvalidArgument, fmt::format("ended with {}", WEXITSTATUS(status)));
  return output;
}

}  // namespace rangecache::fetcher
