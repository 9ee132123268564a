// rangecache-origin: serves a directory over loopback, with ranges and a chosen distance.
#include <fmt/format.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "tests/support/origin_server.h"

int main(int argc, char** argv) {
  using rangecache::test::OriginServer;
  CLI::App app{"rangecache-origin: a small HTTP origin, for trying and testing",
               "rangecache-origin"};
  OriginServer::Options options;
  app.add_option("root", options.root, "The directory to serve")->required();
  app.add_option("--port", options.port, "On 127.0.0.1; 0 takes a free one");
  app.add_option("--delay-ms", options.delay_ms, "Wait before each answer, as a far server would");
  app.add_option("--rate", options.bytes_per_second, "Bytes per second of each connection");
  app.add_option("--access-log", options.access_log, "Append a line for each request to this file");
  CLI11_PARSE(app, argc, argv);

  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  auto server = OriginServer::start(options);
  if (!server) {
    fmt::print(stderr, "rangecache-origin: {}\n", server.error().message());
    return 1;
  }
  fmt::print("{}\n", (*server)->url());
  std::fflush(stdout);
  int signal_number = 0;
  sigwait(&signals, &signal_number);
  (*server)->stop();
  return 0;
}
