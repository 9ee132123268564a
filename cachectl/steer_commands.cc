#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "cachectl/command.h"
#include "cachectl/format.h"

namespace rangecache::cachectl {
namespace {

/// The daemon has another working directory than we.
std::string absolute(const std::string& path) {
  std::error_code error;
  const auto absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.string();
}

void add_evict(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("evict", "Drop what is cached of some objects, or of all");
  auto prefix = std::make_shared<std::string>();
  auto all = std::make_shared<bool>(false);
  auto* what = command->add_option_group("what");
  what->add_option("prefix", *prefix, "Objects whose URL begins with this");
  what->add_flag("--all", *all, "Everything");
  what->require_option(1);
  command->callback([&context, prefix] {
    context.run("evict", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const EvictResult result, client.evict(*prefix));
      fmt::print("evicted {} in {} chunks of {} objects\n",
                 human_bytes(static_cast<double>(result.bytes)), result.chunks, result.objects);
      return {};
    });
  });
}

void add_mount(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("mount", "Mount a URL through the running daemon");
  auto url = std::make_shared<std::string>(), path = std::make_shared<std::string>();
  command->add_option("url", *url, "What to mount (http, https or file)")->required();
  command->add_option("mountpoint", *path, "An existing directory")->required();
  command->callback([&context, url, path] {
    context.run("mount", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const MountInfo mount, client.mount(*url, absolute(*path)));
      fmt::print("{} is mounted at {}\n", mount.url, mount.mountpoint);
      return {};
    });
  });
}

void add_unmount(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("unmount", "End a mount of the running daemon");
  auto path = std::make_shared<std::string>();
  command->add_option("mountpoint", *path, "Where it is mounted")->required();
  command->callback([&context, path] {
    context.run("unmount", [&](Client& client) -> Result<void> {
      RC_ASSIGN(const MountInfo mount, client.unmount(absolute(*path)));
      fmt::print("{} is unmounted\n", mount.mountpoint);
      return {};
    });
  });
}

void add_shutdown(CLI::App& app, Context& context) {
  auto* command = app.add_subcommand("shutdown", "Unmount everything, save, and end the daemon");
  command->callback(
      [&context] { context.run("shutdown", [](Client& client) { return client.shutdown(); }); });
}

}  // namespace

void add_steer_commands(CLI::App& app, Context& context) {
  add_evict(app, context);
  add_mount(app, context);
  add_unmount(app, context);
  add_shutdown(app, context);
}

}  // namespace rangecache::cachectl
