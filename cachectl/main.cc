#include <fmt/format.h>

#include <cstdio>

#include "cachectl/command.h"
#include "rangecache/version.h"

namespace rangecache::cachectl {

void Context::run(const char* what, const std::function<Result<void>(Client&)>& action) {
  auto client = Client::connect({.socket_path = socket_path});
  if (!client) {
    fmt::print(stderr, "cachectl: {}: {}\n", what, client.error().context);
    exit_code = client.error().code == ErrorCode::kUnreachable ? kNoDaemon : kFailed;
    return;
  }
  if (auto done = action(*client); !done) {
    std::fflush(stdout);
    fmt::print(stderr, "cachectl: {}: {}\n", what, done.error().message());
    exit_code = done.error().code == ErrorCode::kInvalidArgument ? kUsage : kFailed;
  }
}

namespace {

constexpr const char* kFooter = R"(Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no daemon answers.
The daemon is found by --socket, else RANGECACHE_SOCKET, else where rangecached listens by default.
`cachectl COMMAND --help` tells more.)";

int main(int argc, char** argv) {
  CLI::App app{"cachectl: look at and steer a running rangecached", "cachectl"};
  app.set_version_flag("--version", std::string("cachectl ") + RANGECACHE_VERSION);
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  Context context;
  app.add_option("--socket", context.socket_path, "The daemon's socket")->type_name("PATH");
  add_look_commands(app, context);
  add_steer_commands(app, context);
  add_pin_commands(app, context);
  add_data_commands(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return context.exit_code;
}

}  // namespace
}  // namespace rangecache::cachectl

int main(int argc, char** argv) { return rangecache::cachectl::main(argc, argv); }
