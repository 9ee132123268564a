#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/log.h"
#include "base/unique_fd.h"
#include "daemon/config.h"
#include "daemon/daemon.h"

namespace rangecache::daemon {
namespace {

/// The signals that end the daemon in order; blocked in all threads, taken by sigwait.
sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, signal);
  return set;
}

/// Runs until a stop signal. Calls `ready` once the mount is usable.
int run(const Config& config, const std::function<void()>& ready) {
  const sigset_t signals = stop_signals();
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  // Credentials may come to stand in memory: no core file, no tracing by others of this user.
  prctl(PR_SET_DUMPABLE, 0);

  auto daemon = Daemon::start(config, [] { kill(getpid(), SIGTERM); });
  if (!daemon) {
    fmt::print(stderr, "rangecached: {}\n", daemon.error().message());
    return 1;
  }
  ready();
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  log_info("stopping ({})", strsignal(signal_number));
  (*daemon)->stop();
  return 0;
}

/// Forks before any thread exists. The parent returns with the child's word: 0 once it is ready,
/// else after the child has printed its error.
int run_in_background(Config config) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
    fmt::print(stderr, "rangecached: cannot make a pipe: {}\n", std::strerror(errno));
    return 1;
  }
  UniqueFd from_child(pipe_fds[0]), to_parent(pipe_fds[1]);
  const pid_t child = fork();
  if (child < 0) {
    fmt::print(stderr, "rangecached: cannot fork: {}\n", std::strerror(errno));
    return 1;
  }
  if (child > 0) {
    to_parent.reset();
    char status = 1;
    return ::read(from_child.get(), &status, 1) == 1 ? status : 1;
  }
  from_child.reset();
  setsid();
  return run(config, [&] {
    UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {0, 1, 2}) dup2(null.get(), fd);
    // What a library or a dying process prints belongs to the log too.
    const UniqueFd log(open(config.log_file.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (log) dup2(log.get(), 2);
    const char good = 0;
    [[maybe_unused]] const auto written = ::write(to_parent.get(), &good, 1);
    to_parent.reset();
  });
}

int main(int argc, char** argv) {
  CommandLine command_line = parse_command_line(argc, argv);
  if (!command_line.config) return command_line.exit_code;
  Config& config = *command_line.config;
  set_log_level(config.log_level);
  if (!config.log_file.empty()) {
    if (auto opened = log_to_file(config.log_file); !opened) {
      fmt::print(stderr, "rangecached: {}\n", opened.error().message());
      return 2;
    }
  }
  if (config.daemonize) return run_in_background(std::move(config));
  return run(config, [&] {
    if (!config.mountpoint.empty())
      fmt::print(stderr, "{} is ready; Ctrl-C unmounts\n", config.mountpoint);
  });
}

}  // namespace
}  // namespace rangecache::daemon

int main(int argc, char** argv) { return rangecache::daemon::main(argc, argv); }
