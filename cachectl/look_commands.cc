#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <memory>

#include "cachectl/command.h"
#include "cachectl/format.h"

namespace rangecache::cachectl {
namespace {

int terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10) return size.ws_col;
  return 80;
}

void add_stats(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("stats", "What the daemon did, holds and saved");
  auto as_json = std::make_shared<bool>(false), as_prometheus = std::make_shared<bool>(false);
  auto* json = command->add_flag("--json", *as_json, "For programs: one JSON object");
  command->add_flag("--prometheus", *as_prometheus, "The Prometheus text format")->excludes(json);
  command->callback([&context, as_json, as_prometheus] {
    context.run("stats", [&](Client& client) -> Result<void> {
      auto text = *as_prometheus ? client.prometheus_text() : client.stats_json();
      if (!text) return text.error();
      fmt::print("{}", *as_prometheus ? *text : *as_json ? *text + "\n" : format_stats(*text));
      return {};
    });
  });
}

void add_ls(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("ls", "Objects of which something is cached");
  auto prefix = std::make_shared<std::string>();
  command->add_option("prefix", *prefix, "Only URLs that begin with this");
  command->callback([&context, prefix] {
    context.run("ls", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const auto objects, client.cached(*prefix));
      fmt::print("{}", format_objects(objects));
      return {};
    });
  });
}

void add_map(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("map", "A picture of which ranges of an object are cached");
  auto url = std::make_shared<std::string>();
  auto ranges = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  command->add_option("url", *url, "The object")->required();
  command->add_flag("--ranges", *ranges, "List the ranges, too (half-open)");
  command->add_flag("--json", *json, "For programs");
  command->callback([&context, url, ranges, json] {
    context.run("map", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const ObjectMap map, client.map(*url));
      fmt::print("{}", *json ? map_json(map) : format_map(map, terminal_width(), *ranges));
      return {};
    });
  });
}

void add_stat(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("stat", "Size, validator and time of a remote object");
  auto url = std::make_shared<std::string>();
  command->add_option("url", *url, "The object")->required();
  command->callback([&context, url] {
    context.run("stat", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const ObjectInfo info, client.stat(*url));
      fmt::print("{}", format_info(info));
      return {};
    });
  });
}

void add_ping(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("ping", "Whether the daemon answers");
  command->callback([&context] {
    context.run("ping", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const Client::DaemonInfo daemon, client.ping());
      fmt::print("rangecached {} answers, pid {}\n", daemon.version, daemon.pid);
      return {};
    });
  });
}

}  // namespace

void add_look_commands(CLI::App& app, Context& context) {
  add_stats(app, context);
  add_ls(app, context);
  add_map(app, context);
  add_stat(app, context);
  add_ping(app, context);
}

}  // namespace rangecache::cachectl
